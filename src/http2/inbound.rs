//! What came of a body and was not taken.

use std::collections::VecDeque;

use crate::{
    account::{self, Owner},
    net::Buffer,
};

/// Up to so many bytes it takes as much memory as there are; beyond, buffers of the worker's pool.
const SMALL: usize = 16 * 1024;

/// Bytes of a body, counted in the account. However small the frames were, it takes at most four times its bytes.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// What came first.
    small: Vec<u8>,
    /// What came after it.
    large: VecDeque<Buffer>,
    length: usize,
}

impl Inbound {
    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds bytes.
    pub(super) fn add(&mut self, mut data: &[u8]) {
        self.length += data.len();
        if self.large.is_empty() && self.small.len() + data.len() <= SMALL {
            account::take(Owner::Buffers, data.len());
            self.small.extend_from_slice(data);
            return;
        }
        while !data.is_empty() {
            let added = self.large.back_mut().map_or(0, |last| last.add(data));
            if added == 0 {
                self.large.push_back(Buffer::take());
            }
            data = data.get(added..).unwrap_or_default();
        }
    }

    /// Takes what came first.
    pub(super) fn take(&mut self) -> Option<Buffer> {
        let buffer = match self.small.is_empty() {
            true => self.large.pop_front()?,
            false => {
                account::give(Owner::Buffers, self.small.len());
                Buffer::of(std::mem::take(&mut self.small))
            }
        };
        self.length -= buffer.len();
        Some(buffer)
    }

    /// Forgets everything; gives how much that was.
    pub(super) fn clear(&mut self) -> usize {
        account::give(Owner::Buffers, self.small.len());
        self.small = Vec::new();
        self.large = VecDeque::new();
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
    fn bytes_are_taken_in_the_order_in_which_they_came() {
        for size in [1, 777, 16_384, 70_000] {
            let mut inbound = Inbound::default();
            let all: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
            all.chunks(size).for_each(|part| inbound.add(part));
            let mut taken = Vec::new();
            while let Some(piece) = inbound.take() {
                taken.extend_from_slice(&piece);
            }
            assert!(taken == all && inbound.is_empty(), "{size}");
            inbound.add(b"abc");
            assert_eq!(inbound.clear(), 3);
            assert!(inbound.take().is_none());
        }
    }
}
