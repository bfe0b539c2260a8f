//! Bytes in the order they come, in pieces that everyone shares: of a fill that is under way, of what is stored, of what
//! waits to be written to disk.
//!
//! Whoever sends a body chooses the sizes of its chunks, so that small ones are joined as they come. Pieces below
//! [`SMALL`] bytes stand at the end, each at least twice as long as the next, or alone before a large one. So there are
//! at most two for each [`SMALL`] bytes and a dozen more, and no byte is copied more than some twenty times. What was
//! given to a reader never changes. An offset is found by bisection.

use std::collections::VecDeque;

use bytes::Bytes;

/// A chunk of so many bytes is never copied.
const SMALL: usize = 4 * 1024;
/// Bytes that a piece costs beside its own: its place here, and what the allocator and those who share it need.
pub(super) const OVERHEAD: u64 = 64;

/// Some bytes of a body.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// The offset of the first of them.
    pub(super) start: u64,
    pub(super) bytes: Bytes,
}

impl Piece {
    /// Its bytes from an offset on; none where that lies behind it.
    pub(super) fn from(&self, offset: u64) -> Bytes {
        let skipped = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.bytes.slice(skipped.min(self.bytes.len())..)
    }
}

/// Bytes in the order they come; what is not needed any more is taken from the front.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<Piece>,
    end: u64,
}

impl Pieces {
    /// Adds bytes at the end.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let is_large = bytes.len() >= SMALL;
        // The small ones at the end become one before a large one, and with a small one as far as that keeps the order.
        let (mut count, mut length) = (0, bytes.len());
        for last in self.pieces.iter().rev() {
            if last.bytes.len() >= SMALL || (!is_large && last.bytes.len() >= 2 * length) {
                break;
            }
            count += 1;
            length += last.bytes.len();
        }
        let start = self.end;
        self.end += bytes.len() as u64;
        match is_large {
            true => {
                if count > 1 {
                    self.join(count, length - bytes.len(), &[]);
                }
                self.pieces.push_back(Piece { start, bytes });
            }
            false if count > 0 => self.join(count, length, &bytes),
            false => self.pieces.push_back(Piece { start, bytes }),
        }
    }

    /// Puts one piece in the place of the last `count`, with `more` behind them; all of it has `length` bytes.
    fn join(&mut self, count: usize, length: usize, more: &[u8]) {
        let first = self.pieces.len().saturating_sub(count);
        let start = self.pieces.get(first).map_or(self.end, |piece| piece.start);
        let mut joined = Vec::with_capacity(length);
        self.pieces.drain(first..).for_each(|piece| joined.extend_from_slice(&piece.bytes));
        joined.extend_from_slice(more);
        self.pieces.push_back(Piece { start, bytes: joined.into() });
    }

    /// The bytes from an offset on, up to the end of the piece that it lies in; `None` where that is not here.
    pub(super) fn at(&self, offset: u64) -> Option<Bytes> {
        if offset >= self.end {
            return None;
        }
        // Most readers stand in the last piece.
        if let Some(last) = self.pieces.back().filter(|last| last.start <= offset) {
            return Some(last.from(offset));
        }
        let behind = self.pieces.partition_point(|piece| piece.start <= offset);
        Some(self.pieces.get(behind.checked_sub(1)?)?.from(offset))
    }

    /// The offset of the first byte that is here.
    pub(super) fn start(&self) -> u64 {
        self.pieces.front().map_or(self.end, |first| first.start)
    }

    /// The offset behind the last byte.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes that it holds, with what each piece costs.
    pub(super) fn held(&self) -> u64 {
        self.end - self.start() + OVERHEAD * self.pieces.len() as u64
    }

    /// Lets go of the pieces that end at an offset or before it.
    pub(super) fn forget(&mut self, offset: u64) {
        while self.pieces.front().is_some_and(|first| first.start + first.bytes.len() as u64 <= offset) {
            self.pieces.pop_front();
        }
    }

    /// Takes the first piece, or the first `most` bytes of it.
    pub(super) fn take(&mut self, most: usize) -> Option<Bytes> {
        let first = self.pieces.front_mut()?;
        if first.bytes.len() <= most {
            return self.pieces.pop_front().map(|first| first.bytes);
        }
        first.start += most as u64;
        Some(first.bytes.split_to(most))
    }

    /// All pieces in order.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Piece> {
        self.pieces.iter()
    }
}

impl FromIterator<Bytes> for Pieces {
    fn from_iter<I: IntoIterator<Item = Bytes>>(chunks: I) -> Self {
        let mut pieces = Self::default();
        chunks.into_iter().for_each(|chunk| pieces.push(chunk));
        pieces
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The most pieces that so many bytes may be in.
    fn most(bytes: usize) -> usize {
        2 * (bytes / SMALL) + 14
    }

    #[test]
    fn chunks_of_any_size_are_few_pieces() {
        let sizes: [&dyn Fn(usize) -> usize; 5] = [
            &|_| 1,
            &|_| 60,
            &|at| SMALL - 1 - at % SMALL.min(4000),
            &|at| if at % 2 == 0 { 1 } else { SMALL },
            &|at| if at % 300 == 299 { SMALL } else { 300 - at % 300 },
        ];
        for size in sizes {
            let mut pieces = Pieces::default();
            let mut length = 0;
            for at in 0.. {
                pieces.push(Bytes::from(vec![1; size(at)]));
                length += size(at);
                assert!(pieces.iter().len() <= most(length), "{} of {length} bytes", pieces.iter().len());
                if length > 1 << 20 {
                    break;
                }
            }
        }
    }

    #[test]
    fn large_chunks_are_never_copied() {
        let chunks: Vec<Bytes> = (0..3).map(|byte| Bytes::from(vec![byte; SMALL])).collect();
        let pieces: Pieces = chunks.iter().cloned().collect();
        assert!(pieces.iter().zip(&chunks).all(|(piece, chunk)| piece.bytes.as_ptr() == chunk.as_ptr()));
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_pushed(
            sizes in proptest::collection::vec(prop_oneof![0_usize..9, 0_usize..5000], 0..40),
            forgotten in 0_u64..20_000,
            takes in proptest::collection::vec(1_usize..6000, 0..9),
        ) {
            let mut whole = Vec::new();
            let mut pieces = Pieces::default();
            for (at, size) in sizes.into_iter().enumerate() {
                let chunk = vec![at as u8; size];
                whole.extend_from_slice(&chunk);
                pieces.push(chunk.into());
            }
            prop_assert_eq!(pieces.end(), whole.len() as u64);
            pieces.forget(forgotten);
            prop_assert!(pieces.start() <= forgotten.min(pieces.end()));
            for most in takes {
                let start = pieces.start() as usize;
                let taken = pieces.take(most);
                prop_assert!(taken.iter().all(|it| it.len() <= most && whole[start..].starts_with(it)));
                prop_assert_eq!(taken.is_none(), start == whole.len());
            }
            for offset in 0..whole.len() as u64 + 2 {
                let found = pieces.at(offset);
                prop_assert_eq!(found.is_some(), (pieces.start()..pieces.end()).contains(&offset));
                prop_assert!(found.iter().all(|it| !it.is_empty() && whole[offset as usize..].starts_with(it)));
            }
        }
    }
}
