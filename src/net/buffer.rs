//! Buffers: memory that reads fill and writes empty.
//!
//! A worker keeps a small pool of them. A buffer is taken from it only when a read is tried, and goes
//! back when nothing had come or when its bytes have gone on, so that an idle connection holds none.
//! Bytes are never copied on their way through: the buffer that was read is the buffer that is written.

use std::{cell::RefCell, ops::Deref};

use bytes::Bytes;

use crate::account::{self, Owner};

/// Size of a pooled buffer in bytes.
pub const SIZE: usize = 64 * 1024;
/// Most buffers that a worker keeps for the next reads.
const MOST_SPARE: usize = 64;
/// What is kept over a wait and is smaller than this is copied to memory of its own size.
const SMALL: usize = SIZE / 4;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Some bytes; reads as a slice of what has not been consumed.
#[derive(Debug, Default)]
pub struct Buffer {
    memory: Memory,
    start: usize,
    end: usize,
}

/// Whose memory a buffer's bytes are in.
#[derive(Debug)]
enum Memory {
    /// The buffer's own.
    Own(Box<[u8]>),
    /// Everyone's, and nobody writes to it: a body that a cache holds.
    Shared(Bytes),
}

impl Default for Memory {
    fn default() -> Self {
        Self::Own(Box::default())
    }
}

impl Buffer {
    /// An empty buffer with [`SIZE`] bytes of room, from this worker's pool.
    pub fn take() -> Self {
        let memory = SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; SIZE].into_boxed_slice());
        account::take(Owner::Buffers, SIZE);
        Self { memory: Memory::Own(memory), start: 0, end: 0 }
    }

    /// A buffer of bytes that others read too; nothing is copied.
    pub fn shared(bytes: Bytes) -> Self {
        let end = bytes.len();
        Self { memory: Memory::Shared(bytes), start: 0, end }
    }

    /// What is left as bytes that can be shared: a copy in memory of its size, unless it is shared already.
    pub fn to_shared(&self) -> Bytes {
        self.first_shared(self.len())
    }

    /// The first `length` bytes of what is left, shared as [`Self::to_shared`] does.
    pub fn first_shared(&self, length: usize) -> Bytes {
        let end = self.end.min(self.start + length);
        match &self.memory {
            Memory::Own(memory) => Bytes::copy_from_slice(memory.get(self.start..end).unwrap_or_default()),
            Memory::Shared(bytes) => bytes.slice(self.start..end),
        }
    }

    /// The whole memory, for a read to fill from its beginning; then [`Buffer::filled`]. Of shared memory there
    /// is none.
    pub fn room(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Own(memory) => memory,
            Memory::Shared(_) => &mut [],
        }
    }

    /// Adds as many of these bytes behind those that are there as there is room for; gives how many.
    pub fn add(&mut self, bytes: &[u8]) -> usize {
        let Memory::Own(memory) = &mut self.memory else { return 0 };
        let room = memory.get_mut(self.end..).unwrap_or_default();
        let length = bytes.len().min(room.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..length), bytes.get(..length)) {
            room.copy_from_slice(bytes);
        }
        self.end += length;
        length
    }

    /// Says how many bytes a read put into [`Buffer::room`].
    pub fn filled(&mut self, length: usize) {
        self.start = 0;
        self.end = length.min(self.size());
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
        account::take(Owner::Buffers, bytes.len());
        Self { memory: Memory::Own(bytes.into()), start: 0, end: bytes.len() }
    }

    /// A buffer of these bytes, whose memory it takes over.
    pub fn of(bytes: Vec<u8>) -> Self {
        let end = bytes.len();
        account::take(Owner::Buffers, end);
        Self { memory: Memory::Own(bytes.into_boxed_slice()), start: 0, end }
    }

    /// Bytes of memory that it holds.
    pub(super) fn size(&self) -> usize {
        match &self.memory {
            Memory::Own(memory) => memory.len(),
            Memory::Shared(bytes) => bytes.len(),
        }
    }

    /// Adds bytes at the end. Memory that is full grows to twice its size, so that what comes byte by byte is copied
    /// a few times only.
    pub fn append(&mut self, bytes: &[u8]) {
        let end = self.end + bytes.len();
        if let Memory::Own(memory) = &mut self.memory
            && let Some(room) = memory.get_mut(self.end..end)
        {
            room.copy_from_slice(bytes);
            self.end = end;
            return;
        }
        let length = self.len() + bytes.len();
        let mut joined = Vec::with_capacity(length.next_power_of_two());
        joined.extend_from_slice(self);
        joined.extend_from_slice(bytes);
        joined.resize(joined.capacity(), 0);
        account::take(Owner::Buffers, joined.len());
        *self = Self { memory: Memory::Own(joined.into_boxed_slice()), start: 0, end: length };
    }

    /// Gives a large memory that holds little back to the pool; to be called before a wait.
    pub fn shrink(&mut self) {
        if matches!(self.memory, Memory::Own(_)) && self.size() == SIZE && self.len() < SMALL {
            *self = Self::copy_of(self);
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Own(memory) => memory.get(self.start..self.end).unwrap_or_default(),
            Memory::Shared(bytes) => bytes.get(self.start..self.end).unwrap_or_default(),
        }
    }
}

