//! Traces of requests, line by line: `key size` lines, Pointsman's access log as JSON, or an access log in the common
//! or combined format. The first line that is neither blank nor a comment (`#`) says which.
//!
//! Of a log only what a cache could answer counts: GET with status 200. The key is the URL, as far as the log has it,
//! and the size is the body's bytes. Other lines are counted by reason ([`Skipped`]). Next stop:
//! [`super::Replay::request`].

use std::{
    fmt,
    io::{self, BufRead, Read},
};

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

/// The longest line that is read, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// How a file of gzip begins (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// A hash of what was asked for.
    pub key: u64,
    /// In bytes.
    pub size: u64,
}

/// Lines that did not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Of another status than 200.
    pub status: u64,
    /// Of another method than GET.
    pub method: u64,
    /// That could not be read, where that is no error.
    pub bad: u64,
}

/// A line that could not be read, or an input that could not.
#[derive(Debug)]
pub enum Failure {
    /// The number of the line, from 1, and what is wrong with it.
    Line(u64, String),
    /// The input itself.
    Input(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number, problem) => write!(f, "line {number}: {problem}"),
            Self::Input(error) => error.fmt(f),
        }
    }
}

/// How a trace is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Pairs,
    Json,
    Common,
}

/// What a line was.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Request(Request),
    OtherStatus,
    OtherMethod,
}

/// Reads a trace to its end. With `skip_bad`, a line that cannot be read is counted and left out.
pub fn read(
    mut input: impl BufRead,
    skip_bad: bool,
    mut each: impl FnMut(Request),
) -> Result<Skipped, Failure> {
    let (mut skipped, mut form, mut line) = (Skipped::default(), None, Vec::new());
    for number in 1.. {
        line.clear();
        let length =
            input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(Failure::Input)?;
        if length == 0 {
            break;
        }
        if number == 1 && line.starts_with(&GZIP) {
            return Err(Failure::Line(
                1,
                "this is gzip: unpack it first, as in `zcat FILE | … replay -`".to_owned(),
            ));
        }
        if length as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
            return Err(Failure::Line(number, "longer than 1 MiB: is this a text file?".to_owned()));
        }
        let text = line.trim_ascii();
        if text.is_empty() || text.starts_with(b"#") {
            continue;
        }
        match parse(*form.get_or_insert_with(|| detect(text)), text) {
            Ok(Line::Request(request)) => each(request),
            Ok(Line::OtherStatus) => skipped.status += 1,
            Ok(Line::OtherMethod) => skipped.method += 1,
            Err(_) if skip_bad => skipped.bad += 1,
            Err(problem) => return Err(Failure::Line(number, problem)),
        }
    }
    Ok(skipped)
}

fn detect(line: &[u8]) -> Form {
    if line.starts_with(b"{") {
        Form::Json
    } else if line.contains(&b'"') && line.contains(&b'[') {
        Form::Common
    } else {
        Form::Pairs
    }
}

fn parse(form: Form, line: &[u8]) -> Result<Line, String> {
    match form {
        Form::Pairs => pair(line).ok_or_else(|| {
            format!(
                "`{}` is not `key size`: write a key without spaces, a space, and a whole number of bytes",
                shown(line)
            )
        }),
        Form::Json => json(line),
        Form::Common => common(line).ok_or_else(|| {
            format!(
                "`{}` is not a line of an access log in the common or combined format: ADDRESS - - [TIME] \
                 \"METHOD URL PROTOCOL\" STATUS BYTES",
                shown(line)
            )
        }),
    }
}

