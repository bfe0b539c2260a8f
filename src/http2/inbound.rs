//! What came of a body and was not taken, in pieces of the size of a read.

use std::collections::VecDeque;

use crate::account::{self, Owner};

/// The most of a piece, in bytes.
const PIECE: usize = 64 * 1024;

/// Pieces of a body, counted in the account. However small the frames were, it takes hardly more memory than its bytes.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    pieces: VecDeque<Vec<u8>>,
    length: usize,
}

impl Inbound {
    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds bytes.
    pub(super) fn add(&mut self, mut data: &[u8]) {
        account::take(Owner::Buffers, data.len());
        self.length += data.len();
        while !data.is_empty() {
            let length = match self.pieces.back_mut() {
                Some(last) if last.len() < PIECE => {
                    let length = data.len().min(PIECE - last.len());
                    // Doubled, but never beyond a piece.
                    if last.capacity() - last.len() < length {
                        let capacity = (last.capacity() * 2).max(last.len() + length).min(PIECE);
                        last.reserve_exact(capacity - last.len());
                    }
                    last.extend_from_slice(data.get(..length).unwrap_or_default());
                    length
                }
                _ => {
                    let length = data.len().min(PIECE);
                    self.pieces.push_back(data.get(..length).unwrap_or_default().to_vec());
                    length
                }
            };
            data = data.get(length..).unwrap_or_default();
        }
    }

    /// Takes the first piece.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let piece = self.pieces.pop_front()?;
        account::give(Owner::Buffers, piece.len());
        self.length -= piece.len();
        Some(piece)
    }

    /// Forgets everything; gives how much that was.
    pub(super) fn clear(&mut self) -> usize {
        account::give(Owner::Buffers, self.length);
        self.pieces = VecDeque::new();
        std::mem::take(&mut self.length)
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_filled_and_taken_in_order() {
        let mut inbound = Inbound::default();
        let all: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
        for part in all.chunks(777) {
            inbound.add(part);
        }
        let mut taken = Vec::new();
        while let Some(piece) = inbound.take() {
            assert!(piece.capacity() <= PIECE);
            taken.extend(piece);
        }
        assert!(taken == all && inbound.is_empty());
        inbound.add(b"abc");
        assert_eq!((inbound.clear(), inbound.take()), (3, None));
    }
}
