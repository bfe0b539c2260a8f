//! Cookies (RFC 6265 §4.2.1).

/// The values of the cookies of a name among those of these fields, in their order. White space around name and value is
/// no part of them, as for most backends: else a client could hide a cookie from us that they see.
pub fn cookies<'a>(values: impl Iterator<Item = &'a [u8]>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = values.flat_map(|value| value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    pairs.filter_map(move |pair| {
        let value = pair.strip_prefix(name.as_bytes())?.trim_ascii_start().strip_prefix(b"=")?;
        Some(value.trim_ascii_start())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_name_whatever_white_space_there_is() {
        let fields = [&b"a=1; ab=2;a =3"[..], b" a\t=\t4 ;a; =a; A=5; a=", b"b=a=6"];
        let of = |name: &str| cookies(fields.into_iter(), name).collect::<Vec<_>>();
        assert_eq!(of("a"), [&b"1"[..], b"3", b"4", b""]);
        assert_eq!(of("b"), [b"a=6"]);
        assert!(of("c").is_empty());
    }
}
