//! How an object is stored in its file. Pure: numbers and bytes in, numbers and bytes out.
//!
//! ```text
//! block 0 │ sum │ block 1 │ sum │ … │ last block │ sum │ (older head) │ head
//! ```
//!
//! The body comes first, so that it can be written before its length is known. A sum is xxh3 with 64 bits over the
//! block before it; its seed follows from the object and the number of the block, so that a whole block at another
//! place, or of another object, is as wrong as a flipped bit. Behind the body is the head, with a sum of its own.
//! A new head never overwrites the one in force: it goes behind it, or before it where there is room. So it may be
//! written over one that is two updates old; the mark in the name, a part of the head's sum, tells the two apart where a
//! power cut has kept the name and lost the bytes (`docs/decisions/043`).
//!
//! The name of a file says all that the index has to know ([`Name`]): the scan at start reads folders and opens no
//! file, and a rename makes a whole file, or a new head, visible at once. What the name says is checked against the
//! head when the head is read.

use std::{
    fmt::Write,
    num::{NonZeroU8, NonZeroU32},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::rng::scramble;

/// What the folder of a generation of objects is called, before its number.
pub(super) const OBJECTS: &str = "objects-";

/// The bytes of a sum.
pub(super) const SUM: usize = 8;

/// The longest head that is kept, in bytes.
pub(super) const LONGEST_META: usize = 1 << 20;

/// File systems give room in steps of this; ext4, XFS and btrfs do by default.
const STEP: u64 = 4096;

/// What a head begins with; the digits are the version of this layout.
const MAGIC: &[u8; 8] = b"PMdisk01";

/// The bytes of a head before what the caller gave.
const BEFORE_META: usize = 48;

/// No body is longer: sums over sizes need not be checked for overflow.
const LONGEST_BODY: u64 = 1 << 48;

/// The sizes of block that a file may have, as powers of two.
const BLOCKS: std::ops::RangeInclusive<u8> = 9..=24;

/// All that is known of an object without opening its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// What it is found by.
    pub(super) key: u128,
    /// No two objects of a store have the same; later ones have larger ones.
    pub(super) sequence: u64,
    /// The bytes of the body.
    pub(super) length: u64,
    /// Where the head begins, behind the end of the body.
    pub(super) shift: u32,
    /// The bytes of the head.
    pub(super) head: u32,
    /// The bytes of a block, as a power of two.
    pub(super) block: NonZeroU8,
    /// Which head it is ([`Name::marked`]); versions that had none have left files without one.
    pub(super) mark: Option<NonZeroU32>,
    /// What is known of its key.
    pub(super) keyed: Keyed,
}

/// What is known of the key of an object: who looks for those of a URI need not open the files of others
/// (`docs/decisions/044`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keyed {
    /// Nothing, as in files of older versions.
    Unknown,
    /// It is that of a URI alone.
    Uri,
    /// There is more in it than the URI.
    Fields,
}

impl Name {
    /// The name of a file, in its folder.
    pub(super) fn text(&self) -> String {
        let Self { key, sequence, length, shift, head, block, mark, keyed } = self;
        let mut text = format!("{key:032x}-{sequence:016x}-{length:x}-{shift:x}-{head:x}-{block:x}");
        if let Some(mark) = mark {
            let _ = write!(text, "-{mark:x}");
        }
        text.push_str(match keyed {
            Keyed::Unknown => "",
            Keyed::Uri => "-u",
            // No digit, as the letter for fields would be.
            Keyed::Fields => "-v",
        });
        text
    }

