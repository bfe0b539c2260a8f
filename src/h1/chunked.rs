//! The chunked transfer coding (RFC 9112 §7.1), decoded in place and without copying.

use super::{
    head::HeadError,
    trailers::{Message, parse_trailers},
};
use crate::fields::{Fields, QuotedByte, QuotedString, is_token_byte};

/// What a body may spend on chunk extensions; they carry nothing that anyone uses, and unbounded ones
/// are a way to send for ever (CVE-2023-39326).
const MOST_EXTENSION_BYTES: usize = 16 * 1024;
/// What trailers may take.
const MOST_TRAILER_BYTES: usize = 16 * 1024;

/// Decodes a chunked body, fed with slices as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    extension: usize,
    trailers: Vec<u8>,
    of: Message,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the first digit, or after some: the size so far and how many digits.
    #[default]
    Begin,
    Size {
        size: u64,
        digits: u8,
    },
    /// In the extensions behind a size.
    Extension {
        size: u64,
        at: Extension,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// Where in an extension: `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` (RFC 9112 §7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// Behind the size, a name or a value, and white space: another extension may begin.
    Between,
    /// Behind `;`.
    NameStart,
    Name,
    /// Behind a name and white space.
    NameEnd,
    /// Behind `=`.
    ValueStart,
    Value,
    Quoted(QuotedString),
}

impl Extension {
    /// What follows on this byte; `None` where it may not stand.
    fn step(self, byte: u8) -> Option<Self> {
        let is_space = matches!(byte, b' ' | b'\t');
        Some(match (self, byte) {
            (Self::Quoted(mut string), _) => match string.step(byte)? {
                QuotedByte::End => Self::Between,
                QuotedByte::Content(_) | QuotedByte::Backslash | QuotedByte::Escaped(_) => {
                    Self::Quoted(string)
                }
            },
            (Self::Between | Self::Name | Self::NameEnd | Self::Value, b';') => Self::NameStart,
            (Self::Name | Self::NameEnd, b'=') => Self::ValueStart,
            (Self::ValueStart, b'"') => Self::Quoted(QuotedString::default()),
            (Self::Between | Self::NameStart | Self::NameEnd | Self::ValueStart, _) if is_space => self,
            (Self::Name, _) if is_space => Self::NameEnd,
            (Self::Value, _) if is_space => Self::Between,
            (Self::NameStart | Self::Name, _) if is_token_byte(byte) => Self::Name,
            (Self::ValueStart | Self::Value, _) if is_token_byte(byte) => Self::Value,
            _ => return None,
        })
    }

    /// Whether the line may end here.
    fn may_end(self) -> bool {
        matches!(self, Self::Between | Self::Name | Self::NameEnd | Self::Value)
    }
}

/// What a slice held, and how much of it was used.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    /// `length` bytes of body stand after `skip` bytes of framing; both are used.
    Data {
        /// Framing before the body's bytes.
        skip: usize,
        /// The body's bytes.
        length: usize,
    },
    /// The whole slice was framing; more is needed.
    More,
    /// The body ended after this many bytes of the slice.
    End(usize),
}

impl Decoder {
    /// Of the body of this message.
    pub fn of(message: Message) -> Self {
        Self { of: message, ..Self::default() }
    }

    /// Looks at `bytes`, which begin where the last call's answer ended.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Chunk, HeadError> {
        let mut at = 0;
        loop {
            if let State::Data { left } = self.state {
                let length = (bytes.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
                if length == 0 {
                    return Ok(Chunk::More);
                }
                let left = left - length as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                return Ok(Chunk::Data { skip: at, length });
            }
            let Some(&byte) = bytes.get(at) else {
                return Ok(Chunk::More);
            };
            at += 1;
            self.state = self.step(byte)?;
            if self.state == State::Done {
                return Ok(Chunk::End(at));
            }
        }
    }

    /// Whether the last chunk and the trailers were seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer fields, once [`Chunk::End`] was returned. Fields that have no business there are
    /// left out.
    pub fn take_trailers(&mut self) -> Result<Option<Fields>, HeadError> {
        if self.trailers.len() <= 2 {
            return Ok(None);
        }
        let mut fields = Fields::default();
        parse_trailers(&self.trailers, &mut fields, self.of)?;
        Ok(Some(fields).filter(|fields| !fields.is_empty()))
    }