impl Drop for Buffer {
    /// Most have no memory any more when they are dropped, which is seen without a call.
    #[inline]
    fn drop(&mut self) {
        if let Memory::Own(memory) = &mut self.memory
            && !memory.is_empty()
        {
            give_back(memory);
        }
    }
}

/// Takes the memory of a buffer back to the pool, where it is of the pool's size.
fn give_back(memory: &mut Box<[u8]>) {
    account::give(Owner::Buffers, memory.len());
    if memory.len() == SIZE {
        let memory = std::mem::take(memory);
        // While the thread ends its pool may be gone already; then the memory is just freed.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MOST_SPARE {
                spare.push(memory);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_to_the_pool_and_small_ones_shrink() {
        let mut buffer = Buffer::take();
        buffer.room()[..5].copy_from_slice(b"hello");
        buffer.filled(5);
        buffer.advance(1);
        assert_eq!(&*buffer, b"ello");
        buffer.shrink();
        assert_eq!(&*buffer, b"ello");
        assert_eq!(buffer.size(), 4);
        assert_eq!(SPARE.with_borrow(Vec::len), 1);
        let rest = buffer.split_off(3);
        assert_eq!((&*buffer, &*rest), (&b"ell"[..], &b"o"[..]));
        buffer.append(b"!!");
        assert_eq!(&*buffer, b"ell!!");
        let memory = buffer.as_ptr();
        buffer.append(b"???");
        assert_eq!((&*buffer, buffer.as_ptr(), buffer.size()), (&b"ell!!???"[..], memory, 8));
        buffer.append(b"");
        buffer.append(b".");
        assert_eq!((&*buffer, buffer.size()), (&b"ell!!???."[..], 16));
        buffer.advance(99);
        assert!(buffer.is_empty());
    }

    #[test]
    fn shared_bytes_are_not_copied_and_never_written_to() {
        let bytes = Bytes::from(vec![7; SIZE]);
        let mut buffer = Buffer::shared(bytes.clone());
        assert_eq!(buffer.as_ptr(), bytes.as_ptr());
        assert!(buffer.room().is_empty());
        buffer.advance(SIZE - 3);
        buffer.shrink();
        let left = buffer.to_shared();
        assert_eq!((&left[..], left.as_ptr()), (&[7, 7, 7][..], bytes[SIZE - 3..].as_ptr()));
        buffer.append(b"!");
        assert_eq!((&*buffer, bytes.len()), (&b"\x07\x07\x07!"[..], SIZE));
        drop(buffer);
        assert!(!SPARE.with_borrow(|spare| spare.iter().any(|memory| memory.as_ptr() == bytes.as_ptr())));
        assert_eq!(&*Buffer::copy_of(b"ab").to_shared(), b"ab");
        assert_eq!(&*Buffer::copy_of(b"abc").first_shared(2), b"ab");
        assert_eq!(&*Buffer::shared(Bytes::from_static(b"abc")).first_shared(9), b"abc");
    }
}
