//! Header and trailer fields (RFC 9110 §5) as the request path carries them.
//!
//! One byte buffer holds every name and value; a field is a pair of spans and a [`Known`] tag. So a
//! head is copied once from the socket's buffer, cleared and reused without freeing, and looked up
//! without hashing: a head has ten or twenty fields, and the tag is one byte to compare.
//! `docs/decisions/003` has the measurement against `http::HeaderMap`.

mod connection_options;
mod cookie;
mod known;
mod list;
mod number;
mod quoted_string;
mod tags;
mod token;
mod value_regex;

use std::{fmt, ops::Range};

pub use connection_options::ConnectionOptions;
pub use cookie::cookies;
pub use known::{
    Known, MISLEADING, has_sign, is_digest, is_of_address, is_respelled, is_spelled, vouches_for_client,
};
pub use list::list;
pub use number::{Digits, write_number};
pub use quoted_string::{QuotedByte, QuotedString, read_quoted};
pub use token::is_token_byte;
pub use value_regex::ValueRegex;

use self::tags::Tags;

/// A list of fields in the order they came.
#[derive(Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// The tags of all that were added and not removed by their tag: those that are not in it are not there.
    tags: Tags,
}

#[derive(Clone, Copy)]
struct Entry {
    name: u32,
    name_len: u16,
    known: Known,
    /// Whether it stands in the bytes as HTTP/1 has it: `name: value`, with the end of the line behind it.
    is_line: bool,
    value: u32,
    value_len: u32,
}

impl Entry {
    /// A field whose name and value begin and are so long; `None` where that cannot be said in its bits, which must never
    /// be cut: what is cut is another field.
    fn new(known: Known, is_line: bool, name: (usize, usize), value: (usize, usize)) -> Option<Self> {
        Some(Self {
            name: u32::try_from(name.0).ok()?,
            name_len: u16::try_from(name.1).ok()?,
            known,
            is_line,
            value: u32::try_from(value.0).ok()?,
            value_len: u32::try_from(value.1).ok()?,
        })
    }
}