    /// What a name says; nothing where it is not one of ours, letter by letter.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (key, rest) = text.split_once('-')?;
        let key = u128::from_str_radix(key, 16).ok()?;
        let mut rest = rest.split('-');
        let mut number = || u64::from_str_radix(rest.next()?, 16).ok();
        let mut name = Self {
            key,
            sequence: number()?,
            length: number()?,
            shift: number()?.try_into().ok()?,
            head: number()?.try_into().ok()?,
            block: NonZeroU8::new(number()?.try_into().ok()?)?,
            mark: None,
            keyed: Keyed::Unknown,
        };
        for part in rest {
            match part {
                "u" => name.keyed = Keyed::Uri,
                "v" => name.keyed = Keyed::Fields,
                mark => name.mark = u32::from_str_radix(mark, 16).ok().and_then(NonZeroU32::new),
            }
        }
        let is_sound = name.length <= LONGEST_BODY && BLOCKS.contains(&name.block.get());
        (is_sound && name.text() == text).then_some(name)
    }

    /// Which of the 256 folders it is in.
    pub(super) fn folder(&self) -> u8 {
        (self.key >> 120) as u8
    }

    /// The path below the store's folder, with a generation of objects.
    pub(super) fn path(&self, generation: u32) -> String {
        let mut path = format!("{OBJECTS}{generation:08x}/{:02x}/", self.folder());
        let _ = path.write_str(&self.text());
        path
    }

    /// The bytes of a block.
    pub(super) fn block_size(&self) -> u64 {
        1 << self.block.get()
    }

    /// Where the head begins.
    pub(super) fn head_at(&self) -> u64 {
        body_end(self.length, self.block) + u64::from(self.shift)
    }

    /// Where the file ends.
    pub(super) fn end(&self) -> u64 {
        self.head_at() + u64::from(self.head)
    }

    /// What the file costs on disk.
    pub(super) fn size(&self) -> u64 {
        on_disk(self.end())
    }

    /// Where block `number` begins in the file, and its bytes; the sum is behind them.
    pub(super) fn block_at(&self, number: u64) -> (u64, usize) {
        let begin = number * self.block_size();
        let length = self.length.saturating_sub(begin).min(self.block_size());
        // Of a block, which is below 2³².
        (begin + number * SUM as u64, usize::try_from(length).unwrap_or_default())
    }

    /// The name of this object with a new head, [encoded](Self::encode), which overwrites nothing that is in force.
    pub(super) fn with_head(&self, encoded: &[u8]) -> Self {
        let head = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
        let shift = if head <= self.shift { 0 } else { self.shift.saturating_add(self.head) };
        Self { shift, head, ..self.marked(encoded) }
    }

    /// The same name for this very head, encoded: no other is believed in its place.
    pub(super) fn marked(&self, encoded: &[u8]) -> Self {
        let sum = encoded.last_chunk().map_or(0, |sum| u32::from_le_bytes(*sum));
        Self { mark: NonZeroU32::new(sum).or(Some(NonZeroU32::MAX)), ..*self }
    }

    /// The head as it is written: the same wherever it goes.
    pub(super) fn encode(&self, meta: &[u8]) -> Vec<u8> {
        let mut head = Vec::with_capacity(BEFORE_META + meta.len() + SUM);
        head.extend_from_slice(MAGIC);
        let length = u32::try_from(meta.len()).unwrap_or(u32::MAX);
        head.extend_from_slice(&length.to_le_bytes());
        head.extend_from_slice(&u32::from(self.block.get()).to_le_bytes());
        head.extend_from_slice(&self.key.to_le_bytes());
        head.extend_from_slice(&self.sequence.to_le_bytes());
        head.extend_from_slice(&self.length.to_le_bytes());
        head.extend_from_slice(meta);
        let sum = sum(self.key, self.sequence, u64::MAX, &head);
        head.extend_from_slice(&sum.to_le_bytes());
        head
    }

    /// What the caller gave, out of a head that was read; nothing where one bit is not as it was written.
    pub(super) fn decode(&self, mut head: Vec<u8>) -> Option<Vec<u8>> {
        let end = head.len().checked_sub(SUM)?;
        let (covered, given) = head.split_at_checked(end)?;
        let is_whole = sum(self.key, self.sequence, u64::MAX, covered).to_le_bytes() == *given;
        let is_meant = self.mark.is_none() || self.marked(&head).mark == self.mark;
        let meta = covered.get(BEFORE_META..)?;
        // Compared as bytes, so that no number of a damaged head is ever believed.
        if !is_whole || !is_meant || self.encode(meta) != head {
            return None;
        }
        head.truncate(end);
        head.drain(..BEFORE_META);
        Some(head)
    }

    /// Whether these are the bytes of block `number`, with their sum behind them.
    pub(super) fn is_block(&self, number: u64, bytes: &[u8]) -> bool {
        bytes.split_last_chunk::<SUM>().is_some_and(|(block, given)| {
            sum(self.key, self.sequence, number, block) == u64::from_le_bytes(*given)
        })
    }
}

/// The bytes of a head that holds `meta` bytes of the caller's.
pub(super) fn head_length(meta: usize) -> u32 {
    u32::try_from(BEFORE_META + meta.min(LONGEST_META) + SUM).unwrap_or(u32::MAX)
}

/// Where a body of `length` bytes, with its sums, ends.
pub(super) fn body_end(length: u64, block: NonZeroU8) -> u64 {
    length + length.div_ceil(1 << block.get()) * SUM as u64
}

/// What a file of `length` bytes costs.
pub(super) fn on_disk(length: u64) -> u64 {
    length.next_multiple_of(STEP)
}

/// The least size of block that is at least `bytes`, as a power of two.
pub(super) fn block_of(bytes: usize) -> NonZeroU8 {
    let power = bytes.max(1).next_power_of_two().trailing_zeros();
    let power = u8::try_from(power).unwrap_or(u8::MAX);
    NonZeroU8::new(power.clamp(*BLOCKS.start(), *BLOCKS.end())).unwrap_or(NonZeroU8::MIN)
}

/// Whether a body of this length can be kept at all.
pub(super) fn is_possible(length: u64) -> bool {
    length <= LONGEST_BODY
}

/// The sum of block `number` of an object.
pub(super) fn sum(key: u128, sequence: u64, number: u64, bytes: &[u8]) -> u64 {
    const LOWER: u128 = 0xffff_ffff_ffff_ffff;
    let object = scramble((key & LOWER) as u64) ^ scramble((key >> 64) as u64).rotate_left(32);
    xxh3_64_with_seed(bytes, scramble(object ^ scramble(sequence)).wrapping_add(number))
}
