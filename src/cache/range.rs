//! Ranges served from a stored whole (RFC 9110 §14).
//!
//! Several ranges are answered by one part when they touch or overlap, and by the whole otherwise, which a
//! server may always send (§14.2). No multipart/byteranges is made: a few bytes of request never cause more
//! work or more bytes than the whole response (the attack of many overlapping ranges, §17.15).

use crate::{
    cache::{date::Date, validate::if_range_holds},
    fields::{Fields, Known},
    h1::Method,
};

/// More ranges than this are not looked at: the whole is served.
const MOST_RANGES: usize = 16;

/// What of a stored 200 answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it: 200.
    Whole,
    /// The bytes from `first` to `last`, both counted in: 206.
    Part {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// No byte that was asked for is there: 416.
    Unsatisfiable,
}

impl Extent {
    /// Decides by Range and If-Range. `length` is that of the stored body, `stored` are its fields.
    pub fn of(method: &Method, request: &Fields, stored: &Fields, length: u64, received: Date) -> Self {
        // §14.2: Range is ignored for every method but GET.
        if *method != Method::Get {
            return Self::Whole;
        }
        let mut values = request.all_known(Known::Range);
        let (Some(value), None) = (values.next(), values.next()) else { return Self::Whole };
        // §13.1.5: where If-Range does not hold, Range is ignored.
        if !if_range_holds(request, stored, received) {
            return Self::Whole;
        }
        // A unit that is not known, and a set that is broken, are ignored (§14.2).
        parse(value, length).unwrap_or(Self::Whole)
    }

    /// The value of Content-Range for a part, and for 416, of a body of this length (§14.4); none for the
    /// whole.
    pub fn content_range(self, length: u64) -> Option<String> {
        match self {
            Self::Whole => None,
            Self::Part { first, last } => Some(format!("bytes {first}-{last}/{length}")),
            Self::Unsatisfiable => Some(format!("bytes */{length}")),
        }
    }
}

fn parse(value: &[u8], length: u64) -> Option<Extent> {
    let (unit, set) = value.split_at_checked(memchr::memchr(b'=', value)?)?;
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut parts = Vec::new();
    let mut count = 0;
    for one in crate::fields::list(set.get(1..).into_iter()) {
        count += 1;
        if count > MOST_RANGES {
            return None;
        }
        if let Some(part) = range(one, length)? {
            parts.push(part);
        }
    }
    if count == 0 {
        return None;
    }
    parts.sort_unstable();
    let mut parts = parts.into_iter();
    let Some((first, mut last)) = parts.next() else {
        // §14.1.2: of an empty representation a suffix can be asked, but no part of it can be named.
        return Some(if length == 0 && has_suffix(set) { Extent::Whole } else { Extent::Unsatisfiable });
    };
    for (next, end) in parts {
        if next > last + 1 {
            return Some(Extent::Whole);
        }
        last = last.max(end);
    }
    Some(Extent::Part { first, last })
}

/// One range: the outer none when it is broken, the inner when no byte of it is there.
fn range(one: &[u8], length: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = one.split_at_checked(memchr::memchr(b'-', one)?)?;
    let last = last.get(1..)?;
    match (first, last) {
        ([], last) => {
            let suffix = number(last)?;
            Some((suffix > 0 && length > 0).then(|| (length.saturating_sub(suffix), length - 1)))
        }
        (first, []) => {
            let first = number(first)?;
            Some((first < length).then(|| (first, length - 1)))
        }
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            // §14.1.1: "An int-range is invalid if the last-pos value is present and less than first-pos."
            if last < first {
                return None;
            }
            Some((first < length).then(|| (first, last.min(length - 1))))
        }
    }
}

fn has_suffix(set: &[u8]) -> bool {
    crate::fields::list(set.get(1..).into_iter())
        .any(|one| one.strip_prefix(b"-").and_then(number).is_some_and(|suffix| suffix > 0))
}

