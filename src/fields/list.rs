//! Lists (RFC 9110 §5.6.1).

/// The members of comma-separated list values (RFC 9110 §5.6.1), trimmed, empty ones left out.
pub fn list<'a>(values: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    values
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}