    fn step(&mut self, byte: u8) -> Result<State, HeadError> {
        let malformed = |what| Err(HeadError::Malformed(what));
        Ok(match (self.state, byte) {
            (State::Begin, _) => match hex(byte) {
                Some(digit) => State::Size { size: digit, digits: 1 },
                None => return malformed("a chunk size is not a number"),
            },
            (State::Size { size, .. }, b'\r') => State::SizeLf { size },
            (State::Extension { size, at }, b'\r') if at.may_end() => State::SizeLf { size },
            (State::Size { size, .. }, b';') => State::Extension { size, at: Extension::NameStart },
            (State::Size { size, .. }, b' ' | b'\t') => State::Extension { size, at: Extension::Between },
            (State::Size { size, digits }, _) => match hex(byte) {
                // Sixteen digits fill a u64.
                Some(digit) if digits < 16 => State::Size { size: size << 4 | digit, digits: digits + 1 },
                Some(_) => return malformed("a chunk size has more than 16 digits"),
                None => return malformed("a chunk size is not a number"),
            },
            (State::Extension { size, at }, _) => {
                self.extension += 1;
                if self.extension > MOST_EXTENSION_BYTES {
                    return malformed("chunk extensions are too long");
                }
                match at.step(byte) {
                    Some(at) => State::Extension { size, at },
                    None => return malformed("a chunk extension is malformed"),
                }
            }
            (State::SizeLf { size: 0 }, b'\n') => State::Trailers,
            (State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::SizeLf { .. }, _) => return malformed("CR without LF after a chunk size"),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Begin,
            (State::DataCr | State::DataLf, _) => {
                return malformed("a chunk is longer than its size");
            }
            (State::Trailers, _) => return self.trailer(byte),
            (State::Data { .. } | State::Done, _) => self.state,
        })
    }

    fn trailer(&mut self, byte: u8) -> Result<State, HeadError> {
        let last = self.trailers.last().copied();
        if (byte == b'\n') != (last == Some(b'\r')) {
            return Err(HeadError::Malformed("a trailer line does not end in CRLF"));
        }
        self.trailers.push(byte);
        if self.trailers.len() > MOST_TRAILER_BYTES {
            return Err(HeadError::TooLarge);
        }
        let blank = self.trailers.as_slice() == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n");
        Ok(if blank { State::Done } else { State::Trailers })
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

/// Writes the line before a chunk of `length` bytes; the chunk is followed by CRLF.
pub fn write_size(mut length: usize, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 16];
    let mut count = 0;
    for digit in digits.iter_mut().rev() {
        let [low, ..] = length.to_le_bytes();
        *digit = match low & 15 {
            low @ 0..10 => b'0' + low,
            high => b'a' + high - 10,
        };
        length >>= 4;
        count += 1;
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(16 - count..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// Writes the last chunk, with trailers when there are some.
pub fn write_end(trailers: Option<&Fields>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(fields) = trailers {
        super::head::write_fields(fields, out);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, the trailers and what was left, feeding `step` bytes at a time.
    fn decode(bytes: &[u8], step: usize) -> Result<(Vec<u8>, Option<Fields>, usize), HeadError> {
        let (mut decoder, mut body, mut used) = (Decoder::default(), Vec::new(), 0);
        for part in bytes.chunks(step) {
            let mut at = 0;
            while at < part.len() {
                match decoder.next(&part[at..])? {
                    Chunk::Data { skip, length } => {
                        body.extend_from_slice(&part[at + skip..at + skip + length]);
                        at += skip + length;
                    }
                    Chunk::More => at = part.len(),
                    Chunk::End(end) => {
                        return Ok((body, decoder.take_trailers()?, used + at + end));
                    }
                }
            }
            used += part.len();
        }
        Err(HeadError::Malformed("unfinished"))
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let bytes = b"5;x=\"y\"\r\nhello\r\n006\r\n world\r\n0\r\nX-Sum: 1\r\nHost: no\r\n\r\nGET";
        for step in 1..bytes.len() {
            let (body, trailers, used) = decode(bytes, step).unwrap();
            assert_eq!(body, b"hello world");
            assert_eq!(used, bytes.len() - 3);
            let trailers = trailers.unwrap();
            assert_eq!(trailers.get("x-sum"), Some(&b"1"[..]));
            assert_eq!(trailers.len(), 1, "Host is no trailer");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            &b"\r\n0\r\n\r\n"[..],
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"00000000000000005\r\nhello\r\n0\r\n\r\n",
            b"5;a\nb\r\nhello\r\n0\r\n\r\n",
            b"5;\0\r\nhello\r\n0\r\n\r\n",
            b"0\r\nX: 1\n\r\n",
            b"0\r\n\rX\r\n\r\n",
            b"0\r\nX : 1\r\n\r\n",
        ] {
            assert!(
                matches!(decode(bad, 7), Err(error) if error != HeadError::Malformed("unfinished")),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let mut long = b"5;".to_vec();
        long.resize(MOST_EXTENSION_BYTES + 10, b'x');
        assert!(decode(&long, 1000).is_err());
        let mut long = b"0\r\nX: ".to_vec();
        long.resize(MOST_TRAILER_BYTES + 100, b'x');
        assert_eq!(decode(&long, 1000).unwrap_err(), HeadError::TooLarge);
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for size in [1, 9, 10, 15, 16, 255, 65_536, usize::MAX] {
            let mut out = Vec::new();
            write_size(size, &mut out);
            assert_eq!(out, format!("{size:x}\r\n").into_bytes());
        }
    }
}
