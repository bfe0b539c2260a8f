//! Blocks of memory that reads fill and writes empty.
//!
//! A worker keeps a small pool of them. A block is taken from it only when a read is tried, and goes
//! back when nothing had come or when its bytes have gone on, so that an idle connection holds none.
//! Bytes are never copied on their way through: the block that was read is the block that is written.

use std::{cell::RefCell, ops::Deref};

/// Size of a pooled block in bytes.
pub const SIZE: usize = 64 * 1024;
/// Most blocks that a worker keeps for the next reads.
const MOST_SPARE: usize = 64;
/// What is kept over a wait and is smaller than this is copied to memory of its own size.
const SMALL: usize = SIZE / 4;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Some bytes in memory of their own; reads as a slice of what has not been consumed.
#[derive(Debug, Default)]
pub struct Block {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Block {
    /// An empty block with [`SIZE`] bytes of room, from this worker's pool.
    pub fn take() -> Self {
        let memory = SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; SIZE].into_boxed_slice());
        Self { memory, start: 0, end: 0 }
    }

    /// The whole memory, for a read to fill from its beginning; then [`Block::filled`].
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// Says how many bytes a read put into [`Block::room`].
    pub fn filled(&mut self, length: usize) {
        self.start = 0;
        self.end = length.min(self.memory.len());
    }

    /// Forgets the first `length` bytes.
    pub fn advance(&mut self, length: usize) {
        self.start = (self.start + length).min(self.end);
    }

    /// Splits off a copy of the bytes after the first `length` and keeps those.
    pub fn split_off(&mut self, length: usize) -> Self {
        let rest = Self::copy_of(self.get(length..).unwrap_or_default());
        self.end = (self.start + length).min(self.end);
        rest
    }

    /// A copy of these bytes in memory of their size.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self { memory: bytes.into(), start: 0, end: bytes.len() }
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) {
        let mut joined = Vec::with_capacity(self.len() + bytes.len());
        joined.extend_from_slice(self);
        joined.extend_from_slice(bytes);
        let end = joined.len();
        *self = Self { memory: joined.into_boxed_slice(), start: 0, end };
    }

    /// Gives a large memory that holds little back to the pool; to be called before a wait.
    pub fn shrink(&mut self) {
        if self.memory.len() == SIZE && self.len() < SMALL {
            *self = Self::copy_of(self);
        }
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.memory.len() == SIZE {
            let memory = std::mem::take(&mut self.memory);
            // While the thread ends its pool may be gone already; then the memory is just freed.
            let _ = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < MOST_SPARE {
                    spare.push(memory);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_goes_back_to_the_pool_and_little_is_kept_in_little() {
        let mut block = Block::take();
        block.room()[..5].copy_from_slice(b"hello");
        block.filled(5);
        block.advance(1);
        assert_eq!(&*block, b"ello");
        block.shrink();
        assert_eq!(&*block, b"ello");
        assert_eq!(block.memory.len(), 4);
        assert_eq!(SPARE.with_borrow(Vec::len), 1);
        let rest = block.split_off(3);
        assert_eq!((&*block, &*rest), (&b"ell"[..], &b"o"[..]));
        block.append(b"!!");
        assert_eq!(&*block, b"ell!!");
        block.advance(99);
        assert!(block.is_empty());
    }
}
