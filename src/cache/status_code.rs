//! What a status code says to a cache before any field does (RFC 9110 §15, RFC 9111 §3).
//!
//! Next stops: `storable` and `freshness`.

/// The statuses that are cacheable unless something says otherwise (RFC 9110 §15.1); 206 is one, but parts are not stored.
pub fn is_heuristic(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// The statuses whose rules for caches are known and kept here (RFC 9111 §3): the final ones of RFC 9110 but
/// 206 and 304, which are refused before.
pub fn is_understood(status: u16) -> bool {
    matches!(status, 200..=205 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505)
}