/// The beginning of a line, for people.
fn shown(line: &[u8]) -> String {
    let text: String =
        String::from_utf8_lossy(line).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn pair(line: &[u8]) -> Option<Line> {
    let mut words = words(line);
    let (key, size) = (words.next()?, number(words.next()?)?);
    words.next().is_none().then(|| Line::Request(Request { key: xxh3_64(key), size }))
}

/// A line of Pointsman's own log.
fn json(line: &[u8]) -> Result<Line, String> {
    let value: Value =
        serde_json::from_slice(line).map_err(|error| format!("`{}` is not JSON: {error}", shown(line)))?;
    let lacks = |name: &str, kind: &str| {
        format!("no `{name}` that is {kind}: this must be Pointsman's access log (`format = \"json\"`)")
    };
    let text = |name| value.get(name).and_then(Value::as_str).ok_or_else(|| lacks(name, "a text"));
    let number = |name| value.get(name).and_then(Value::as_u64).ok_or_else(|| lacks(name, "a number"));
    if number("status")? != 200 {
        return Ok(Line::OtherStatus);
    }
    if text("method")? != "GET" {
        return Ok(Line::OtherMethod);
    }
    let url = format!("{}://{}{}", text("scheme")?, text("host")?, text("target")?);
    Ok(Line::Request(Request { key: xxh3_64(url.as_bytes()), size: number("bytes_out")? }))
}

/// `192.0.2.1 - - [TIME] "GET /a HTTP/1.1" 200 1234 "referer" "agent"`; what is in front of the quote may be anything.
fn common(line: &[u8]) -> Option<Line> {
    let open = line.iter().position(|&byte| byte == b'"')?;
    let rest = line.get(open + 1..)?;
    let mut is_escaped = false;
    let close = rest.iter().position(|&byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })?;
    let (request, after) = rest.split_at_checked(close)?;
    let mut fields = words(after.get(1..)?);
    let status = number(fields.next()?)?;
    // With no body there is a dash.
    let size = match fields.next()? {
        b"-" => 0,
        bytes => number(bytes)?,
    };
    // What was no request at all has no words, and never status 200.
    if status != 200 {
        return Some(Line::OtherStatus);
    }
    let mut parts = words(request);
    let (method, url) = (parts.next()?, parts.next()?);
    if method != b"GET" {
        return Some(Line::OtherMethod);
    }
    Some(Line::Request(Request { key: xxh3_64(url), size }))
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn number(word: &[u8]) -> Option<u64> {
    // `parse` takes a plus sign, which no log writes.
    let is_number = word.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(word).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, skip_bad: bool) -> Result<(Vec<Request>, Skipped), String> {
        let mut requests = Vec::new();
        let skipped = read(text.as_bytes(), skip_bad, |request| requests.push(request));
        skipped.map(|skipped| (requests, skipped)).map_err(|failure| failure.to_string())
    }

    fn request(key: &str, size: u64) -> Request {
        Request { key: xxh3_64(key.as_bytes()), size }
    }

    #[test]
    fn reads_pairs_with_comments_blank_lines_and_no_last_newline() {
        let (requests, skipped) = all("# a trace\n\na 1\r\n\tb   22 \na 0", false).unwrap();
        assert_eq!(requests, [request("a", 1), request("b", 22), request("a", 0)]);
        assert_eq!(skipped, Skipped::default());
        assert_eq!(all("", false).unwrap().0, []);
    }

    #[test]
    fn says_which_line_is_bad_and_what_it_should_be() {
        for bad in ["b", "b 1 2", "b -1", "b +1", "b 1.5", "b 99999999999999999999", "b \u{0}"] {
            let problem = all(&format!("a 1\n\n{bad}\n"), false).unwrap_err();
            assert!(problem.starts_with("line 3: `b"), "{problem}");
            assert!(problem.contains("whole number of bytes"), "{problem}");
            assert!(!problem.contains('\0'), "{problem:?}");
            let (requests, skipped) = all(&format!("a 1\n\n{bad}\nc 1"), true).unwrap();
            assert_eq!((requests.len(), skipped.bad), (2, 1), "{bad}");
        }
        let packed = read(&b"\x1f\x8b\x08\x00"[..], true, |_| {}).unwrap_err().to_string();
        assert!(packed.contains("zcat"), "{packed}");
        let long = "x".repeat(2 << 20);
        assert!(all(&long, true).unwrap_err().contains("longer than 1 MiB"));
    }

    #[test]
    fn reads_our_json_log_and_counts_gets_with_200() {
        let line = |method: &str, status: u16| {
            format!(
                "{{\"method\":\"{method}\",\"scheme\":\"http\",\"host\":\"a\",\"target\":\"/x\\\"y\",\
                 \"status\":{status},\"bytes_out\":7}}\n"
            )
        };
        let log = [line("GET", 200), line("HEAD", 200), line("GET", 304), line("POST", 500)].concat();
        let (requests, skipped) = all(&log, false).unwrap();
        assert_eq!(requests, [request("http://a/x\"y", 7)]);
        assert_eq!(skipped, Skipped { status: 2, method: 1, bad: 0 });
        let problem = all("{\"status\":200,\"method\":\"GET\"}", false).unwrap_err();
        assert!(problem.contains("no `scheme` that is a text"), "{problem}");
        assert!(all(&(line("GET", 200) + "{\"status\":"), false).unwrap_err().contains("line 2"));
    }

    #[test]
    fn reads_common_and_combined_logs() {
        let log = r#"192.0.2.1 - - [22/Nov/2026:10:00:00 +0000] "GET /a?b=\"c\" HTTP/1.1" 200 12
192.0.2.1 - joe "x" [22/Nov/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 13 "-" "curl \"200\""
192.0.2.1 - - [22/Nov/2026:10:00:00 +0000] "-" 408 - "-" "-"
192.0.2.1 - - [22/Nov/2026:10:00:00 +0000] "\x16\x03\x01" 400 226
192.0.2.1 - - [22/Nov/2026:10:00:00 +0000] "HEAD /a HTTP/1.1" 200 -
192.0.2.1 - - [22/Nov/2026:10:00:00 +0000] "GET /b HTTP/2.0" 200 - "http://x/" "y"
"#;
        let clean = log.replace("joe \"x\"", "joe");
        let (requests, skipped) = all(&clean, false).unwrap();
        assert_eq!(requests, [request("/a?b=\\\"c\\\"", 12), request("/a", 13), request("/b", 0)]);
        assert_eq!(skipped, Skipped { status: 2, method: 1, bad: 0 });
        assert!(all(log, false).unwrap_err().starts_with("line 2: "));
    }
}