/// Digits only; what is too large is as large as possible, and so beyond every body.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(text.iter().fold(0, add))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        lines.iter().for_each(|(name, value)| fields.push(name, value.as_bytes()));
        fields
    }

    fn extent(value: &str, length: u64) -> Extent {
        Extent::of(&Method::Get, &fields(&[("Range", value)]), &Fields::default(), length, Date(0))
    }

    fn part(first: u64, last: u64) -> Extent {
        Extent::Part { first, last }
    }

    #[test]
    fn a_single_range_is_a_part() {
        assert_eq!(extent("bytes=0-1", 11), part(0, 1));
        assert_eq!(extent("bytes=1-", 11), part(1, 10));
        assert_eq!(extent("bytes=-1", 11), part(10, 10));
        assert_eq!(extent("BYTES=3-99", 11), part(3, 10));
        assert_eq!(extent("bytes=-99", 11), part(0, 10));
        assert_eq!(extent("bytes=0-99999999999999999999999", 11), part(0, 10));
        assert_eq!(extent("bytes=, 2-3 ,", 11), part(2, 3));
    }

    #[test]
    fn what_is_beyond_the_end_is_unsatisfiable() {
        for value in
            ["bytes=11-", "bytes=11-12", "bytes=-0", "bytes=11-,-0", "bytes=99999999999999999999999-"]
        {
            assert_eq!(extent(value, 11), Extent::Unsatisfiable, "{value}");
        }
        assert_eq!(extent("bytes=0-", 0), Extent::Unsatisfiable);
        assert_eq!(extent("bytes=-5", 0), Extent::Whole);
        assert_eq!(Extent::Unsatisfiable.content_range(11).as_deref(), Some("bytes */11"));
        assert_eq!(part(2, 3).content_range(11).as_deref(), Some("bytes 2-3/11"));
        assert_eq!(Extent::Whole.content_range(11), None);
    }

    #[test]
    fn what_is_no_range_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=a-b",
            "bytes=5-3",
            "bytes=1",
            "items=0-1",
            "bytes=0-1,x",
            "bytes=--1",
            "bytes 0-1",
            "bytes=1-2-3",
            "bytes=+1-2",
        ] {
            assert_eq!(extent(value, 11), Extent::Whole, "{value}");
        }
        let twice = fields(&[("Range", "bytes=0-1"), ("Range", "bytes=0-1")]);
        assert_eq!(Extent::of(&Method::Get, &twice, &Fields::default(), 11, Date(0)), Extent::Whole);
        let request = fields(&[("Range", "bytes=0-1")]);
        assert_eq!(Extent::of(&Method::Head, &request, &Fields::default(), 11, Date(0)), Extent::Whole);
    }

    #[test]
    fn several_ranges_are_one_part_or_the_whole() {
        assert_eq!(extent("bytes=0-1,2-3", 11), part(0, 3));
        assert_eq!(extent("bytes=4-,0-5", 11), part(0, 10));
        assert_eq!(extent("bytes=0-1,20-30", 11), part(0, 1));
        assert_eq!(extent("bytes=0-0,-1", 11), Extent::Whole);
        let many = format!("bytes={}", vec!["0-"; 1000].join(","));
        assert_eq!(extent(&many, 11), Extent::Whole);
    }

    #[test]
    fn a_range_is_ignored_where_if_range_does_not_hold() {
        let stored = fields(&[("ETag", "\"a\"")]);
        let with = |value: &str| {
            let request = fields(&[("Range", "bytes=0-1"), ("If-Range", value)]);
            Extent::of(&Method::Get, &request, &stored, 11, Date(0))
        };
        assert_eq!(with("\"a\""), part(0, 1));
        assert_eq!(with("\"b\""), Extent::Whole);
        assert_eq!(with("W/\"a\""), Extent::Whole);
    }

    proptest! {
        #[test]
        fn a_part_is_within_the_body(text in "bytes=([0-9]{0,3}-[0-9]{0,3},?){0,5}|[ -~]{0,20}", length in 0_u64..1000) {
            if let Extent::Part { first, last } = extent(&text, length) {
                prop_assert!(first <= last && last < length);
            }
        }

        #[test]
        fn no_bytes_stop_the_reader_of_ranges(bytes in proptest::collection::vec(any::<u8>(), 0..40), length in any::<u64>()) {
            let mut request = Fields::default();
            request.push("range", &bytes);
            let _ = Extent::of(&Method::Get, &request, &Fields::default(), length, Date(0));
        }
    }
}
