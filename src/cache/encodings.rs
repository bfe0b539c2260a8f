//! The body of a stored response in other encodings, beside it: made once, by the first client that would have it so, and
//! gone with it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use bytes::Bytes;

use crate::filter::{EncodedHead, coding::Coding};

/// What there is of a body in other encodings. Copies of a body share it.
#[derive(Debug, Default)]
pub struct Encodings {
    bodies: OnceLock<Arc<[OnceLock<Bytes>; Coding::ALL.len()]>>,
    /// Whether somebody collects it, by encoding. Of each copy of a body for itself: there are few.
    is_collected: [AtomicBool; Coding::ALL.len()],
}

impl Clone for Encodings {
    fn clone(&self) -> Self {
        Self { bodies: self.bodies.clone(), ..Self::default() }
    }
}

impl Encodings {
    /// Lets one collect the body in this encoding until [`Self::end_collecting`]; false where another does, or where it
    /// is there. So what is collected is no more than a body in each encoding, however many clients ask for it.
    pub fn begin_collecting(&self, coding: Coding) -> bool {
        let is_free = |flag: &AtomicBool| !flag.swap(true, Relaxed);
        self.find(coding).is_none() && self.is_collected.get(coding as usize).is_some_and(is_free)
    }

    /// Lets another collect it.
    pub fn end_collecting(&self, coding: Coding) {
        if let Some(flag) = self.is_collected.get(coding as usize) {
            flag.store(false, Relaxed);
        }
    }

    /// Keeps the body in this encoding; the first one stays.
    pub fn keep(&self, coding: Coding, body: Bytes) {
        let slots = self.bodies.get_or_init(Arc::default);
        if let Some(slot) = slots.get(coding as usize) {
            let _ = slot.set(body);
        }
    }

    /// Bytes of memory that it holds.
    pub(super) fn held(&self) -> u64 {
        let Some(slots) = self.bodies.get() else { return 0 };
        let own = size_of_val(&**slots) as u64;
        own + slots.iter().filter_map(OnceLock::get).map(|body| body.len() as u64 + HEAD).sum::<u64>()
    }

    /// The body in this encoding.
    pub(super) fn find(&self, coding: Coding) -> Option<Bytes> {
        self.bodies.get()?.get(coding as usize)?.get().cloned()
    }
}

/// What a head that is kept counts for, in bytes: three fields and where they are.
const HEAD: u64 = 384;

/// What becomes of the head of a stored response with its body in other encodings. Purposefully not `Clone`: it is of one
/// head, and goes with it.
#[derive(Debug, Default)]
pub(super) struct EncodedHeads(OnceLock<Box<[OnceLock<EncodedHead>; Coding::ALL.len()]>>);

impl EncodedHeads {
    pub(super) fn find(&self, coding: Coding) -> Option<&EncodedHead> {
        self.0.get()?.get(coding as usize)?.get()
    }

    /// Keeps it; the first one stays.
    pub(super) fn keep(&self, coding: Coding, head: EncodedHead) {
        if let Some(slot) = self.0.get_or_init(Box::default).get(coding as usize) {
            let _ = slot.set(head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_of_each_encoding_stays() {
        let encodings = Encodings::default();
        assert_eq!((encodings.find(Coding::Br), encodings.held()), (None, 0));
        encodings.keep(Coding::Br, Bytes::from_static(b"one"));
        let copy = encodings.clone();
        copy.keep(Coding::Br, Bytes::from_static(b"another"));
        copy.keep(Coding::Gzip, Bytes::from_static(b"four"));
        assert_eq!(encodings.find(Coding::Br).as_deref(), Some(&b"one"[..]));
        assert_eq!(encodings.find(Coding::Gzip).as_deref(), Some(&b"four"[..]));
        assert_eq!(encodings.find(Coding::Zstd), None);
        assert!(encodings.held() > 7);
    }

    #[test]
    fn one_at_a_time_collects_what_is_not_there() {
        let encodings = Encodings::default();
        assert!(encodings.begin_collecting(Coding::Br) && encodings.begin_collecting(Coding::Gzip));
        assert!(!encodings.begin_collecting(Coding::Br));
        encodings.end_collecting(Coding::Br);
        assert!(encodings.begin_collecting(Coding::Br));
        encodings.keep(Coding::Br, Bytes::from_static(b"one"));
        encodings.end_collecting(Coding::Br);
        assert!(!encodings.begin_collecting(Coding::Br), "it is there");
        let copy = encodings.clone();
        assert!(copy.begin_collecting(Coding::Gzip), "of each copy of the body for itself");
        assert!(!encodings.begin_collecting(Coding::Gzip));
    }
}
