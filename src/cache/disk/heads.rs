//! New heads that wait to be written, by object.

use std::collections::HashMap;

use super::index::Id;

/// The heads that wait to be written.
pub(super) type Heads = HashMap<Id, Head>;

/// The newest head of an object.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) meta: Vec<u8>,
    /// It came while the one before it was being written.
    pub(super) is_newer: bool,
    pub(super) is_running: bool,
}
