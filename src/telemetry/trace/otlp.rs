//! Spans and batches of them as OTLP 1.x has them (`opentelemetry/proto/trace/v1/trace.proto`); the numbers
//! are those of its fields.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    SpanId, TraceId,
    protobuf::{bytes, fixed32, fixed64, message, number},
};
use crate::moment::Moment;

/// Most bytes of an attribute's text. What clients send is in there, and a batch must stay small.
const TEXT_MOST: usize = 2048;

/// On whose side of an exchange a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// On neither: it is a part of the work here.
    Internal,
    /// Of whoever is asked.
    Server,
    /// Of whoever asks.
    Client,
}

/// A span without its attributes.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// Its trace.
    pub trace: TraceId,
    /// Itself.
    pub id: SpanId,
    /// The span that it is a part of, and whether that one is another program's.
    pub parent: Option<(SpanId, bool)>,
    /// The flags of its trace.
    pub flags: u8,
    /// What others noted of the trace (`tracestate`).
    pub state: &'a [u8],
    /// Its name; there should be few different ones.
    pub name: &'a str,
    /// Whose side it is on.
    pub side: Side,
    /// Its beginning and its end.
    pub times: (Moment, Moment),
    /// What went wrong, when it did.
    pub error: Option<&'a str>,
}

/// Converts moments to wall-clock times.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    now: Moment,
    unix_nanos: u64,
}

impl WallClock {
    /// The present on both clocks.
    pub fn read() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { now: Moment::now(), unix_nanos: u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX) }
    }

    fn nanos(self, moment: Moment) -> u64 {
        let ago = u64::try_from(self.now.since(moment).as_nanos()).unwrap_or(u64::MAX);
        self.unix_nanos.saturating_sub(ago)
    }
}

/// Attributes as they are written.
#[derive(Debug)]
pub struct Attributes<'a> {
    /// The number of the field that they are.
    field: u64,
    out: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// A text. What is not UTF-8 is replaced, and what is too long cut off.
    pub fn text(&mut self, key: &str, value: &[u8]) {
        let value = value.get(..TEXT_MOST).unwrap_or(value);
        let value = String::from_utf8_lossy(value);
        self.pair(key, |out| bytes(1, value.as_bytes(), out));
    }

    /// A number.
    pub fn number(&mut self, key: &str, value: u64) {
        self.pair(key, |out| number(3, value, out));
    }

    /// A truth.
    pub fn boolean(&mut self, key: &str, value: bool) {
        self.pair(key, |out| number(2, u64::from(value), out));
    }

    fn pair(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        message(self.field, self.out, |out| {
            bytes(1, key.as_bytes(), out);
            message(2, out, write);
        });
    }
}

impl Span<'_> {
    /// Writes the span as a member of a batch; `attributes` writes its attributes.
    pub fn write(&self, clock: WallClock, out: &mut Vec<u8>, attributes: impl FnOnce(&mut Attributes<'_>)) {
        message(2, out, |out| {
            bytes(1, &self.trace.0.to_be_bytes(), out);
            bytes(2, &self.id.0.to_be_bytes(), out);
            // It is four times what others should pass on, and it cannot be cut.
            if !self.state.is_empty() && self.state.len() <= TEXT_MOST {
                bytes(3, String::from_utf8_lossy(self.state).as_bytes(), out);
            }
            if let Some((parent, _)) = self.parent {
                bytes(4, &parent.0.to_be_bytes(), out);
            }
            bytes(5, self.name.as_bytes(), out);
            let side = match self.side {
                Side::Internal => 1,
                Side::Server => 2,
                Side::Client => 3,
            };
            number(6, side, out);
            fixed64(7, clock.nanos(self.times.0), out);
            fixed64(8, clock.nanos(self.times.1), out);
            attributes(&mut Attributes { field: 9, out });
            if let Some(error) = self.error {
                message(15, out, |out| {
                    if !error.is_empty() {
                        bytes(2, error.as_bytes(), out);
                    }
                    number(3, 2, out);
                });
            }
            let is_remote = self.parent.is_some_and(|(_, is_remote)| is_remote);
            let flags = u32::from(self.flags) | HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 };
            fixed32(16, flags, out);
        });
    }
}

/// Flags of a span beside those of its trace.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Who sends spans.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// `service.name`.
    pub service: &'a str,
    /// `host.name`.
    pub host: &'a str,
}

/// A whole request to a collector: an `ExportTraceServiceRequest` with spans that were written before.
pub fn request<'a>(sender: Sender<'_>, spans: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    const VERSION: &[u8] = env!("CARGO_PKG_VERSION").as_bytes();
    let mut out = Vec::new();
    message(1, &mut out, |out| {
        message(1, out, |out| {
            let mut attributes = Attributes { field: 1, out };
            attributes.text("service.name", sender.service.as_bytes());
            attributes.text("service.version", VERSION);
            attributes.text("host.name", sender.host.as_bytes());
        });
        message(2, out, |out| {
            message(1, out, |out| {
                bytes(1, b"pointsman", out);
                bytes(2, VERSION, out);
            });
            spans.for_each(|spans| out.extend_from_slice(spans));
        });
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span<'_> = Span {
        trace: TraceId(0x0102),
        id: SpanId(3),
        parent: None,
        flags: 1,
        state: b"",
        name: "n",
        side: Side::Client,
        times: (Moment(5), Moment(7)),
        error: None,
    };

    /// Byte by byte as the definition has it; `tests/integration/tracing` decodes whole requests.
    #[test]
    fn a_span_is_as_its_definition_says() {
        let clock = WallClock { now: Moment(10), unix_nanos: 1_000_000 };
        let mut out = Vec::new();
        SPAN.write(clock, &mut out, |attributes| attributes.number("a", 1));
        let mut expected = vec![0x12, 68, 0x0a, 16];
        expected.extend_from_slice(&0x0102_u128.to_be_bytes());
        expected.extend_from_slice(&[0x12, 8, 0, 0, 0, 0, 0, 0, 0, 3]);
        expected.extend_from_slice(b"\x2a\x01n\x30\x03\x39");
        expected.extend_from_slice(&995_000_u64.to_le_bytes());
        expected.push(0x41);
        expected.extend_from_slice(&997_000_u64.to_le_bytes());
        expected.extend_from_slice(b"\x4a\x07\x0a\x01a\x12\x02\x18\x01\x85\x01\x01\x01\x00\x00");
        assert_eq!(out.len(), expected.len());
        expected[1] = (out.len() - 2) as u8;
        assert_eq!(out, expected);
    }

    #[test]
    fn text_is_cut_and_made_utf8() {
        let mut out = Vec::new();
        let mut attributes = Attributes { field: 9, out: &mut out };
        attributes.text("a", &[0xff; 100_000]);
        assert!(out.len() < 3 * TEXT_MOST + 20, "{}", out.len());
        // An odd byte is replaced by three, and the whole is UTF-8 behind its lengths.
        assert!(std::str::from_utf8(&out[12..]).is_ok());
    }
}
