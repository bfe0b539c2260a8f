//! A stored response: its head, what is known of its freshness, and its body in pieces that everyone who reads it
//! shares. Nothing of it changes once it is stored but the marks that a purge or a write leaves.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;

use super::{
    date::Date,
    encodings::{EncodedHeads, Encodings},
    freshness::Freshness,
    key::Key,
    origin_id::OriginId,
    pieces::{self, Piece, Pieces},
    stored_head::StoredHead,
    vary::{Variant, Vary},
};
use crate::{
    filter::{EncodedHead, Kept, coding::Coding},
    moment::Moment,
};

/// What an object costs beside what it holds, in bytes: its places in index and evictor, which grow by doubling, and
/// what the allocator rounds up.
const OVERHEAD: u64 = 256;

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
    /// By which origin a refresh in the background was begun; 0 where none was.
    refreshing: AtomicU32,
    /// When it was asked for last, or came; noted where `inactive` is set.
    asked: AtomicU64,
    /// When its request, or that which validated it, began, and when it was whole. By the monotonic clock: what came before
    /// the wall clock was set back would be the most recent for ever.
    begun: Moment,
    came: Moment,
    /// What becomes of its head with its body in other encodings.
    encoded_heads: EncodedHeads,
}

impl Kept for StoredResponse {
    fn find(&self, coding: Coding) -> Option<Bytes> {
        self.body.encodings.find(coding)
    }

    fn head(&self, coding: Coding) -> Option<&EncodedHead> {
        self.encoded_heads.find(coding)
    }

    fn keep_head(&self, coding: Coding, head: EncodedHead) {
        self.encoded_heads.keep(coding, head);
    }
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
        let came = Moment::recent();
        let (refreshing, asked) = (AtomicU32::new(0), AtomicU64::new(came.0));
        let encoded_heads = EncodedHeads::default();
        let begun = came;
        Self { key, variant, entry, body, expired, is_invalid, refreshing, asked, begun, came, encoded_heads }
    }

    /// The same, whose request began then, and not just now.
    pub fn begun_at(mut self, begun: Moment) -> Self {
        self.begun = begun;
        self
    }

    /// When its request began, or that which validated it.
    pub fn begun(&self) -> Moment {
        self.begun
    }

    /// Whether it is to stay where another would take its place, which was asked for before this one was there, and is
    /// older (RFC 9111 §4: "the most recent response (as determined by the Date header field)"). What was asked for after
    /// it is newer whatever its Date says: the clock of an origin may be set back.
    pub fn is_more_recent_than(&self, other: &Self) -> bool {
        self.came > other.begun && (self.entry.date, self.begun) > (other.entry.date, other.begun)
    }

    /// The bytes that it counts for: all that it holds, and its share of what finds it.
    pub fn size(&self) -> u64 {
        let names = match &self.entry.vary {
            Vary::Names(names) => names.iter().map(|name| name.len() + size_of::<String>()).sum(),
            Vary::Any => 0,
        };
        let text = self.key.text().len() + self.variant.text().len();
        let head = size_of::<Self>() + text + names + self.entry.head.fields.memory();
        head as u64 + OVERHEAD + self.body.held()
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

    /// True for the first who asks: that one refreshes it in the background, by this origin. One by another origin, of before
    /// a reload, is not waited for: it may not answer.
    pub fn begin_refresh(&self, origin: OriginId) -> bool {
        self.refreshing.swap(origin.number(), Relaxed) != origin.number()
    }

    /// The refresh by this origin ended without a newer object in this one's place: another may be tried.
    pub fn end_refresh(&self, origin: OriginId) {
        // One by another origin goes on.
        let _ = self.refreshing.compare_exchange(origin.number(), 0, Relaxed, Relaxed);
    }

    /// It was asked for.
    pub fn note_asked(&self, now: Moment) {
        // Hits of many threads in one moment write once.
        if now.0 > self.asked.load(Relaxed).saturating_add(NOTED_EVERY) {
            self.asked.store(now.0, Relaxed);
        }
    }

    /// When it was asked for last, or came: some milliseconds ago at most where that is now.
    pub fn last_asked(&self) -> Moment {
        Moment(self.asked.load(Relaxed))
    }

    /// The response as the choice among variants sees it.
    pub fn as_variant(&self) -> Variant<'_> {
        Variant { vary: &self.entry.vary, key: &self.variant, date: self.entry.date }
    }
}

