//! Trailer fields (RFC 9110 §6.5).

use std::sync::Arc;

use super::head::{HeadError, malformed, take_fields};
use crate::fields::{Fields, Known};

/// What trailers are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Message {
    /// A request, which a client sends.
    #[default]
    Request,
    /// A response, which a backend sends.
    Response,
}

/// Reads trailer fields up to and with their blank line, and leaves out what does not belong there.
pub fn parse_trailers(bytes: &[u8], fields: &mut Fields, of: Message) -> Result<(), HeadError> {
    let mut storage = [httparse::EMPTY_HEADER; 64];
    match httparse::parse_headers(bytes, &mut storage) {
        Ok(httparse::Status::Complete((length, found))) if length == bytes.len() => {
            take_fields(fields, bytes, found)?;
        }
        Ok(_) => {
            return Err(HeadError::Malformed("the trailers do not end where their blank line is"));
        }
        Err(error) => return Err(malformed(error)),
    }
    keep_trailers(fields, of);
    Ok(())
}

/// Leaves out of trailers, of whichever version of HTTP, what frames, routes or authenticates a message, says of what kind
/// its content is, or controls what becomes of it: some who read trailers put them with the fields (RFC 9110 §6.5.1). Of a
/// request also what only proxies may say of it, as its head is cleaned of that (`http::received`); a response says of
/// itself what it likes, as in its head.
pub fn keep_trailers(fields: &mut Fields, of: Message) {
    fields.retain_known(|known| match known {
        Known::ContentLength
        | Known::TransferEncoding
        | Known::Host
        | Known::Connection
        | Known::KeepAlive
        | Known::ProxyConnection
        | Known::Http2Settings
        | Known::Trailer
        | Known::Te
        | Known::Upgrade
        | Known::Expect
        | Known::Authorization
        | Known::ProxyAuthorization
        | Known::WwwAuthenticate
        | Known::ProxyAuthenticate
        | Known::SetCookie
        | Known::Cookie
        | Known::Via
        | Known::ContentEncoding
        | Known::ContentRange
        | Known::ContentType
        | Known::CacheControl
        | Known::Pragma
        | Known::Range
        | Known::IfMatch
        | Known::IfNoneMatch
        | Known::IfModifiedSince
        | Known::IfUnmodifiedSince
        | Known::IfRange
        | Known::Age
        | Known::Date
        | Known::Location
        | Known::Vary
        | Known::OfPeer => false,
        Known::Forwarded
        | Known::XForwardedFor
        | Known::XForwardedHost
        | Known::XForwardedProto
        | Known::XRequestId
        | Known::OfProxy
        | Known::Underscored
        | Known::Disguised => of == Message::Response,
        _ => true,
    });
    CONTROLS.iter().for_each(|name| fields.remove(name));
}

/// Those of them that are not looked at by themselves elsewhere.
const CONTROLS: [&str; 2] = ["expires", "max-forwards"];

/// Names that the trailers of some messages may not have beside, nor the interim responses before them: what is said, or
/// withheld, in the head by somebody who is believed. Some who read trailers put them with the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Withheld(Option<Arc<[Box<str>]>>);

impl Withheld {
    /// These names.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let names: Arc<[Box<str>]> = names.into_iter().map(Box::from).collect();
        Self((!names.is_empty()).then_some(names))
    }

    /// Trailers, or the fields of an interim response, without these; `None` where there are none of them.
    pub fn taken_out_of(&self, trailers: &Fields) -> Option<Fields> {
        let names = self.0.as_ref().filter(|names| names.iter().any(|name| trailers.get(name).is_some()))?;
        let mut left = trailers.clone();
        names.iter().for_each(|name| left.remove(name));
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(names: &[&str], of: Message) -> Vec<String> {
        let mut fields = Fields::default();
        names.iter().for_each(|name| fields.push(name, b"1"));
        keep_trailers(&mut fields, of);
        fields.iter().map(|field| String::from_utf8(field.name.to_vec()).unwrap()).collect()
    }

    #[test]
    fn what_frames_routes_or_authenticates_is_left_out_of_both() {
        let names = [
            "Content-Length",
            "Host",
            "TE",
            "Trailer",
            "Upgrade",
            "Authorization",
            "Set-Cookie",
            "Via",
            "Pointsman-Peer",
            "x-a",
        ];
        assert_eq!(kept(&names, Message::Request), ["x-a"]);
        assert_eq!(kept(&names, Message::Response), ["x-a"]);
    }

    #[test]
    fn what_describes_or_controls_a_message_is_left_out() {
        let names = [
            "Content-Encoding",
            "Content-Range",
            "Content-Type",
            "Cache-Control",
            "Pragma",
            "Range",
            "If-Match",
            "If-None-Match",
            "If-Modified-Since",
            "If-Unmodified-Since",
            "If-Range",
            "Max-Forwards",
            "Expect",
            "Age",
            "Date",
            "Expires",
            "Location",
            "Vary",
        ];
        // An ETag and digests may be known at the end only (RFC 9110 §8.8.3, RFC 9530); gRPC has its status there.
        let passed = ["ETag", "Content-Digest", "Server-Timing", "grpc-status", "grpc-message", "x-a-bin"];
        for of in [Message::Request, Message::Response] {
            assert_eq!(kept(&[&names[..], &passed].concat(), of), passed, "{of:?}");
        }
    }

    #[test]
    fn what_is_withheld_is_left_out_beside() {
        let mut fields = Fields::default();
        ["X-User", "x-sum", "x-user"].iter().for_each(|name| fields.push(name, b"1"));
        let left = Withheld::new(["x-user", "x-b"]).taken_out_of(&fields).unwrap();
        assert_eq!(left.iter().map(|field| field.name.to_vec()).collect::<Vec<_>>(), [b"x-sum"]);
        assert!(Withheld::new(["x-b"]).taken_out_of(&fields).is_none());
        assert!(Withheld::new([]).taken_out_of(&fields).is_none());
    }

    #[test]
    fn what_only_proxies_may_say_is_left_out_of_requests() {
        let names = [
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Prefix",
            "X-Real-IP",
            "X-Request-Id",
            "an_id",
            "content_length",
        ];
        assert_eq!(kept(&names, Message::Request), [""; 0]);
        assert_eq!(kept(&names, Message::Response), names);
    }
}
