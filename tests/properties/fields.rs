//! Values of fields.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::{field, hold};
use crate::{
    balance::sticky,
    cache::{
        cache_control::{RequestControl, ResponseControl},
        date::Date,
        normalized_field::normalized,
        purge,
        range::Extent,
        structured_fields,
        validate::{is_not_modified, make_conditional},
        vary::Vary,
    },
    exchange::node,
    fields::{ConnectionOptions, Fields, QuotedByte, QuotedString, list, read_quoted},
    h1::{Chunk, Decoder, Message, Method, Version, framing, head, trailers},
    telemetry::trace::Parent,
};

const NOW: Date = Date(1_795_000_000);

const DIRECTIVES: &[&str] = &[
    "max-age=60",
    "s-maxage=",
    "no-store",
    "private",
    "private=\"x, y\"",
    "no-cache=\"",
    "max-stale",
    "min-fresh=5",
    "stale-while-revalidate=9",
    "must-understand",
    "public",
    ", ",
    ",",
    "=",
    "\"",
    "ext=\"a\\\"b\"",
    "MAX-AGE=1",
];
const VIA: &[&str] = &[
    "1.1 pointsman",
    "1.1 pointsman-0000000000000000",
    "2 a",
    "HTTP/1.1 b:8080",
    "1.0 fred, 1.1 p.example.net",
    "1.1 c (a comment)",
    "(1.1 d, e)",
    " ",
    ", ",
    ",",
    "\t",
    "\"",
    "1.1",
];
const DICTIONARY: &[&str] = &[
    "a",
    "a=1",
    "b=?0",
    "b=?1",
    "c=\"x\"",
    "d=tok",
    "e=1.5",
    "f=:YQ==:",
    "g=(1 2)",
    "h=(\"",
    ";p",
    ";p=1",
    ", ",
    ",\t",
    "max-age=60",
    "*k=2",
    "999999999999999",
    "=-",
];
const TAGS: &[&str] = &["\"a\"", "W/\"a\"", "\"", "W/", "\"\"", ", ", "*", "a", "\"a,b\"", "w/\"a\""];
const RANGES: &[&str] = &[
    "bytes=",
    "bytes=0-1",
    "0-",
    "-5",
    "1-0",
    "-0",
    "5-18446744073709551615",
    ",",
    "BYTES=",
    "0-0,1-1",
    " ",
];
const DATES: &[&str] = &[
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "Sun, ",
    "06 Nov ",
    "1994 ",
    "08:49:60 ",
    "GMT",
    "Feb 29 ",
    "00:00:00",
    "9999 ",
];
const PREFERENCES: &[&str] = &[
    "gzip",
    "br;q=0.5",
    "*;q=0",
    "identity",
    "de-DE",
    "en;q=1.000",
    ";q=",
    "0.",
    "text/html;level=1",
    "a/b;c=\"d,e\"",
    ",",
    "a=1; ",
    "b=\"x\"; ",
    "; ",
    "=",
];
const OPTIONS: &[&str] = &["close", "keep-alive", "upgrade", "x-a", ", ", ",", "te", "CLOSE", "\"a\""];
const TRAILERS: &[&str] =
    &["a: b\r\n", "Host: x\r\n", "A:\r\n", "\r\n", "a", ": ", " b\r\n", "content-length: 5\r\n", "\n"];

#[test]
fn cache_control_of_any_bytes_is_read() {
    hold("fields::cache_control", DIRECTIVES, |rng, bytes| {
        let (control, pragma) = (field(rng, "cache-control", bytes), field(rng, "pragma", bytes));
        let request = [RequestControl::of(&control), RequestControl::of(&pragma)];
        format!("{request:?} {:?}", ResponseControl::of(&control))
    });
}

#[test]
fn structured_fields_of_any_bytes_are_read() {
    hold("fields::structured", DICTIONARY, |rng, bytes| {
        let cdn = field(rng, "cdn-cache-control", bytes);
        let members = structured_fields::parse([bytes].into_iter());
        for (at, (key, _)) in members.iter().flatten().enumerate() {
            let others = members.iter().flatten().skip(at + 1);
            assert!(others.into_iter().all(|(other, _)| other != key), "a key is there twice");
        }
        format!("{members:?} {:?}", ResponseControl::of(&cdn))
    });
}

#[test]
fn tags_of_any_bytes_are_compared() {
    hold("fields::tags", TAGS, |rng, bytes| {
        let (asked, stored) = (field(rng, "if-none-match", bytes), field(rng, "etag", bytes));
        let mut condition = Fields::default();
        make_conditional(&mut condition, [&stored].into_iter());
        let answers = [&stored, &Fields::default()]
            .map(|stored| is_not_modified(&Method::Get, &asked, 200, stored, (NOW, true)));
        format!("{answers:?} {condition:?}")
    });
}

