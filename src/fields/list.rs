//! Lists (RFC 9110 §5.6.1).

/// The members of comma-separated list values (RFC 9110 §5.6.1), trimmed, empty ones left out.
pub fn list<'a>(values: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    values.flat_map(members)
}

/// The members of one value. Its commas are looked for, and not its bytes looked at one by one.
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut left = Some(value);
    std::iter::from_fn(move || {
        while let Some(some) = left {
            let (member, rest) = match memchr::memchr(b',', some) {
                Some(comma) => (some.get(..comma)?, some.get(comma + 1..)),
                None => (some, None),
            };
            left = rest;
            let member = member.trim_ascii();
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    })
}
