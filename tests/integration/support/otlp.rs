//! A collector of spans, and a decoder of what it gets that shares no code with the encoder.
//!
//! The decoder is strict: a field that OTLP's definition of traces has not, or that has another type
//! there, fails the test.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::{Origin, Reply, Request, eventually};

/// A span as it came.
#[derive(Clone, Debug, Default)]
pub struct Span {
    pub trace: String,
    pub id: String,
    /// Empty when there is none.
    pub parent: String,
    pub state: String,
    pub name: String,
    /// 1 internal, 2 server, 3 client.
    pub kind: u64,
    pub start: u64,
    pub end: u64,
    pub flags: u32,
    pub attributes: BTreeMap<String, String>,
    /// The message of an error, when the status is one.
    pub error: Option<String>,
    /// The attributes of whoever sent it.
    pub resource: BTreeMap<String, String>,
}

impl Span {
    /// An attribute; empty when it is not there.
    pub fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    /// As `otlp.py` prints it.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "trace": self.trace, "id": self.id, "parent": self.parent, "state": self.state,
            "name": self.name, "kind": self.kind, "start": self.start, "end": self.end, "flags": self.flags,
            "attributes": self.attributes, "error": self.error, "resource": self.resource,
        })
    }
}

/// A collector that answers as it is to and keeps what it takes.
pub struct Collector {
    pub origin: Origin,
    status: Arc<Mutex<u16>>,
}

impl Collector {
    pub fn start() -> Self {
        let status = Arc::new(Mutex::new(200));
        let answered = status.clone();
        let origin = Origin::start(move |_| Reply::Text(*answered.lock().unwrap(), String::new()));
        Self { origin, status }
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: u16) {
        *self.status.lock().unwrap() = status;
    }

    /// The table `[trace]` that leads here.
    pub fn conf(&self, options: &str) -> String {
        format!("[trace]\notlp = \"http://{}\"\n{options}\n", self.origin.address())
    }

    /// Every span so far, also those that were answered with an error.
    pub fn spans(&self) -> Vec<Span> {
        self.origin.requests().iter().flat_map(spans).collect()
    }

    /// Waits for the span of a request for this path, and gives all spans of its trace, that one first
    /// and the others as they began.
    pub fn trace_of(&self, path: &str) -> Vec<Span> {
        let mut found = Vec::new();
        eventually(&format!("a span of {path}"), || {
            let spans = self.spans();
            let Some(root) = spans.iter().find(|span| span.kind == 2 && span.get("url.path") == path) else {
                return false;
            };
            found = spans.iter().filter(|span| span.trace == root.trace).cloned().collect();
            true
        });
        found.sort_by_key(|span| (span.kind != 2, span.start));
        found
    }
}

/// The spans of an export request.
pub fn spans(request: &Request) -> Vec<Span> {
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/traces"));
    assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
    let mut all = Vec::new();
    for (field, value) in fields(&request.body) {
        assert_eq!(field, 1, "ExportTraceServiceRequest");
        let mut resource = BTreeMap::new();
        for (field, value) in fields(value.bytes()) {
            match field {
                1 => resource = attributes(&value, 1),
                2 => {
                    all.extend(scope(&value).into_iter().map(|it| Span { resource: resource.clone(), ..it }))
                }
                other => panic!("field {other} of ResourceSpans"),
            }
        }
    }
    all
}

fn scope(value: &Value<'_>) -> Vec<Span> {
    let mut spans = Vec::new();
    for (field, value) in fields(value.bytes()) {
        match field {
            1 => {
                for (field, value) in fields(value.bytes()) {
                    assert!((1..=2).contains(&field), "field {field} of InstrumentationScope");
                    assert!(!value.text().is_empty());
                }
            }
            2 => spans.push(span(&value)),
            other => panic!("field {other} of ScopeSpans"),
        }
    }
    spans
}