#[test]
fn ranges_of_any_bytes_are_within_the_body() {
    hold("fields::ranges", RANGES, |rng, bytes| {
        let request = field(rng, "range", bytes);
        let length = [0, 1, 2, 1000, u64::MAX][rng.usize(0..5)];
        let extent = Extent::of(&Method::Get, &request, &Fields::default(), length, NOW);
        if let Extent::Part { first, last } = extent {
            assert!(first <= last && last < length, "{extent:?} of {length}");
        }
        let mut conditional = request;
        conditional.push("if-range", bytes);
        let other = Extent::of(&Method::Get, &conditional, &field(rng, "etag", bytes), length, NOW);
        assert!(other == extent || other == Extent::Whole, "a condition changes which part");
        format!("{extent:?} {other:?} {:?}", extent.content_range(length))
    });
}

#[test]
fn dates_of_any_bytes_are_written_and_read_back() {
    hold("fields::dates", DATES, |rng, bytes| {
        let date = Date::parse(bytes, NOW);
        if let Some(date) = date.filter(|date| date.0 <= 253_402_300_799) {
            assert_eq!(Date::parse(date.to_string().as_bytes(), NOW), Some(date));
        }
        let any = Date(rng.u64(0..=253_402_300_799));
        assert_eq!(Date::parse(any.to_string().as_bytes(), NOW), Some(any));
        let fields = field(rng, "if-modified-since", bytes);
        format!("{date:?} {}", is_not_modified(&Method::Get, &fields, 200, &Fields::default(), (NOW, true)))
    });
}

#[test]
fn normalized_fields_of_any_bytes_are_read() {
    hold("fields::normalized", PREFERENCES, |rng, bytes| {
        let mut all = String::new();
        for name in ["accept-encoding", "accept-language", "accept", "cookie", "x-a"] {
            let once = normalized(name, &field(rng, name, bytes));
            // Others are for comparisons only: their form need not be one of the field.
            if let Some(value) = once.as_ref().filter(|_| name == "accept-encoding") {
                let mut again = Fields::default();
                again.push(name, value);
                assert_eq!(normalized(name, &again).as_ref(), Some(value), "{name}");
            }
            all += &format!("{once:?}");
        }
        let request = field(rng, "accept", bytes);
        let vary = Vary::of(&field(rng, "vary", bytes));
        format!("{all} {vary:?} {:?}", vary.key(&request))
    });
}

#[test]
fn connection_options_of_any_bytes_are_named() {
    hold("fields::connection", OPTIONS, |rng, bytes| {
        let fields = field(rng, "connection", bytes);
        let options = ConnectionOptions::of(&fields);
        if let Ok(options) = &options {
            // Those that name no field.
            let is_of_connection = |option: &&[u8]| {
                ["close", "keep-alive", "upgrade"].iter().any(|it| option.eq_ignore_ascii_case(it.as_bytes()))
            };
            for option in list(fields.all("connection")).filter(|option| !is_of_connection(option)) {
                assert!(options.name(option) && options.name(&option.to_ascii_uppercase()), "{option:?}");
            }
        }
        format!("{options:?} {}", framing::keeps_alive(Version::Http11, &fields))
    });
}

/// What is added to Via is this program's and the last, whatever was there; and only what names it as a member of its own
/// is a loop: a comment or another's name is none.
#[test]
fn via_of_any_bytes_tells_a_loop() {
    hold("fields::via", VIA, |rng, bytes| {
        let own = format!("1.1 {}", node::name());
        let is_loop = |fields: &Fields| list(fields.all("via")).any(node::is_own);
        let before = field(rng, "via", bytes);
        assert!(!is_loop(&before), "its name is of chance, and not among these");
        // As one field, as the next hop is sent it, and as fields of their own.
        let values: Vec<&[u8]> = before.all("via").collect();
        let mut joined = values.join(&b", "[..]);
        joined.extend_from_slice(format!(", {own}").as_bytes());
        let mut apart = before.clone();
        apart.push("via", own.as_bytes());
        let mut together = Fields::default();
        together.push("via", &joined);
        assert!(is_loop(&apart));
        // What does not close its quotes takes what follows with it; then no reader sees members.
        let is_open = values.iter().any(|value| value.contains(&b'"'));
        assert!(is_open || is_loop(&together), "{:?}", String::from_utf8_lossy(&joined));
        format!("{:?}", list(before.all("via")).collect::<Vec<_>>())
    });
}

