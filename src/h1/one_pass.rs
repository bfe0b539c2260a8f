//! Heads as nearly all of them are: whole, and written plainly. They are read in one pass over their bytes.
//!
//! What is not like that is left to the strict reader (`h1::head`): a head of which some is missing, an error, a limit
//! that is passed, and whatever is odd and allowed. So this reader refuses nothing and blames nobody; of what it reads
//! the strict one makes the same, which its property test holds it to.

use super::{
    grammar::{HeadLimits, Version, is_target_byte},
    method::MOST_METHOD_BYTES,
};
use crate::fields::{Fields, Known, is_token_byte};

/// What the first line of a plain request says.
pub(super) struct RequestLine<'a> {
    /// The method.
    pub(super) method: &'a str,
    /// The target.
    pub(super) target: &'a str,
    /// The version.
    pub(super) version: Version,
}

/// Reads a whole request head from the beginning of `bytes`: its line and its length, and its fields into `fields`.
/// `None` leaves it to the strict reader, with anything in `fields`.
pub(super) fn request<'a>(
    bytes: &'a [u8],
    limits: &HeadLimits,
    fields: &mut Fields,
) -> Option<(RequestLine<'a>, usize)> {
    let method = length_of(bytes, &TOKEN)?;
    let from = method + 1;
    let target = length_of(bytes.get(from..)?, &TARGET)?;
    let to = from + target;
    let is_plain = (1..=MOST_METHOD_BYTES).contains(&method) && (1..=limits.target).contains(&target);
    if !is_plain || bytes.get(method) != Some(&b' ') {
        return None;
    }
    let version = match bytes.get(to..to + 11)? {
        b" HTTP/1.1\r\n" => Version::Http11,
        b" HTTP/1.0\r\n" => Version::Http10,
        _ => return None,
    };
    let length = read_fields(bytes, to + 11, limits, fields)?;
    let line = std::str::from_utf8(bytes.get(..to)?).ok()?;
    let line = RequestLine { method: line.get(..method)?, target: line.get(from..)?, version };
    Some((line, length))
}

/// Reads a whole response head from the beginning of `bytes`: its version, status and length, and its fields into
/// `fields`. `None` leaves it to the strict reader, with anything in `fields`.
pub(super) fn response(
    bytes: &[u8],
    limits: &HeadLimits,
    fields: &mut Fields,
) -> Option<(Version, u16, usize)> {
    let (line, rest) = bytes.split_first_chunk::<12>()?;
    let (version, [hundreds @ b'1'..=b'9', tens, ones]) = (line.first_chunk::<9>()?, line.last_chunk::<3>()?)
    else {
        return None;
    };
    let version = match version {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return None,
    };
    if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return None;
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    let status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
    let reason = end_before(rest, DELETE)?;
    let is_plain = reason == 0 || rest.first() == Some(&b' ');
    if !is_plain || !rest.get(..reason)?.is_ascii() || rest.get(reason..reason + 2) != Some(b"\r\n") {
        return None;
    }
    let length = read_fields(bytes, line.len() + reason + 2, limits, fields)?;
    Some((version, status, length))
}

/// Reads the field lines that begin at `at`, and gives where the head ends.
fn read_fields(bytes: &[u8], mut at: usize, limits: &HeadLimits, fields: &mut Fields) -> Option<usize> {
    fields.clear();
    while bytes.get(at) != Some(&b'\r') {
        let name = at..at + end_before(bytes.get(at..)?, b':')?;
        let known = Known::of(bytes.get(name.clone())?);
        // A name that is known has no bytes but those of tokens.
        let is_token = || bytes.get(name.clone()).unwrap_or_default().iter().all(|byte| is_in(*byte, &TOKEN));
        if name.is_empty()
            || bytes.get(name.end) != Some(&b':')
            || fields.len() == limits.fields
            || !known.is_named() && !is_token()
        {
            return None;
        }
        let mut from = name.end + 1;
        while is_blank(bytes.get(from)) {
            from += 1;
        }
        let mut end = from + end_before(bytes.get(from..)?, DELETE)?;
        while bytes.get(end) == Some(&b'\t') {
            end += 1;
            end += end_before(bytes.get(end..)?, DELETE)?;
        }
        if bytes.get(end..end + 2) != Some(b"\r\n") {
            return None;
        }
        let mut to = end;
        while to > from && is_blank(bytes.get(to - 1)) {
            to -= 1;
        }
        let is_line = from == name.end + 2 && bytes.get(name.end + 1) == Some(&b' ') && to == end;
        if !fields.push_of(known, is_line, name, from..to) {
            return None;
        }
        at = end + 2;
    }
    let length = at + 2;
    if bytes.get(at + 1) != Some(&b'\n') || length > limits.bytes {
        return None;
    }
    fields.hold(bytes.get(..length)?);
    Some(length)
}

fn is_blank(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b' ' | b'\t'))
}

/// How many bytes from the beginning are in a table; `None` when all are.
fn length_of(bytes: &[u8], table: &[bool; 256]) -> Option<usize> {
    bytes.iter().position(|byte| !is_in(*byte, table))
}

