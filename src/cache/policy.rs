//! What a cache's configuration decides where the standard leaves it open.

/// The rules of one cache, as its decisions need them.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The fraction of the time since Last-Modified that a response without a lifetime of its own is fresh
    /// for (RFC 9111 §4.2.2); 0 turns it off.
    pub heuristic: f64,
    /// How long a response that says nothing at all is fresh, in seconds; 0 means that it is not stored.
    pub default_ttl: u64,
    /// Seconds of `stale-while-revalidate` for responses that do not say.
    pub stale_while_revalidate: u64,
    /// Seconds of `stale-if-error` for responses that do not say.
    pub stale_if_error: u64,
    /// Whether responses with Set-Cookie are stored, and the field with them.
    pub store_set_cookie: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            heuristic: 0.1,
            default_ttl: 0,
            stale_while_revalidate: 0,
            stale_if_error: 0,
            store_set_cookie: false,
        }
    }
}
