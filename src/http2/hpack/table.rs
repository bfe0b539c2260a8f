//! The dynamic table (RFC 7541 §2.3.2, §4).

use std::collections::VecDeque;

use super::{error::CompressionError, static_table::STATIC};

/// What each entry counts beside its bytes (RFC 7541 §4.1).
const PER_ENTRY: usize = 32;

/// The fields that a block may refer to. Their bytes stand one behind another in one piece of memory, since servers add
/// fields with every response that they never refer to.
#[derive(Debug)]
pub(super) struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    /// What they are of, oldest first, behind what was evicted and is not moved away yet.
    bytes: Vec<u8>,
    /// How many bytes were moved away before them.
    before: usize,
    size: usize,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Bytes that were ever added before it.
    start: usize,
    name: usize,
    value: usize,
}

impl Entry {
    fn size(self) -> usize {
        self.name + self.value + PER_ENTRY
    }
}

/// Bytes by which memory grows: a connection holds little more than its table has.
const STEP: usize = 512;

impl Table {
    /// An empty table that holds up to `most` bytes, as the standard counts them.
    pub(super) fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: Vec::new(), before: 0, size: 0, most }
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
        let start = entry.start - self.before;
        let both = self.bytes.get(start..start + entry.name + entry.value).ok_or(WRONG)?;
        both.split_at_checked(entry.name).ok_or(WRONG)
    }

    /// Adds a field; those that it leaves no room for go, and where it is larger than the table, it too (§4.4).
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        let entry = Entry { start: 0, name: name.len(), value: value.len() };
        self.evict(self.most.saturating_sub(entry.size()));
        if entry.size() > self.most {
            return;
        }
        self.move_away();
        if self.bytes.capacity() - self.bytes.len() < name.len() + value.len() {
            self.bytes.reserve_exact(name.len() + value.len() + STEP);
        }
        self.entries.push_front(Entry { start: self.before + self.bytes.len(), ..entry });
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.size += entry.size();
    }

    /// Moves what was evicted away, once it is as much as what is there: each byte is moved once for each that was added.
    fn move_away(&mut self) {
        let end = self.before + self.bytes.len();
        let evicted = self.entries.back().map_or(end, |oldest| oldest.start) - self.before;
        if evicted > self.bytes.len() / 2 {
            self.bytes.drain(..evicted);
            self.before += evicted;
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
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Bytes of memory that it holds.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_however_many_went_before() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut table = Table::new(4096);
        let mut added: VecDeque<(Vec<u8>, Vec<u8>)> = VecDeque::new();
        for number in 0..20_000_u32 {
            let (name, value) = (number.to_string().into_bytes(), vec![b'v'; random.usize(0..200)]);
            if number % 1000 == 999 {
                table.resize(random.usize(0..4096));
                table.resize(4096);
            }
            table.add(&name, &value);
            added.push_front((name, value));
            added.truncate(table.entries.len());
            for (at, (name, value)) in added.iter().enumerate().step_by(1 + added.len() / 4) {
                assert_eq!(table.field(STATIC.len() + 1 + at).unwrap(), (&**name, &**value));
            }
            assert!(table.field(STATIC.len() + 1 + added.len()).is_err());
            assert!(table.size() <= 4096 && table.bytes.len() <= 3 * 4096, "{}", table.bytes.len());
        }
        assert!(table.memory() < 5 * 4096, "{}", table.memory());
    }
}
