//! The dynamic table (RFC 7541 §2.3.2, §4).

use std::collections::VecDeque;

use super::{error::CompressionError, static_table::STATIC};

/// What each entry counts beside its bytes (RFC 7541 §4.1).
const PER_ENTRY: usize = 32;

/// The fields that a block may refer to, newest first.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
}

#[derive(Debug)]
struct Entry {
    /// The name, and the value behind it.
    bytes: Box<[u8]>,
    name: usize,
}

impl Entry {
    fn size(&self) -> usize {
        self.bytes.len() + PER_ENTRY
    }
}

impl Table {
    /// An empty table that holds up to `most` bytes, as the standard counts them.
    pub(super) fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, most }
    }

    /// The field of an index, from 1: the static table, then the dynamic one.
    pub(super) fn field(&self, index: usize) -> Result<(&[u8], &[u8]), CompressionError> {
        const WRONG: CompressionError =
            CompressionError("a field block refers to a field that is not in the table");
        let index = index.checked_sub(1).ok_or(WRONG)?;
        if let Some(field) = STATIC.get(index) {
            return Ok(*field);
        }
        let entry = self.entries.get(index - STATIC.len()).ok_or(WRONG)?;
        entry.bytes.split_at_checked(entry.name).ok_or(WRONG)
    }

    /// Adds a field; those that it leaves no room for go, and where it is larger than the table, it too (§4.4).
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + PER_ENTRY;
        self.evict(self.most.saturating_sub(size));
        if size <= self.most {
            self.entries.push_front(Entry { bytes: [name, value].concat().into(), name: name.len() });
            self.size += size;
        }
    }

    /// Changes how much it may hold (§4.3).
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.evict(most);
    }

    fn evict(&mut self, room: usize) {
        while self.size > room {
            let Some(entry) = self.entries.pop_back() else { return };
            self.size -= entry.size();
        }
    }

    /// Bytes that it holds, as the standard counts them.
    pub(super) fn size(&self) -> usize {
        self.size
    }
}
