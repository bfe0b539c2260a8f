//! Records: what a segment is a sequence of, and how whole ones are distinguished from torn and damaged ones.
//!
//! Previous stop: [`super::entry`], which makes payloads. Next stop: [`super::segment`], which writes them.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | [`MARK`], to find the next record behind damage |
//! | 4 | 4 | length of the payload |
//! | 8 | 8 | sequence: one more than the record before it, over all segments |
//! | 16 | 8 | checksum of the payload |
//! | 24 | 8 | checksum of the 24 bytes before it |
//! | 32 | | payload |
//!
//! Numbers are little-endian; checksums are XXH3 with 64 bits, seeded with a number that is drawn for each
//! segment. Bodies come from clients: without the seed one could hold a record that looks whole, and would be
//! found when bytes before it are damaged.
//!
//! The head has a checksum of its own, so that a length is believed only when it is right: damage then costs one
//! record, and a whole record with damage in it is not taken for one that was cut short by a crash.

use std::ops::Range;

use memchr::memmem;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes before the payload.
pub(super) const HEAD: usize = 32;
/// What a record begins with; not text, and no byte twice.
const MARK: [u8; 4] = [0xf5, 0x1d, 0x8a, 0xc7];

/// Adds a record to `out`; `payload` writes what is in it.
pub(super) fn write(seed: u64, sequence: u64, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    payload(out);
    let Some((head, payload)) = out.get_mut(start..).and_then(|record| record.split_at_mut_checked(HEAD))
    else {
        return;
    };
    let mut whole = [0; HEAD];
    put(&mut whole, 0, &MARK);
    // What does not fit was refused long before: `Journal::append` has a limit below it.
    put(&mut whole, 4, &u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    put(&mut whole, 8, &sequence.to_le_bytes());
    put(&mut whole, 16, &xxh3_64_with_seed(payload, seed).to_le_bytes());
    let own = xxh3_64_with_seed(whole.get(..24).unwrap_or_default(), seed);
    put(&mut whole, 24, &own.to_le_bytes());
    head.copy_from_slice(&whole);
}

fn put(head: &mut [u8; HEAD], at: usize, bytes: &[u8]) {
    if let Some(place) = head.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// What is next in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A whole record.
    Record {
        /// Its number.
        sequence: u64,
        /// What is in it.
        payload: &'a [u8],
        /// Where it ends.
        end: usize,
    },
    /// Bytes that are no record, before one that is or at the end.
    Damaged(Range<usize>),
    /// A record that begins here was cut short, as a crash leaves it: it was never synced, so never
    /// acknowledged.
    Torn(usize),
}

/// Reads the records of a segment.
#[derive(Debug)]
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    seed: u64,
    at: usize,
}

impl<'a> Records<'a> {
    /// From the offset `at` on.
    pub(super) fn new(bytes: &'a [u8], seed: u64, at: usize) -> Self {
        Self { bytes, seed, at }
    }

    fn head(&self, at: usize) -> Option<Head> {
        let head = self.bytes.get(at..at + HEAD)?;
        let number = |from: usize| head.get(from..from + 8).and_then(|eight| eight.try_into().ok());
        let whole = head.starts_with(&MARK)
            && xxh3_64_with_seed(head.get(..24)?, self.seed) == u64::from_le_bytes(number(24)?);
        whole.then_some(Head {
            length: u32::from_le_bytes(head.get(4..8)?.try_into().ok()?) as usize,
            sequence: u64::from_le_bytes(number(8)?),
            checksum: u64::from_le_bytes(number(16)?),
        })
    }

