//! What gRPC says in fields of HTTP (PROTOCOL-HTTP2 of gRPC): the media type, the deadline, the status.

use std::time::Duration;

use crate::fields::{Fields, Known};

/// `UNAVAILABLE`: what a proxy says that had nobody to ask, and a server that takes no more.
pub const UNAVAILABLE: u32 = 14;
/// `DEADLINE_EXCEEDED`.
pub const DEADLINE_EXCEEDED: u32 = 4;
/// How many codes there are, from 0 (`OK`) on.
pub const CODES: usize = 17;

/// Whether a message is one of gRPC: `application/grpc`, with `+proto` or the like, and not gRPC-Web.
pub fn is_message(fields: &Fields) -> bool {
    const MEDIA: &[u8] = b"application/grpc";
    let Some(value) = fields.known(Known::ContentType) else { return false };
    let is_media = value.get(..MEDIA.len()).is_some_and(|start| start.eq_ignore_ascii_case(MEDIA));
    is_media && matches!(value.get(MEDIA.len()), None | Some(b'+' | b';' | b' '))
}

/// How long the client gives the call: `grpc-timeout`, up to eight digits and a unit. What is not that is ignored, as
/// servers have it.
pub fn timeout(fields: &Fields) -> Option<Duration> {
    let value = named(fields, b"grpc-timeout")?;
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The code of `grpc-status`, in trailers or in a head that is all there is; what is no code is `UNKNOWN` (2).
pub fn status(fields: &Fields) -> Option<u32> {
    let value = named(fields, b"grpc-status")?;
    let code = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    Some(code.filter(|code| (*code as usize) < CODES).unwrap_or(2))
}

fn named<'a>(fields: &'a Fields, name: &[u8]) -> Option<&'a [u8]> {
    fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Fields {
        let mut fields = Fields::default();
        fields.push(name, value.as_bytes());
        fields
    }

    #[test]
    fn grpc_is_told_apart_from_what_looks_like_it() {
        for media in ["application/grpc", "application/grpc+proto", "Application/GRPC; a=b"] {
            assert!(is_message(&with("content-type", media)), "{media}");
        }
        for media in ["application/grpc-web", "application/grpc-web+proto", "application/grpcx", "text/plain"]
        {
            assert!(!is_message(&with("content-type", media)), "{media}");
        }
        assert!(!is_message(&Fields::default()));
    }

    #[test]
    fn deadlines_have_eight_digits_and_a_unit() {
        let of = |text| timeout(&with("grpc-timeout", text));
        assert_eq!(of("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(of("2M"), Some(Duration::from_secs(120)));
        assert_eq!(of("3S"), Some(Duration::from_secs(3)));
        assert_eq!(of("250m"), Some(Duration::from_millis(250)));
        assert_eq!(of("7u"), Some(Duration::from_micros(7)));
        assert_eq!(of("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for wrong in ["", "S", "1", "123456789S", "-1S", "1 S", "1s", "1.5S"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_status_is_one_of_seventeen() {
        for (text, code) in [("0", 0), ("14", 14), ("16", 16), ("17", 2), ("x", 2), ("", 2)] {
            assert_eq!(status(&with("grpc-status", text)), Some(code), "{text}");
        }
        assert_eq!(status(&Fields::default()), None);
    }
}
