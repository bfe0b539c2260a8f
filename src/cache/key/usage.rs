//! What a request may do with the cache.

use crate::{
    fields::{Fields, Known},
    h1::{Framing, Method, RequestHead},
};

/// What a request may do with the cache, by its method (RFC 9111 §2, §4, §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// GET: answered from the cache, its response stored.
    ReadAndStore,
    /// HEAD: answered from what GET stored; its response only freshens that.
    Read,
    /// Safe, but not cached: OPTIONS and TRACE. CONNECT names no resource.
    Pass,
    /// Unsafe, or of unknown safety: written through, and what it changes is invalidated.
    Invalidate,
}

impl Use {
    /// Decides by method and body. A GET with a body passes: what it means is not defined (RFC 9110 §9.3.1),
    /// and the body is no part of the key. So does one with preconditions for the origin
    /// ([`has_origin_precondition`]).
    pub fn of(request: &RequestHead, body: Framing) -> Self {
        let has_body = !matches!(body, Framing::None | Framing::Length(0));
        match &request.method {
            Method::Get | Method::Head if has_body || has_origin_precondition(&request.fields) => Self::Pass,
            Method::Get => Self::ReadAndStore,
            Method::Head => Self::Read,
            Method::Options | Method::Trace | Method::Connect => Self::Pass,
            Method::Post | Method::Put | Method::Delete | Method::Patch | Method::Other(_) => {
                Self::Invalidate
            }
        }
    }
}

/// If-Match and If-Unmodified-Since are for the origin; a cache "MUST NOT evaluate" them (RFC 9111 §4.3.2).
pub fn has_origin_precondition(request: &Fields) -> bool {
    request.known(Known::IfMatch).is_some() || request.known(Known::IfUnmodifiedSince).is_some()
}
