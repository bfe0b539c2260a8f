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

/// The statuses that no cache may store, whatever a response says besides (RFC 6585 §3 to §6): what they say holds for the
/// client that asked.
pub fn is_never_stored(status: u16) -> bool {
    matches!(status, 428 | 429 | 431 | 511)
}

/// The statuses of the client's errors that speak of the one request, by fields, content or connection that others for its
/// URL do not have, and not of what is there. Who chooses such a field would choose what all get.
pub fn is_of_one_request(status: u16) -> bool {
    matches!(status, 400 | 401 | 406..=408 | 411..=415 | 417 | 421 | 422 | 425 | 426)
        || is_never_stored(status)
}