fn span(value: &Value<'_>) -> Span {
    let hex = |value: &Value<'_>, length: usize| {
        assert_eq!(value.bytes().len(), length);
        value.bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let mut span = Span::default();
    for (field, value) in fields(value.bytes()) {
        match field {
            1 => span.trace = hex(&value, 16),
            2 => span.id = hex(&value, 8),
            3 => span.state = value.text(),
            4 => span.parent = hex(&value, 8),
            5 => span.name = value.text(),
            6 => span.kind = value.number(),
            7 => span.start = value.fixed64(),
            8 => span.end = value.fixed64(),
            9 => {
                let (key, text) = pair(&value);
                assert!(span.attributes.insert(key.clone(), text).is_none(), "{key} stands twice");
            }
            15 => {
                let (mut message, mut code) = (String::new(), 0);
                for (field, value) in fields(value.bytes()) {
                    match field {
                        2 => message = value.text(),
                        3 => code = value.number(),
                        other => panic!("field {other} of Status"),
                    }
                }
                assert_eq!(code, 2);
                span.error = Some(message);
            }
            16 => span.flags = value.fixed32(),
            other => panic!("field {other} of Span"),
        }
    }
    assert!(span.trace.len() == 32 && span.id.len() == 16 && !span.name.is_empty(), "{span:?}");
    assert!(span.start > 1_700_000_000_000_000_000 && span.start <= span.end, "{span:?}");
    span
}

/// The members of a message that are attributes in this field, and nothing else is in it.
fn attributes(value: &Value<'_>, number: u64) -> BTreeMap<String, String> {
    let pairs = fields(value.bytes()).into_iter().map(|(field, value)| {
        assert_eq!(field, number);
        pair(&value)
    });
    pairs.collect()
}

fn pair(value: &Value<'_>) -> (String, String) {
    let (mut key, mut text) = (None, None);
    for (field, value) in fields(value.bytes()) {
        match field {
            1 => key = Some(value.text()),
            2 => {
                let inner = fields(value.bytes());
                assert_eq!(inner.len(), 1, "an AnyValue is one of several");
                text = Some(match &inner[0] {
                    (1, value) => value.text(),
                    (2, value) => (value.number() == 1).to_string(),
                    (3, value) => value.number().to_string(),
                    (other, _) => panic!("field {other} of AnyValue"),
                });
            }
            other => panic!("field {other} of KeyValue"),
        }
    }
    (key.unwrap(), text.unwrap())
}

/// A field's value as the wire has it.
#[derive(Debug)]
enum Value<'a> {
    Number(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

impl<'a> Value<'a> {
    fn bytes(&self) -> &'a [u8] {
        let Self::Bytes(bytes) = self else { panic!("{self:?} is not a message, text or bytes") };
        bytes
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }

    fn number(&self) -> u64 {
        let Self::Number(number) = self else { panic!("{self:?} is not a number") };
        *number
    }

    fn fixed64(&self) -> u64 {
        let Self::Fixed64(bytes) = self else { panic!("{self:?} is not 64 bits wide") };
        u64::from_le_bytes(*bytes)
    }

    fn fixed32(&self) -> u32 {
        let Self::Fixed32(bytes) = self else { panic!("{self:?} is not 32 bits wide") };
        u32::from_le_bytes(*bytes)
    }
}

/// The fields of a message.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Value<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut bytes)),
            1 => Value::Fixed64(take(&mut bytes, 8).try_into().unwrap()),
            2 => {
                let length = varint(&mut bytes);
                Value::Bytes(take(&mut bytes, usize::try_from(length).unwrap()))
            }
            5 => Value::Fixed32(take(&mut bytes, 4).try_into().unwrap()),
            other => panic!("wire type {other}"),
        };
        found.push((tag >> 3, value));
    }
    found
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in 0..10 {
        let byte = take(bytes, 1)[0];
        number |= u64::from(byte & 0x7f) << (7 * shift);
        if byte < 0x80 {
            assert!(byte != 0 || shift == 0, "a number longer than it need be");
            return number;
        }
    }
    panic!("a number without end")
}