impl Fields {
    /// Forgets every field and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.tags = Tags::default();
    }

    /// Makes these fields the same as `other`'s, and keeps the memory.
    pub fn copy_from(&mut self, other: &Self) {
        self.clear();
        self.bytes.extend_from_slice(&other.bytes);
        self.entries.extend_from_slice(&other.entries);
        self.tags = other.tags;
    }

    /// These fields in as little memory as they need, for keeping: as lines one after another, so that they are written
    /// at once ([`Fields::write_lines`]).
    pub fn compact(&self) -> Self {
        let line = |field: Field<'_>| field.name.len() + field.value.len() + 4;
        let mut bytes = Vec::with_capacity(self.iter().map(line).sum());
        let mut entries = Vec::with_capacity(self.len());
        for entry in &self.entries {
            let (name, value) = (bytes.len(), bytes.len() + usize::from(entry.name_len) + 2);
            bytes.extend_from_slice(self.name(entry));
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(self.value(entry));
            bytes.extend_from_slice(b"\r\n");
            entries.extend(Entry::new(
                entry.known,
                true,
                (name, usize::from(entry.name_len)),
                (value, entry.value_len as usize),
            ));
        }
        Self { bytes, entries, tags: self.tags }
    }

    /// Bytes of its names and values.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory that it holds.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Adds a field whose name and value lie at these ranges of a head that [`Fields::hold`] is given afterwards; `is_line`
    /// says that one blank is between its colon and its value, and nothing between that and the end of its line. False,
    /// and nothing is added, where its name is longer than a name may be: 65,535 bytes.
    #[inline(always)]
    pub(crate) fn push_of(
        &mut self,
        known: Known,
        is_line: bool,
        name: Range<usize>,
        value: Range<usize>,
    ) -> bool {
        let entry = Entry::new(known, is_line, (name.start, name.len()), (value.start, value.len()));
        self.entries.extend(entry);
        self.tags.add(known);
        entry.is_some()
    }

    /// Copies the head whose fields were added, in place of all other bytes. Its blank line is left out, so that what is
    /// added later stands right behind its lines.
    pub(crate) fn hold(&mut self, head: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(head.strip_suffix(b"\r\n").unwrap_or(head));
    }

    /// Adds a field at the end. `name` and `value` must be valid (RFC 9110 §5.1, §5.5); they come from
    /// configuration, a parser, or constants. One whose name has over 65,535 bytes is left out.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.push_tagged(Known::of(name.as_bytes()), name.as_bytes(), value);
    }

    /// Adds a field of a known name at the end.
    pub fn push_known(&mut self, known: Known, value: &[u8]) {
        self.push_tagged(known, known.name().as_bytes(), value);
    }

    /// Adds a field at the end whose name has this tag. Name and value are as [`Fields::push`] has them.
    pub(crate) fn push_tagged(&mut self, known: Known, name: &[u8], value: &[u8]) {
        let (start, from) = (self.bytes.len(), self.bytes.len() + name.len() + 2);
        let Some(entry) = Entry::new(known, true, (start, name.len()), (from, value.len())) else { return };
        self.bytes.reserve(name.len() + value.len() + 4);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
        self.entries.push(entry);
        self.tags.add(known);
    }

    /// Adds the fields of another list at the end, in one piece.
    pub fn append(&mut self, other: &Self) {
        let Ok(offset) = u32::try_from(self.bytes.len()) else { return };
        if u32::try_from(self.bytes.len() + other.bytes.len()).is_err() {
            return;
        }
        self.bytes.extend_from_slice(&other.bytes);
        let moved =
            |entry: &Entry| Entry { name: entry.name + offset, value: entry.value + offset, ..*entry };
        self.entries.extend(other.entries.iter().map(moved));
        self.tags.join(other.tags);
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every field in order: tag, name as it came, value.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().map(|entry| self.field(entry))
    }

    /// Writes the lines of the fields whose tags `passes` lets pass, as HTTP/1 has them (RFC 9112 §5). Lines that stand
    /// together are copied together.
    pub fn write_lines(&self, passes: impl Fn(Known) -> bool, out: &mut Vec<u8>) {
        let mut run = 0..0;
        let flush = |run: Range<usize>, out: &mut Vec<u8>| {
            if let Some(lines) = self.bytes.get(run).filter(|lines| !lines.is_empty()) {
                out.extend_from_slice(lines);
            }
        };
        for entry in self.entries.iter().filter(|entry| passes(entry.known)) {
            let (start, end) = (entry.name as usize, entry.value as usize + entry.value_len as usize + 2);
            if entry.is_line && start == run.end {
                run.end = end;
            } else if entry.is_line {
                flush(std::mem::replace(&mut run, start..end), out);
            } else {
                flush(std::mem::take(&mut run), out);
                out.extend_from_slice(self.name(entry));
                out.extend_from_slice(b": ");
                out.extend_from_slice(self.value(entry));
                out.extend_from_slice(b"\r\n");
            }
        }
        flush(run, out);
    }

    fn field(&self, entry: &Entry) -> Field<'_> {
        Field { known: entry.known, name: self.name(entry), value: self.value(entry) }
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        let start = entry.name as usize;
        self.bytes.get(start..start + usize::from(entry.name_len)).unwrap_or_default()
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        let start = entry.value as usize;
        self.bytes.get(start..start + entry.value_len as usize).unwrap_or_default()
    }

    /// Those among which a field of this name may be: none where there is no such field.
    #[inline]
    fn among(&self, known: Known) -> &[Entry] {
        if self.tags.has(known) { &self.entries } else { &[] }
    }

    /// The value of the first field of this name.
    #[inline]
    pub fn known(&self, known: Known) -> Option<&[u8]> {
        self.among(known).iter().find(|entry| entry.known == known).map(|entry| self.value(entry))
    }

    /// The values of every field of this name, in order.
    #[inline]
    pub fn all_known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.among(known).iter().filter(move |entry| entry.known == known).map(|entry| self.value(entry))
    }

    /// Whether a field of this name is there.
    #[inline]
    pub fn has(&self, known: Known) -> bool {
        self.among(known).iter().any(|entry| entry.known == known)
    }

    /// Whether a field of one of these names is there.
    #[inline]
    pub fn has_any(&self, all: &[Known]) -> bool {
        self.tags.meets(Tags::of(all)) && self.entries.iter().any(|entry| all.contains(&entry.known))
    }

    /// The values of every field of this name, compared without regard to case (RFC 9110 §5.1).
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        // By length first, for which no name is looked at.
        let of_length = self.entries.iter().filter(|entry| usize::from(entry.name_len) == name.len());
        of_length
            .filter(|entry| self.name(entry).eq_ignore_ascii_case(name.as_bytes()))
            .map(|entry| self.value(entry))
    }

    /// The first value of this name.
    pub fn get<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Removes every field of a known name.
    #[inline]
    pub fn remove_known(&mut self, known: Known) {
        if self.tags.has(known) {
            self.entries.retain(|entry| entry.known != known);
            self.tags.remove(known);
        }
    }

    /// Removes every field of one of these names.
    #[inline]
    pub fn remove_all_known(&mut self, all: &[Known]) {
        let all = Tags::of(all);
        if self.tags.meets(all) {
            self.entries.retain(|entry| !all.has(entry.known));
        }
    }

    /// Removes every field of this name, compared without regard to case.
    pub fn remove(&mut self, name: &str) {
        let Self { bytes, entries, .. } = self;
        entries.retain(|entry| {
            if usize::from(entry.name_len) != name.len() {
                return true;
            }
            let start = entry.name as usize;
            let own = bytes.get(start..start + usize::from(entry.name_len)).unwrap_or_default();
            !own.eq_ignore_ascii_case(name.as_bytes())
        });
    }

    /// Keeps only the fields of whose tags `keep` says so.
    pub fn retain_known(&mut self, keep: impl Fn(Known) -> bool) {
        self.entries.retain(|entry| keep(entry.known));
    }

    /// Keeps only the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let Self { bytes, entries, .. } = self;
        entries.retain(|entry| {
            let span =
                |start: u32, len: usize| bytes.get(start as usize..start as usize + len).unwrap_or_default();
            keep(Field {
                known: entry.known,
                name: span(entry.name, usize::from(entry.name_len)),
                value: span(entry.value, entry.value_len as usize),
            })
        });
    }

    /// Replaces every field of this name by one.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.push(name, value);
    }

    /// Replaces every field of a known name by one.
    pub fn set_known(&mut self, known: Known, value: &[u8]) {
        self.remove_known(known);
        self.push_known(known, value);
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.iter()
                    .map(|field| (String::from_utf8_lossy(field.name), String::from_utf8_lossy(field.value))),
            )
            .finish()
    }
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its name's tag.
    pub known: Known,
    /// Its name as it was sent.
    pub name: &'a [u8],
    /// Its value without surrounding white space.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// A field of a known name.
    pub fn of(known: Known, value: &'a [u8]) -> Self {
        Self { known, name: known.name().as_bytes(), value }
    }
}

#[cfg(test)]
mod tests;