fn is_in(byte: u8, table: &[bool; 256]) -> bool {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

/// The control character that is above all others.
const DELETE: u8 = 0x7f;

/// The place of the first byte below a blank, a tab too, or of the first `sign`; `None` without one. Eight bytes at once.
fn end_before(bytes: &[u8], sign: u8) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // A borrow reaches bytes above only, so that the lowest that is found is right.
        let below_blank = word.wrapping_sub(ONES * 0x20) & !word;
        let differs = word ^ (ONES * u64::from(sign));
        let is_sign = differs.wrapping_sub(ONES) & !differs;
        let found = (below_blank | is_sign) & HIGH;
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(|byte| *byte < 0x20 || *byte == sign)?;
    Some(words.len() * 8 + at)
}

static TOKEN: [bool; 256] = table(true);
static TARGET: [bool; 256] = table(false);

/// The bytes of tokens, or of targets.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where a bad index is a build error")]
#[expect(clippy::cast_possible_truncation, reason = "there are 256 bytes")]
const fn table(of_tokens: bool) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = if of_tokens { is_token_byte(byte as u8) } else { is_target_byte(byte as u8) };
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        h1::{RequestHead, ResponseHead, Scan},
        rng::Rng,
    };

    const REQUEST: &[u8] =
        b"GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nX-Two:  two\twords \r\nAccept:\r\nCookie: a=b; c=\xe4\r\n\r\nrest";
    const RESPONSE: &[u8] =
        b"HTTP/1.1 404 Not Found\r\nServer: x\r\nContent-Length: 3\r\nset-cookie: a\r\nX:y\r\n\r\nabc";

    fn pairs(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
        fields.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
    }

    #[test]
    fn plain_heads_are_read_in_one_pass() {
        let (mut fields, limits) = (Fields::default(), HeadLimits::default());
        let (line, length) = request(REQUEST, &limits, &mut fields).unwrap();
        assert_eq!((line.method, line.target, length), ("GET", "/a?b=c", REQUEST.len() - 4));
        assert_eq!(fields.get("x-two"), Some(&b"two\twords"[..]));
        assert_eq!(fields.get("accept"), Some(&b""[..]));
        let (version, status, length) = response(RESPONSE, &limits, &mut fields).unwrap();
        assert_eq!((version, status, length), (Version::Http11, 404, RESPONSE.len() - 3));
        assert_eq!(pairs(&fields).len(), 4);
        assert!(response(b"HTTP/1.1 200\r\n\r\n", &limits, &mut fields).is_some());
    }

    #[test]
    fn limits_and_oddities_go_to_the_strict_reader() {
        let (mut fields, limits) = (Fields::default(), HeadLimits::default());
        for cut in 0..REQUEST.len() - 4 {
            assert!(request(&REQUEST[..cut], &limits, &mut fields).is_none(), "{cut}");
        }
        let short = [
            HeadLimits { bytes: REQUEST.len() - 5, ..limits },
            HeadLimits { fields: 3, ..limits },
            HeadLimits { target: 5, ..limits },
        ];
        for limits in short {
            assert!(request(REQUEST, &limits, &mut fields).is_none(), "{limits:?}");
        }
        let exact = HeadLimits { bytes: REQUEST.len() - 4, fields: 4, target: 6 };
        assert!(request(REQUEST, &exact, &mut fields).is_some());
        for odd in [&b"HTTP/1.1 099 x\r\n\r\n"[..], b"HTTP/1.1 2000\r\n\r\n", b"HTTP/1.1 200 \xe4\r\n\r\n"] {
            assert!(response(odd, &limits, &mut fields).is_none());
        }
    }

    /// Heads that are nearly right: what this reader takes, the strict one takes as the same.
    #[test]
    fn one_pass_takes_what_the_strict_reader_takes() {
        const ODD: &[u8] = b"\r\n\r\n\0\t  :::\x7f\x1f\x80\xffaZ09/#?_-.,;HTTP/1.0";
        let (mut rng, mut taken) = (Rng::new(0x0001_9a55), [0, 0]);
        for case in 0..20_000_u32 {
            let mut bytes = if case % 2 == 0 { REQUEST.to_vec() } else { RESPONSE.to_vec() };
            for _ in 0..case % 5 {
                let at = rng.below(bytes.len() as u64) as usize;
                let byte = ODD[rng.below(ODD.len() as u64) as usize];
                match rng.below(3) {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            let limits = HeadLimits {
                bytes: 60 + rng.below(80) as usize,
                fields: 2 + rng.below(4) as usize,
                target: 3 + rng.below(9) as usize,
            };
            let mut fields = Fields::default();
            if case % 2 == 0 {
                let Some((line, length)) = request(&bytes, &limits, &mut fields) else { continue };
                let mut strict = RequestHead::default();
                assert_eq!(strict.parse_strictly(&bytes, &limits, &mut Scan::default()), Ok(Some(length)));
                assert_eq!((strict.method.as_str(), &*strict.target), (line.method, line.target));
                assert_eq!((strict.version, pairs(&strict.fields)), (line.version, pairs(&fields)));
            } else {
                let Some((version, status, length)) = response(&bytes, &limits, &mut fields) else {
                    continue;
                };
                let mut strict = ResponseHead::default();
                assert_eq!(strict.parse_strictly(&bytes, &limits, &mut Scan::default()), Ok(Some(length)));
                assert_eq!((strict.version, strict.status), (version, status));
                assert_eq!(pairs(&strict.fields), pairs(&fields));
            }
            taken[case as usize % 2] += 1;
        }
        assert!(taken.iter().all(|taken| *taken > 500), "{taken:?}");
    }
}
