//! A stored response: its head, what is known of its freshness, and its body in chunks that everyone who reads it
//! shares. Nothing of it changes once it is stored but the marks that a purge or a write leaves.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;

use super::{
    date::Date,
    freshness::Freshness,
    key::Key,
    stored_head::StoredHead,
    vary::{Variant, Vary},
};

/// What an object costs beside what it holds, in bytes: its places in index and evictor, which grow by doubling, and
/// what the allocator rounds up.
const OVERHEAD: u64 = 256;
/// What a chunk costs beside its bytes.
const CHUNK: u64 = 64;

/// A stored response.
#[derive(Debug)]
pub struct StoredResponse {
    /// What it is found by.
    pub key: Key,
    /// Which of the variants of its key it is; of empty text when it does not vary.
    pub variant: Key,
    /// Its head, and what follows from it.
    pub entry: StoredHead,
    /// Its body.
    pub body: Body,
    /// Since when it counts as stale, as seconds of the wall clock, by a soft purge; 0 is never.
    expired: AtomicU64,
    /// Whether it must be validated before it is served again: what it stands for was written to.
    is_invalid: AtomicBool,
    /// Whether a refresh in the background was begun.
    is_refreshing: AtomicBool,
}

impl StoredResponse {
    /// A response to a request with these fields. None when it varies by more than fields (`Vary: *`).
    pub fn new(key: Key, request: &crate::fields::Fields, entry: StoredHead, body: Body) -> Option<Self> {
        let variant = entry.vary.key(request)?;
        let mut entry = entry;
        entry.head.fields = entry.head.fields.compact();
        Some(Self::assembled(key, variant, entry, body))
    }

    /// An object of parts that belong together already: the same one with a newer head, or one that was kept
    /// elsewhere.
    pub fn assembled(key: Key, variant: Key, entry: StoredHead, body: Body) -> Self {
        let (expired, is_invalid) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { key, variant, entry, body, expired, is_invalid, is_refreshing: AtomicBool::new(false) }
    }

    /// The bytes that it counts for: all that it holds, and its share of what finds it.
    pub fn size(&self) -> u64 {
        let names = match &self.entry.vary {
            Vary::Names(names) => names.iter().map(|name| name.len() + size_of::<String>()).sum(),
            Vary::Any => 0,
        };
        let text = self.key.text().len() + self.variant.text().len();
        let head = size_of::<Self>() + text + names + self.entry.head.fields.memory();
        head as u64 + OVERHEAD + self.body.length + CHUNK * self.body.chunks().len() as u64
    }

    /// The number by which the evictor knows it: the same for whatever else is stored in its place.
    pub fn id(&self) -> u64 {
        id(&self.key, &self.variant)
    }

    /// The freshness, with the marks that it was given since.
    pub fn freshness(&self) -> Freshness {
        let mut freshness = self.entry.freshness.clone();
        let expired = self.expired.load(Relaxed);
        if expired > 0 {
            freshness.expire(Date(expired));
        }
        if self.is_invalid.load(Relaxed) {
            freshness.invalidate();
        }
        freshness
    }

    /// Makes it stale from `now` on; what permits to serve it stale still does.
    pub fn expire(&self, now: Date) {
        self.expired.fetch_max(now.0.max(1), Relaxed);
    }

    /// Has it validated before it is served again.
    pub fn invalidate(&self) {
        self.is_invalid.store(true, Relaxed);
    }

    /// True for the first who asks: that one refreshes it in the background.
    pub fn begin_refresh(&self) -> bool {
        !self.is_refreshing.swap(true, Relaxed)
    }

    /// The refresh ended without a newer object in this one's place: another may be tried.
    pub fn end_refresh(&self) {
        self.is_refreshing.store(false, Relaxed);
    }

    /// The response as the choice among variants sees it.
    pub fn as_variant(&self) -> Variant<'_> {
        Variant { vary: &self.entry.vary, key: &self.variant, date: self.entry.date }
    }
}

/// The number by which the evictor knows the object of a key and a variant.
pub fn id(key: &Key, variant: &Key) -> u64 {
    let key = key.hash() as u64;
    if variant.text().is_empty() { key } else { key.rotate_left(29) ^ variant.hash() as u64 }
}

/// A body that is whole.
#[derive(Clone, Debug)]
pub struct Body {
    chunks: Chunks,
    /// Its length in bytes.
    pub length: u64,
}

#[derive(Clone, Debug)]
enum Chunks {
    One(Bytes),
    Many(Arc<[Bytes]>),
}

impl Body {
    /// A body in these chunks, none of which is empty.
    pub fn of(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        let chunks: Vec<Bytes> = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let whole = length <= JOIN && chunks.len() > 1;
        let chunks = match <[Bytes; 1]>::try_from(chunks) {
            Ok([chunk]) => Chunks::One(chunk),
            Err(chunks) if whole => Chunks::One(chunks.concat().into()),
            Err(chunks) => Chunks::Many(chunks.into()),
        };
        Self { chunks, length }
    }

    /// The body's chunks in order.
    pub fn chunks(&self) -> &[Bytes] {
        match &self.chunks {
            Chunks::One(chunk) => std::slice::from_ref(chunk),
            Chunks::Many(chunks) => chunks,
        }
    }

    /// The bytes from an offset on, up to the end of the chunk that it is in; empty at the end.
    pub fn at(&self, offset: u64) -> Bytes {
        let mut start = 0;
        for chunk in self.chunks() {
            let end = start + chunk.len() as u64;
            if offset < end {
                return chunk.slice(usize::try_from(offset - start).unwrap_or(usize::MAX)..);
            }
            start = end;
        }
        Bytes::new()
    }
}

/// Bodies up to this length are joined to one chunk when they are stored, so that a hit is one write.
const JOIN: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_from_any_offset_whatever_its_chunks() {
        let large = Bytes::from(vec![1; 200_000]);
        for chunks in [
            vec![],
            vec![Bytes::from_static(b"a")],
            vec![Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"cde")],
            vec![large.clone(), Bytes::from_static(b"x"), large],
        ] {
            let whole: Vec<u8> = chunks.concat();
            let body = Body::of(chunks);
            assert_eq!(body.length, whole.len() as u64);
            for from in [0, 1, 2, 3, 199_999, 200_000, 200_001, whole.len()] {
                let mut at = from as u64;
                let mut read = Vec::new();
                loop {
                    let chunk = body.at(at);
                    if chunk.is_empty() {
                        break;
                    }
                    at += chunk.len() as u64;
                    read.extend_from_slice(&chunk);
                }
                assert_eq!(read, whole.get(from..).unwrap_or_default(), "from {from}");
            }
        }
    }

    #[test]
    fn small_bodies_are_one_chunk_and_never_copied() {
        let body = Body::of([Bytes::from_static(b"ab"), Bytes::from_static(b"c")]);
        assert_eq!(body.chunks(), ["abc"]);
        let chunk = Bytes::from(vec![1; 10]);
        assert_eq!(Body::of([chunk.clone()]).at(0).as_ptr(), chunk.as_ptr());
    }
}
