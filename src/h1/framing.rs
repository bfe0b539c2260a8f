//! Where a message's body ends (RFC 9112 §6), with no doubt left to the next parser.

use super::{
    grammar::Version,
    head::{RequestHead, ResponseHead},
    method::Method,
};
use crate::fields::{Fields, Known, list};

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// This many bytes.
    Length(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection; responses only.
    UntilClose,
}

impl Framing {
    /// Of a request (RFC 9112 §6.3). Anything that two parsers could read in two ways is refused.
    pub fn of_request(head: &RequestHead) -> Result<Self, &'static str> {
        if !head.fields.has_any(&[Known::ContentLength, Known::TransferEncoding]) {
            return Ok(Self::None);
        }
        let length = content_length(&head.fields)?;
        if !head.fields.has(Known::TransferEncoding) {
            return Ok(match length {
                None | Some(0) => Self::None,
                Some(length) => Self::Length(length),
            });
        }
        if head.version == Version::Http10 {
            return Err("Transfer-Encoding in an HTTP/1.0 request");
        }
        if length.is_some() {
            return Err("both Transfer-Encoding and Content-Length");
        }
        if !is_chunked(&head.fields) {
            return Err("a transfer coding other than chunked");
        }
        Ok(Self::Chunked)
    }

    /// Of the response to a request of `method` (RFC 9112 §6.3). Interim responses have no body.
    pub fn of_response(head: &ResponseHead, method: &Method) -> Result<Self, &'static str> {
        let length = content_length(&head.fields)?;
        let chunked = head.fields.has(Known::TransferEncoding);
        if chunked && length.is_some() {
            return Err("both Transfer-Encoding and Content-Length");
        }
        if *method == Method::Head || head.status < 200 || matches!(head.status, 204 | 304) {
            return Ok(Self::None);
        }
        if chunked {
            if head.version == Version::Http10 {
                return Err("Transfer-Encoding in an HTTP/1.0 response");
            }
            return if is_chunked(&head.fields) {
                Ok(Self::Chunked)
            } else {
                Err("a transfer coding other than chunked")
            };
        }
        Ok(match length {
            Some(0) => Self::None,
            Some(length) => Self::Length(length),
            None => Self::UntilClose,
        })
    }
}

/// The one value of Content-Length: digits only, and not twice, not even the same.
pub(crate) fn content_length(fields: &Fields) -> Result<Option<u64>, &'static str> {
    let mut values = fields.all_known(Known::ContentLength);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err("Content-Length twice");
    }
    // With 19 digits it fits.
    let is_number = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let number = || value.iter().fold(0, |number: u64, digit| number * 10 + u64::from(digit - b'0'));
    if is_number { Ok(Some(number())) } else { Err("Content-Length is not a number") }
}

/// Whether the one value is `chunked`. Empty members of a list mean nothing (RFC 9110 §5.6.1.2), but who reads no list here,
/// as many do not, sees another coding, or none.
fn is_chunked(fields: &Fields) -> bool {
    let mut values = fields.all_known(Known::TransferEncoding);
    values.next().is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) && values.next().is_none()
}

/// Whether the sender wants the connection kept after this message (RFC 9112 §9.3).
pub fn keeps_alive(version: Version, fields: &Fields) -> bool {
    let mut keep = version == Version::Http11;
    for option in list(fields.all_known(Known::Connection)) {
        if option.eq_ignore_ascii_case(b"close") {
            return false;
        }
        keep |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    keep
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::{HeadLimits, Scan};

    fn request(text: &str) -> Result<Framing, &'static str> {
        let mut head = RequestHead::default();
        head.parse(text.as_bytes(), &HeadLimits::default(), &mut Scan::default()).unwrap().unwrap();
        Framing::of_request(&head)
    }

    fn response(text: &str, method: Method) -> Result<Framing, &'static str> {
        let mut head = ResponseHead::default();
        head.parse(text.as_bytes(), &HeadLimits::default(), &mut Scan::default()).unwrap().unwrap();
        Framing::of_response(&head, &method)
    }

    #[test]
    fn requests_have_one_reading_or_none() {
        assert_eq!(request("GET / HTTP/1.1\r\n\r\n"), Ok(Framing::None));
        assert_eq!(request("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n"), Ok(Framing::Length(5)));
        assert_eq!(request("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), Ok(Framing::None));
        assert_eq!(request("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n"), Ok(Framing::Chunked));
        for bad in [
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: , chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked,\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(request(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn responses_follow_the_request() {
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(response(length, Method::Get), Ok(Framing::Length(5)));
        assert_eq!(response(length, Method::Head), Ok(Framing::None));
        assert_eq!(response("HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", Method::Get), Ok(Framing::None));
        assert_eq!(response("HTTP/1.1 204 X\r\n\r\n", Method::Get), Ok(Framing::None));
        assert_eq!(response("HTTP/1.1 200 OK\r\n\r\n", Method::Get), Ok(Framing::UntilClose));
        assert_eq!(
            response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Get),
            Ok(Framing::Chunked)
        );
        assert!(response("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Get).is_err());
        assert!(response("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Method::Get).is_err());
        assert!(
            response(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
                Method::Get
            )
            .is_err()
        );
    }
}
