//! What becomes of the head of a stored response whose body is encoded, to be kept beside that head.

use super::coding::Coding;
use crate::{
    exchange::Exchange,
    fields::{Fields, Known},
};

/// What becomes of the head of a stored response whose body is encoded, where nothing but that response decides.
#[derive(Debug)]
pub struct EncodedHead {
    /// The filter, and the status of the response.
    by: (u64, u16),
    removed: Box<[Known]>,
    added: Fields,
}

impl EncodedHead {
    /// What a filter makes of a response of a status (`by`): these fields go, and those come.
    pub(super) fn new(by: (u64, u16), removed: Box<[Known]>, added: Fields) -> Self {
        Self { by, removed, added }
    }

    /// Whether it is what this filter makes of a response of this status.
    pub(super) fn is_of(&self, filter: u64, status: u16) -> bool {
        self.by == (filter, status)
    }

    /// Makes the head in `exchange`, of the same response, so.
    pub(super) fn apply(&self, coding: Coding, exchange: &mut Exchange) {
        exchange.encoded = Some(coding.name());
        let fields = &mut exchange.response.fields;
        fields.remove_all_known(&self.removed);
        fields.append(&self.added);
    }
}
