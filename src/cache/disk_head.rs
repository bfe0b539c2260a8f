//! The head of a stored response as bytes, for keeping it elsewhere than in memory. Whoever keeps it vouches for the
//! bytes; what cannot be read, such as a record of another version, is nothing.

use super::{date::Date, freshness::Freshness, key::Key, stored_head::StoredHead, vary::Vary};
use crate::{
    fields::Fields,
    h1::{ResponseHead, Version},
};

/// The first byte; another form is another number.
const FORM: u8 = 2;

/// The head of a stored response.
#[derive(Clone, Debug)]
pub struct DiskHead {
    /// What it is found by.
    pub key: Key,
    /// Which of the variants of its key it is.
    pub variant: Key,
    /// Status, fields, freshness, with the marks of purges.
    pub entry: StoredHead,
    /// When the exchange that brought it began, in milliseconds of the wall clock: a purge later than that is about it.
    pub begun: u64,
}

impl DiskHead {
    /// Encodes the head as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let Self { key, variant, entry, begun } = self;
        let mut out = Out(vec![FORM]);
        out.number(*begun);
        out.bytes(key.text());
        out.bytes(variant.text());
        out.number(u64::from(entry.head.status));
        out.number(u64::from(entry.head.version == Version::Http10));
        out.number(entry.date.0);
        out.number(entry.received.0);
        entry.freshness.to_words().into_iter().for_each(|word| out.number(word));
        match &entry.vary {
            Vary::Names(names) => {
                out.number(names.len() as u64);
                names.iter().for_each(|name| out.bytes(name.as_bytes()));
            }
            // Such a response is never stored.
            Vary::Any => out.number(0),
        }
        out.number(entry.head.fields.len() as u64);
        for field in entry.head.fields.iter() {
            out.bytes(field.name);
            out.bytes(field.value);
        }
        out.0
    }

    /// Whether it is to stay where another would take its place, of this Date and asked for at `begun`; as in memory
    /// (`StoredResponse::is_more_recent_than`). One that was asked for later than `now` was before the clock was set back.
    pub fn is_more_recent_than(&self, (date, begun): (Date, u64), now: u64) -> bool {
        let came = self.begun.max(self.entry.received.0.saturating_mul(1000));
        self.begun <= now && came > begun && (self.entry.date, self.begun) > (date, begun)
    }

    /// Decodes bytes that [`DiskHead::encode`] made.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (form, rest) = bytes.split_first()?;
        let mut from = (*form == FORM).then_some(In(rest))?;
        let begun = from.number()?;
        let (key, variant) = (Key::of_text(from.bytes()?.to_vec()), Key::of_text(from.bytes()?.to_vec()));
        let status = u16::try_from(from.number()?).ok()?;
        let version = if from.number()? == 1 { Version::Http10 } else { Version::Http11 };
        let (date, received) = (Date(from.number()?), Date(from.number()?));
        let mut words = [0; Freshness::WORDS];
        for word in &mut words {
            *word = from.number()?;
        }
        let freshness = Freshness::from_words(received, words)?;
        let mut names = Vec::new();
        for _ in 0..from.number()? {
            names.push(String::from_utf8(from.bytes()?.to_vec()).ok()?);
        }
        let mut fields = Fields::default();
        for _ in 0..from.number()? {
            let name = std::str::from_utf8(from.bytes()?).ok()?;
            fields.push(name, from.bytes()?);
        }
        let head = ResponseHead { status, fields: fields.compact(), version };
        let entry = StoredHead { head, freshness, vary: Vary::Names(names), date, received };
        from.0.is_empty().then_some(Self { key, variant, entry, begun })
    }
}

struct Out(Vec<u8>);

impl Out {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::{freshness::Times, key::KeySettings, policy::Policy},
        h1::RequestHead,
    };

    fn record() -> DiskHead {
        let mut request = RequestHead::default();
        request.fields.push("Accept-Language", b"de");
        let mut response = ResponseHead { status: 200, ..ResponseHead::default() };
        for (name, value) in [
            ("Cache-Control", "max-age=60, stale-while-revalidate=5, must-revalidate"),
            ("Vary", "Accept-Language, Cookie"),
            ("Age", "7"),
            ("X", "\u{e9}"),
        ] {
            response.fields.push(name, value.as_bytes());
        }
        let now = Date(1_795_000_000);
        let times = Times { requested: now, received: now };
        let entry = StoredHead::of(&request, &response, &Policy::default(), times).unwrap();
        let settings = KeySettings::default();
        let key = Key::of("http", "a.example", None, "/p?q=1", &request.fields, &settings);
        DiskHead {
            key,
            variant: entry.vary.key(&request.fields).unwrap(),
            entry,
            begun: 1_795_000_000_123_456,
        }
    }

    /// Neither the origin's clock nor this one's, set back, keeps what is newer away.
    #[test]
    fn what_was_asked_for_later_is_more_recent() {
        const BEGUN: u64 = 1_795_000_000_500;
        let mut record = DiskHead { begun: BEGUN, ..record() };
        let date = record.entry.date;
        let later = Date(date.0 + 9);
        for (other, now, expected) in [
            ((date, BEGUN - 200), BEGUN + 1, true),
            ((date, BEGUN), BEGUN + 1, false),
            ((date, BEGUN + 200), BEGUN + 300, false),
            ((later, BEGUN - 200), BEGUN + 1, false),
            ((date, BEGUN - 200), BEGUN - 1, false),
        ] {
            assert_eq!(record.is_more_recent_than(other, now), expected, "{other:?} {now}");
        }
        // Its head came while the other was asked for already.
        record.entry.received = Date(date.0 + 5);
        record.entry.date = Date(date.0 + 4);
        assert!(record.is_more_recent_than((date, BEGUN + 3000), BEGUN + 9000));
        let is_more_recent = record.is_more_recent_than((date, BEGUN + 6000), BEGUN + 9000);
        assert!(!is_more_recent, "its origin's clock was ahead");
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let record = record();
        let bytes = record.encode();
        let read = DiskHead::decode(&bytes).unwrap();
        assert_eq!((&read.key, &read.variant, read.begun), (&record.key, &record.variant, record.begun));
        assert_eq!(read.key.hash(), record.key.hash());
        assert_eq!((&read.entry.freshness, &read.entry.vary), (&record.entry.freshness, &record.entry.vary));
        assert_eq!((read.entry.date, read.entry.received), (record.entry.date, record.entry.received));
        assert_eq!(format!("{:?}", read.entry.head), format!("{:?}", record.entry.head));
        for length in 0..bytes.len() {
            assert!(DiskHead::decode(&bytes[..length]).is_none(), "{length} bytes of it");
        }
        assert!(DiskHead::decode(&[&bytes[..], b"x"].concat()).is_none());
        let mut other = bytes;
        other[0] = FORM + 1;
        assert!(DiskHead::decode(&other).is_none(), "another form");
    }
}