#[test]
fn trailers_of_any_bytes_frame_nothing() {
    hold("fields::trailers", TRAILERS, |_, bytes| {
        let whole = [bytes, b"\r\n\r\n"].concat();
        let whole = &whole[..];
        let (of_request, of_response) = (Message::Request, Message::Response);
        let all: Vec<String> =
            [(bytes, of_request), (whole, of_request), (bytes, of_response), (whole, of_response)]
                .into_iter()
                .map(|(bytes, of)| {
                    let mut fields = Fields::default();
                    let result = trailers::parse_trailers(bytes, &mut fields, of);
                    if result.is_ok() {
                        assert!(["host", "content-length"].iter().all(|name| fields.get(name).is_none()));
                        let mut written = Vec::new();
                        head::write_fields(&fields, &mut written);
                        let mut again = Fields::default();
                        trailers::parse_trailers(&[&written[..], b"\r\n"].concat(), &mut again, of).unwrap();
                        assert_eq!(format!("{again:?}"), format!("{fields:?}"));
                    }
                    format!("{result:?} {fields:?}")
                })
                .collect();
        all.concat()
    });
}

#[test]
fn tokens_tags_and_parents_of_any_bytes_are_read() {
    const PIECES: &[&str] =
        &["00-", "4bf92f3577b34da6a3ce929d0e0e4736", "-00f067aa0ba902b7", "-01", "-", "a ", "0", "f"];
    hold("fields::tokens", PIECES, |rng, bytes| {
        let token = sticky::parse_token(&String::from_utf8_lossy(bytes));
        let any = rng.u64(..);
        assert_eq!(sticky::parse_token(&sticky::format_token(any)), Some(any));
        let keys = field(rng, "surrogate-key", bytes);
        let tags: Vec<_> = purge::tags(&keys, "surrogate-key").collect();
        format!("{token:?} {tags:?} {:?}", Parent::parse(bytes))
    });
}

/// Whether a body has no byte but one whose chunk has this extension.
fn is_chunk_extension(extension: &[u8]) -> bool {
    let body = [b"1;", extension, b"\r\nx\r\n0\r\n\r\n"].concat();
    let mut decoder = Decoder::default();
    let first = decoder.next(&body);
    matches!(first, Ok(Chunk::Data { skip, length: 1 }) if skip == extension.len() + 4)
}

/// A quoted string behind its first quote: qdtext and quoted pairs (RFC 9110 §5.6.4).
static QUOTED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^(?-u:[\t !\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*""#).unwrap()
});

#[test]
fn quoted_strings_of_any_bytes_are_read_alike_everywhere() {
    const PIECES: &[&str] = &["\"", "\\\"", "\\\\", "\\", "a", ", no-store", ";", "=", "\t", "é", "\\\t"];
    hold("fields::quoted", PIECES, |_, bytes| {
        let read = read_quoted(bytes);
        let mut string = QuotedString::default();
        let parts: Vec<_> = bytes.iter().map_while(|byte| string.step(*byte)).collect();
        let end = parts.iter().position(|part| *part == QuotedByte::End);
        let length = read.as_ref().map(|(_, rest)| bytes.len() - rest.len());
        assert_eq!(length, end.map(|end| end + 1), "byte by byte");
        assert_eq!(length, QUOTED.find(bytes).map(|found| found.end()), "by its grammar");
        let Some((content, rest)) = read else {
            assert!(!is_chunk_extension(&[b"a=\"", bytes].concat()));
            return String::new();
        };
        let quoted = bytes.strip_suffix(rest).unwrap();
        assert!(is_chunk_extension(&[b"a=\"", quoted].concat()), "{quoted:?} in a chunk");
        // The same in a directive, behind which another is seen; in a dictionary where that has such strings.
        let directives = [b"x=\"", quoted, b", max-age=7"].concat();
        let mut fields = Fields::default();
        fields.push("cache-control", &directives);
        assert_eq!(ResponseControl::of(&fields).max_age, Some(7), "{quoted:?} in a directive");
        if let Some(members) = structured_fields::parse([&directives[..]].into_iter()) {
            assert_eq!(members[0].1, structured_fields::Value::String(content.to_vec()));
        }
        // Written with every byte behind a backslash it is the same.
        let escaped: Vec<u8> = content.iter().flat_map(|byte| [b'\\', *byte]).chain([b'"']).collect();
        assert_eq!(read_quoted(&escaped), Some((content.clone(), &[][..])));
        format!("{content:?} {rest:?}")
    });
}
