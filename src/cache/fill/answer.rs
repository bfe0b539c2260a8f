//! What answers a fill, or why nothing does.

use crate::{
    cache::{key::Key, stored_head::StoredHead},
    error::Kind,
    fields::Fields,
};

/// The head of an answer that is shared.
#[derive(Debug)]
pub struct Answer {
    /// Status, fields, freshness, Vary.
    pub entry: StoredHead,
    /// The variant that it is.
    pub variant: Key,
    /// The body's length, where the head says it.
    pub length: Option<u64>,
    /// Whether those may join who ask now that it has come.
    pub is_open: bool,
    /// Whether a peer had it stored, and gave it by what the one who leads accepts: it may be old, or stale.
    pub is_of_peer: bool,
}

impl Answer {
    /// Whether it is what this request would be answered with, were it stored.
    pub fn matches(&self, request: &Fields) -> bool {
        self.entry.vary.key(request).is_some_and(|key| key == self.variant)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of error.
    pub kind: Kind,
    /// For people.
    pub text: String,
}

/// What the origin had to do with a stored object that answers a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It said that the object still holds.
    Validated,
    /// A peer said so of what it has stored, by what the one who leads accepts.
    Peer,
    /// It failed, and the object may be served although it is stale.
    Failed,
    /// It was not asked: the object was found on disk.
    Unasked,
}

/// Why there is no answer when nobody waits for one any more.
pub(super) fn gone() -> Failure {
    Failure { kind: Kind::ClientGone, text: "no client is waiting any more".to_owned() }
}
