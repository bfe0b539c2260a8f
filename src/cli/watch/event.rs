//! What the loop of the live view gets, from the threads that look and from the terminal.

use serde_json::Value;

/// What the loop gets.
pub(super) enum Event {
    /// A look, or why there is none.
    Looked(Box<Result<Look, String>>),
    Key(u8),
    Resized,
    Quit,
}

/// The answers of one look.
pub(super) struct Look {
    pub(super) status: Value,
    pub(super) traffic: Value,
    pub(super) upstreams: Value,
    pub(super) caches: Value,
}
