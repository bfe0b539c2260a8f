//! Writes, and what records hold of them: payloads as bytes and back.
//!
//! Previous stop: [`super::Journal::append`]. Next stop: [`super::record`].

use bytes::Bytes;

use crate::fields::Fields;

/// The number of a write: a later write has a higher one, and none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

/// A request that was accepted in the origin's place and is to be delivered to it.
#[derive(Clone, Debug, Default)]
pub struct Write {
    /// The idempotency key. It is the same at every delivery of this write, so that the origin recognizes a repetition:
    /// [`super::Journal::new_key`], or what the client sent.
    pub idempotency: String,
    /// What writes are ordered by, and GETs are answered by: the URI as the cache's key has it.
    pub uri: Box<[u8]>,
    /// The name of the route that accepted it.
    pub route: String,
    /// The request's method.
    pub method: String,
    /// The request's target, path and query.
    pub target: String,
    /// The request's host.
    pub authority: String,
    /// `http` or `https`.
    pub scheme: String,
    /// The request's fields, without those of the connection.
    pub fields: Fields,
    /// The request's whole body; it should not be a small part of a larger buffer, which it would keep.
    pub body: Bytes,
    /// When it was accepted, in seconds since 1970.
    pub accepted: u64,
    /// The address of the client that wrote it; empty where a version before did not keep it.
    pub writer: String,
    /// Which of the fields that are written anew for each hop its route of then had set or removed, as bits of
    /// `upstream::request_head::Settled`; 0 where a version before did not keep it, and edited none.
    pub settled: u8,
}

impl Write {
    /// What it counts as, in memory and on disk: its bytes and what is kept with them.
    pub(super) fn cost(&self) -> u64 {
        let texts = [
            &self.idempotency,
            &self.route,
            &self.method,
            &self.target,
            &self.authority,
            &self.scheme,
            &self.writer,
        ];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        let fields: usize = self.fields.iter().map(|field| 8 + field.name.len() + field.value.len()).sum();
        (KEPT_WITH + texts + self.uri.len() + fields + self.body.len()) as u64
    }
}

/// Bytes of structures and heads that a write takes, about.
const KEPT_WITH: usize = 512;

/// A write that is durable.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number.
    pub id: Id,
    /// What was accepted.
    pub write: Write,
}

/// What a record holds.
#[derive(Debug)]
pub(super) enum Payload {
    /// A write; there again, with the same number, when it was moved to a later segment.
    Write(Box<Entry>),
    /// The write of this number and URI is delivered or set aside, and so are all before it of that URI.
    Completed(Id, Box<[u8]>),
}

impl Payload {
    /// Reads a payload. `None` where it is of another kind or version, or not as it should be.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        match reader.take(1)? {
            [WRITE] => Some(Self::Write(Box::new(entry(&mut reader, false, 0)?))),
            [WRITE_OF] => Some(Self::Write(Box::new(entry(&mut reader, true, 0)?))),
            [WRITE_SETTLED] => {
                let [settled] = reader.take(1)? else { return None };
                Some(Self::Write(Box::new(entry(&mut reader, true, *settled)?)))
            }
            [COMPLETED] => Some(Self::Completed(Id(reader.number()?), reader.0.into())),
            _ => None,
        }
    }
}

fn entry(reader: &mut Reader<'_>, has_writer: bool, settled: u8) -> Option<Entry> {
    Some(Entry {
        id: Id(reader.number()?),
        write: Write {
            accepted: reader.number()?,
            writer: if has_writer { reader.text()? } else { String::new() },
            idempotency: reader.text()?,
            uri: reader.bytes()?.into(),
            route: reader.text()?,
            method: reader.text()?,
            target: reader.text()?,
            authority: reader.text()?,
            scheme: reader.text()?,
            fields: fields(reader)?,
            body: Bytes::copy_from_slice(reader.0),
            settled,
        },
    })
}

fn fields(reader: &mut Reader<'_>) -> Option<Fields> {
    let mut fields = Fields::default();
    for _ in 0..reader.length()? {
        let name = std::str::from_utf8(reader.bytes()?).ok()?;
        fields.push(name, reader.bytes()?);
    }
    Some(fields)
}

/// Writes the payload of a write.
pub(super) fn write_entry(id: Id, write: &Write, out: &mut Vec<u8>) {
    // As versions before have it, wherever they would deliver it as it is meant.
    match write.settled {
        0 => out.push(WRITE_OF),
        settled => out.extend_from_slice(&[WRITE_SETTLED, settled]),
    }
    out.extend_from_slice(&id.0.to_le_bytes());
    out.extend_from_slice(&write.accepted.to_le_bytes());
    let text = |text: &[u8], out: &mut Vec<u8>| {
        put_length(text.len(), out);
        out.extend_from_slice(text);
    };
    text(write.writer.as_bytes(), out);
    text(write.idempotency.as_bytes(), out);
    text(&write.uri, out);
    for part in [&write.route, &write.method, &write.target, &write.authority, &write.scheme] {
        text(part.as_bytes(), out);
    }
    put_length(write.fields.len(), out);
    for field in write.fields.iter() {
        text(field.name, out);
        text(field.value, out);
    }
    out.extend_from_slice(&write.body);
}