    fn payload(&self, at: usize, head: &Head) -> Option<&'a [u8]> {
        self.bytes.get(at + HEAD..at + HEAD + head.length)
    }

    fn is_whole(&self, at: usize) -> bool {
        let Some(head) = self.head(at) else { return false };
        self.payload(at, &head).is_some_and(|payload| xxh3_64_with_seed(payload, self.seed) == head.checksum)
    }

    /// The next whole record at `from` or behind it.
    fn whole_from(&self, from: usize) -> Option<usize> {
        let rest = self.bytes.get(from..)?;
        memmem::find_iter(rest, &MARK).map(|at| from + at).find(|&at| self.is_whole(at))
    }

    /// What no record begins with at `at`: torn or damaged?
    fn without_head(&self, at: usize) -> Found<'a> {
        let rest = self.bytes.get(at..).unwrap_or_default();
        // A file system may make the file longer before it writes what is in it: zeros.
        if rest.len() < HEAD || rest.iter().all(|&byte| byte == 0) {
            return Found::Torn(at);
        }
        Found::Damaged(at..self.whole_from(at + 1).unwrap_or(self.bytes.len()))
    }

    fn found(&self) -> Found<'a> {
        let at = self.at;
        let Some(head) = self.head(at) else { return self.without_head(at) };
        let Some(payload) = self.payload(at, &head) else { return Found::Torn(at) };
        let end = at + HEAD + head.length;
        if xxh3_64_with_seed(payload, self.seed) == head.checksum {
            Found::Record { sequence: head.sequence, payload, end }
        } else {
            Found::Damaged(at..end)
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let found = self.found();
        self.at = match &found {
            Found::Record { end, .. } => *end,
            Found::Damaged(range) => range.end,
            Found::Torn(_) => self.bytes.len(),
        };
        Some(found)
    }
}

struct Head {
    length: usize,
    sequence: u64,
    checksum: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 7;

    fn three() -> Vec<u8> {
        let mut bytes = Vec::new();
        for (sequence, payload) in [(1, &b"one"[..]), (2, b""), (3, b"three")] {
            write(SEED, sequence, &mut bytes, |out| out.extend_from_slice(payload));
        }
        bytes
    }

    fn sequences(bytes: &[u8]) -> Vec<u64> {
        Records::new(bytes, SEED, 0)
            .filter_map(|found| match found {
                Found::Record { sequence, .. } => Some(sequence),
                Found::Damaged(_) | Found::Torn(_) => None,
            })
            .collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = three();
        let all: Vec<_> = Records::new(&bytes, SEED, 0).collect();
        let ends = [HEAD + 3, 2 * HEAD + 3, 3 * HEAD + 8];
        for (at, (found, payload)) in all.iter().zip([&b"one"[..], b"", b"three"]).enumerate() {
            assert_eq!(*found, Found::Record { sequence: at as u64 + 1, payload, end: ends[at] });
        }
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn a_record_cut_at_any_byte_is_torn_not_damaged() {
        let bytes = three();
        for length in 2 * HEAD + 4..bytes.len() {
            let all: Vec<_> = Records::new(&bytes[..length], SEED, 0).collect();
            assert_eq!(all.len(), 3, "{length}");
            assert_eq!(all[2], Found::Torn(2 * HEAD + 3), "{length}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_costs_one_record_and_is_damage() {
        let bytes = three();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let hit = if at < HEAD + 3 { 1 } else { 2 + u64::from(at >= 2 * HEAD + 3) };
                let rest: Vec<_> = (1..=3).filter(|&sequence| sequence != hit).collect();
                assert_eq!(sequences(&flipped), rest, "byte {at}, bit {bit}");
                let damaged = Records::new(&flipped, SEED, 0).filter(|one| matches!(one, Found::Damaged(_)));
                assert_eq!(damaged.count(), 1, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn zeros_at_the_end_are_torn() {
        let mut bytes = three();
        let end = bytes.len();
        bytes.extend_from_slice(&[0; 4096]);
        assert_eq!(Records::new(&bytes, SEED, 0).last(), Some(Found::Torn(end)));
    }

    #[test]
    fn a_forged_record_needs_the_seed_to_be_believed() {
        let mut forged = Vec::new();
        write(SEED + 1, 2, &mut forged, |out| out.extend_from_slice(b"not mine"));
        let mut bytes = Vec::new();
        write(SEED, 1, &mut bytes, |out| out.extend_from_slice(&forged));
        write(SEED, 2, &mut bytes, |out| out.extend_from_slice(b"mine"));
        bytes[5] ^= 1;
        assert_eq!(sequences(&bytes), [2]);
        let payloads: Vec<_> = Records::new(&bytes, SEED, 0).collect();
        assert!(matches!(payloads.last(), Some(Found::Record { payload: b"mine", .. })), "{payloads:?}");
    }
}
