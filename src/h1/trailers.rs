//! Trailer fields (RFC 9110 §6.5).

use super::head::{HeadError, malformed, take_fields};
use crate::fields::{Fields, Known};

/// Reads trailer fields up to and with their blank line, and leaves out what does not belong there.
pub fn parse_trailers(bytes: &[u8], fields: &mut Fields) -> Result<(), HeadError> {
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
    keep_trailers(fields);
    Ok(())
}

/// Leaves out of trailers, of whichever version of HTTP, what frames, routes or authenticates a message, or says where
/// it comes from: some who read trailers put them with the fields (RFC 9110 §6.5.1).
pub fn keep_trailers(fields: &mut Fields) {
    fields.retain_known(|known| {
        !matches!(
            known,
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
                | Known::Forwarded
                | Known::XForwardedFor
                | Known::XForwardedHost
                | Known::XForwardedProto
                | Known::XRequestId
                | Known::OfProxy
                | Known::Underscored
                | Known::Disguised
        )
    });
}
