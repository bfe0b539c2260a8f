//! What this program calls itself towards backends, so that it knows a request that comes round again.

use std::sync::OnceLock;

/// The name that it writes into Via of requests (RFC 9110 §7.6.3): `pointsman-` and 16 hexadecimal digits, of chance, so
/// that no other Pointsman on the way is taken for this one.
pub fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| format!("pointsman-{:016x}", fastrand::u64(..)))
}

/// Whether a member of Via is this program's.
pub fn is_own(member: &[u8]) -> bool {
    is_of(member, name())
}

/// Whether a member of Via is of who has this name.
pub(super) fn is_of(member: &[u8], name: &str) -> bool {
    member.split(|byte| matches!(byte, b' ' | b'\t')).nth(1) == Some(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_name_is_its_own() {
        assert!(is_own(format!("1.1 {}", name()).as_bytes()));
        assert!(is_own(format!("2 {} (x)", name()).as_bytes()));
        for other in ["1.1 pointsman", "1.1 pointsman-0", name(), "", "1.1"] {
            assert!(!is_own(other.as_bytes()), "{other}");
        }
    }
}
