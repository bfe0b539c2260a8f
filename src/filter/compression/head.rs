//! What becomes of the head of a body that is encoded.

use super::Seen;
use crate::{
    exchange::Exchange,
    fields::{Fields, Known},
    filter::coding::Coding,
};

/// What becomes of the head of a body that is encoded.
#[derive(Debug)]
pub(super) struct Head {
    has_ranges: bool,
    is_identity: bool,
    /// The tag that it gets, where it has one that is strong: it is not the same byte for byte (RFC 9110 §8.8.3).
    weak: Option<Vec<u8>>,
}

impl Head {
    pub(super) fn of(seen: &Seen<'_>) -> Self {
        let strong = seen.etag.filter(|tag| !tag.starts_with(b"W/"));
        let weak = strong.map(|tag| [b"W/", tag].concat());
        Self { has_ranges: seen.has_ranges, is_identity: seen.is_identity, weak }
    }

    pub(super) fn encode(self, coding: Coding, exchange: &mut Exchange) {
        exchange.encoded = Some(coding.name());
        let fields = &mut exchange.response.fields;
        fields.remove_known(Known::ContentLength);
        if self.has_ranges {
            // A part of what comes cannot be asked for.
            fields.remove_known(Known::AcceptRanges);
        }
        if self.is_identity {
            fields.remove_known(Known::ContentEncoding);
        }
        fields.push_known(Known::ContentEncoding, coding.name().as_bytes());
        if let Some(weak) = self.weak {
            fields.set_known(Known::Etag, &weak);
        }
    }

    /// The same to be kept beside the head that it is of, which `varies` by Accept-Encoding already, or not. `by` is the
    /// filter, and the status of the response.
    pub(super) fn encoded(&self, coding: Coding, varies: bool, by: (u64, u16)) -> EncodedHead {
        let mut added = Fields::default();
        if !varies {
            added.push_known(Known::Vary, b"accept-encoding");
        }
        added.push_known(Known::ContentEncoding, coding.name().as_bytes());
        let mut removed = vec![Known::ContentLength];
        removed.extend(self.has_ranges.then_some(Known::AcceptRanges));
        removed.extend(self.is_identity.then_some(Known::ContentEncoding));
        if let Some(weak) = &self.weak {
            removed.push(Known::Etag);
            added.push_known(Known::Etag, weak);
        }
        EncodedHead { by, removed: removed.into(), added: added.compact() }
    }
}

/// What becomes of the head of a stored response whose body is encoded, where nothing but that response decides.
#[derive(Debug)]
pub struct EncodedHead {
    by: (u64, u16),
    removed: Box<[Known]>,
    added: Fields,
}

impl EncodedHead {
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
