//! What becomes of the head of a body that is encoded.

use crate::{
    exchange::Exchange,
    fields::{Fields, Known},
    filter::{coding::Coding, encoded_head::EncodedHead},
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
    /// Of a response with this tag; of which a part can be asked for, or not; and which says that it is not encoded, or
    /// nothing of that.
    pub(super) fn of(etag: Option<&[u8]>, has_ranges: bool, is_identity: bool) -> Self {
        let strong = etag.filter(|tag| !tag.starts_with(b"W/"));
        let weak = strong.map(|tag| [b"W/", tag].concat());
        Self { has_ranges, is_identity, weak }
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
        EncodedHead::new(by, removed.into(), added.compact())
    }
}
