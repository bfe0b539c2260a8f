//! What a sticky cookie carries: a hash of upstream and backend name, equal on all nodes.

use xxhash_rust::xxh3::Xxh3;

/// The token of a backend. It names no address, and a client cannot reach anything by making one up:
/// an unknown token is ignored.
pub fn sticky_token(upstream: &str, backend: &str) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(upstream.as_bytes());
    // No name holds this byte, so that ("ab", "c") and ("a", "bc") differ.
    hash.update(&[0xff]);
    hash.update(backend.as_bytes());
    hash.digest()
}

/// A token as it is in the cookie: 16 hexadecimal digits.
pub fn format_token(token: u64) -> String {
    format!("{token:016x}")
}

/// The token in a cookie's value; `None` when it is not one of ours.
pub fn parse_token(value: &str) -> Option<u64> {
    let is_ours = value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_ours.then(|| u64::from_str_radix(value, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_same_for_ever() {
        // Cookies outlive releases: a change of this number logs every sticky client out.
        assert_eq!(format_token(sticky_token("api", "a")), TOKEN_OF_API_A);
        assert_ne!(sticky_token("ap", "ia"), sticky_token("api", "a"));
    }

    #[test]
    fn a_token_is_read_back_and_nothing_else_is() {
        let token = sticky_token("api", "a");
        assert_eq!(parse_token(&format_token(token)), Some(token));
        for bad in ["", "1", "+123456789abcdef", "00000000000000000", "000000000000000g"] {
            assert_eq!(parse_token(bad), None, "{bad}");
        }
    }

    const TOKEN_OF_API_A: &str = "35fa5242984a6b77";
}