/// The number by which the evictor knows the object of a key and a variant.
pub fn id(key: &Key, variant: &Key) -> u64 {
    let key = key.half_hash();
    if variant.text().is_empty() { key } else { key.rotate_left(29) ^ variant.half_hash() }
}

/// A body that is whole.
#[derive(Clone, Debug)]
pub struct Body {
    pieces: WholePieces,
    /// Its length in bytes.
    pub length: u64,
    /// What there is of it in other encodings.
    pub encodings: Encodings,
}

#[derive(Clone, Debug)]
enum WholePieces {
    One(Bytes),
    Many(Arc<[Piece]>),
}

impl Body {
    /// A body of these chunks, which may be of any size.
    pub fn of(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        let pieces: Pieces = chunks.into_iter().collect();
        let length = pieces.end();
        let mut bytes = pieces.iter().map(|piece| &piece.bytes);
        let pieces = match (bytes.next(), bytes.next()) {
            (None, _) => WholePieces::One(Bytes::new()),
            (Some(only), None) => WholePieces::One(only.clone()),
            (Some(first), Some(second)) if length <= JOIN => {
                let all: Vec<&[u8]> =
                    [first, second].into_iter().chain(bytes).map(|bytes| &**bytes).collect();
                WholePieces::One(all.concat().into())
            }
            _ => WholePieces::Many(pieces.iter().cloned().collect()),
        };
        Self { pieces, length, encodings: Encodings::default() }
    }

    /// Its bytes in order, in pieces of which few are small.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        let (one, many) = match &self.pieces {
            WholePieces::One(bytes) => (Some(bytes), &[][..]),
            WholePieces::Many(pieces) => (None, &**pieces),
        };
        one.into_iter().filter(|bytes| !bytes.is_empty()).chain(many.iter().map(|piece| &piece.bytes))
    }

    /// The bytes from an offset on, up to the end of the piece that it lies in; empty at the end. Found by bisection.
    pub fn at(&self, offset: u64) -> Bytes {
        match &self.pieces {
            WholePieces::One(bytes) => {
                let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
                bytes.slice(skipped.min(bytes.len())..)
            }
            WholePieces::Many(pieces) => {
                let behind = pieces.partition_point(|piece| piece.start <= offset);
                let piece = behind.checked_sub(1).and_then(|at| pieces.get(at));
                piece.map_or_else(Bytes::new, |piece| piece.from(offset))
            }
        }
    }

    /// Bytes of memory that it holds.
    fn held(&self) -> u64 {
        let pieces = match &self.pieces {
            WholePieces::One(_) => 1,
            WholePieces::Many(pieces) => pieces.len() as u64,
        };
        self.length + pieces::OVERHEAD * pieces + self.encodings.held()
    }
}

/// Microseconds within which a second hit is not noted.
const NOTED_EVERY: u64 = 10_000;

/// Bodies up to this length are joined to one piece when they are stored, so that a hit is one write.
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
    fn a_body_of_tiny_chunks_costs_what_it_is_long() {
        let body = Body::of((0..1 << 20).map(|_| Bytes::from_static(b"x")));
        assert!(body.chunks().count() <= 2 * (1 << 20) / 4096, "{} pieces", body.chunks().count());
        assert!(body.held() < (1 << 20) * 104 / 100, "{} bytes", body.held());
    }

    #[test]
    fn small_bodies_are_one_chunk_and_never_copied() {
        let body = Body::of([Bytes::from_static(b"ab"), Bytes::from_static(b"c")]);
        assert_eq!(body.chunks().collect::<Vec<_>>(), ["abc"]);
        assert_eq!(Body::of([Bytes::new()]).chunks().count(), 0);
        let chunk = Bytes::from(vec![1; 10]);
        assert_eq!(Body::of([chunk.clone()]).at(0).as_ptr(), chunk.as_ptr());
    }
}