/// Writes the payload that completes a write.
pub(super) fn write_completed(id: Id, uri: &[u8], out: &mut Vec<u8>) {
    out.push(COMPLETED);
    out.extend_from_slice(&id.0.to_le_bytes());
    out.extend_from_slice(uri);
}

/// Everything that is measured here fits 32 bits: `Journal::append` refuses larger writes.
fn put_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

/// A write without its writer, of a version before.
const WRITE: u8 = 1;
const COMPLETED: u8 = 2;
const WRITE_OF: u8 = 3;
/// The same, of which its route had settled something.
const WRITE_SETTLED: u8 = 4;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn length(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?) as usize)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<String> {
        Some(std::str::from_utf8(self.bytes()?).ok()?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Write {
        let mut fields = Fields::default();
        fields.push("Content-Type", b"text/plain");
        fields.push("x-bytes", b"\xff\xfe");
        Write {
            idempotency: "k-1".into(),
            uri: b"https://a.example/\xc3".as_slice().into(),
            route: "api".into(),
            method: "PUT".into(),
            target: "/a?b=c".into(),
            authority: "a.example".into(),
            scheme: "https".into(),
            fields,
            body: Bytes::from_static(b"\0body"),
            accepted: 1_700_000_000,
            writer: "192.0.2.1".into(),
            settled: 0,
        }
    }

    #[test]
    fn what_its_route_had_settled_comes_back_with_a_write() {
        for (settled, kind) in [(0, WRITE_OF), (9, WRITE_SETTLED)] {
            let (write, mut bytes) = (Write { settled, ..sample() }, Vec::new());
            write_entry(Id(9), &write, &mut bytes);
            assert_eq!(bytes[0], kind, "others are as versions before read them");
            let Some(Payload::Write(entry)) = Payload::read(&bytes) else { panic!("not a write") };
            assert_eq!(format!("{:?}", entry.write), format!("{write:?}"));
            let head = bytes.len() - write.body.len();
            assert!((0..head).all(|length| Payload::read(&bytes[..length]).is_none()));
        }
    }

    #[test]
    fn a_write_of_a_version_before_has_no_writer() {
        let write = Write { writer: String::new(), ..sample() };
        let mut bytes = Vec::new();
        write_entry(Id(9), &write, &mut bytes);
        // Its kind, number and time are 17 bytes; the length of its writer is four more.
        bytes.drain(17..21);
        bytes[0] = WRITE;
        let Some(Payload::Write(entry)) = Payload::read(&bytes) else { panic!("not a write") };
        assert_eq!((entry.id, &*entry.write.target, &*entry.write.writer), (Id(9), "/a?b=c", ""));
    }

    #[test]
    fn a_write_comes_back_as_it_was() {
        let mut bytes = Vec::new();
        write_entry(Id(9), &sample(), &mut bytes);
        let Some(Payload::Write(entry)) = Payload::read(&bytes) else { panic!("not a write") };
        assert_eq!(entry.id, Id(9));
        assert_eq!(format!("{:?}", entry.write), format!("{:?}", sample()));
        let fields: Vec<_> = entry.write.fields.iter().map(|field| (field.name, field.value)).collect();
        assert_eq!(fields, [(&b"Content-Type"[..], &b"text/plain"[..]), (b"x-bytes", b"\xff\xfe")]);
    }

    #[test]
    fn a_write_counts_at_least_its_size_on_disk() {
        let mut bytes = Vec::new();
        write_entry(Id(9), &sample(), &mut bytes);
        assert!(sample().cost() >= (bytes.len() + super::super::record::HEAD) as u64);
    }

    #[test]
    fn what_is_cut_or_of_another_kind_is_refused() {
        let mut bytes = Vec::new();
        write_entry(Id(9), &sample(), &mut bytes);
        let body = sample().body.len();
        assert!((0..bytes.len() - body).all(|length| Payload::read(&bytes[..length]).is_none()));
        bytes[0] = 99;
        assert!(Payload::read(&bytes).is_none());
    }

    #[test]
    fn a_completed_write_comes_back_with_its_uri() {
        let mut bytes = Vec::new();
        write_completed(Id(3), b"/a", &mut bytes);
        assert!(matches!(Payload::read(&bytes), Some(Payload::Completed(Id(3), uri)) if &*uri == b"/a"));
    }
}
