//! A backend of HTTP/2 that does what its script says, be it right or wrong: a thread per connection.

use std::{
    io::Read,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    PATIENCE, eventually,
    frames::{
        ACK, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM,
        SETTINGS, block, frame,
    },
};

/// The backend.
pub struct Http2Origin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// What came of one connection, but for what only keeps it going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// A request's head, or its trailers.
    Head(Head),
    /// Some of a body: its stream, and whether it is the end.
    Data(u32, Vec<u8>, bool),
    /// RST_STREAM: its stream and code.
    Reset(u32, u32),
    /// GOAWAY, with its code.
    GoAway(u32),
    /// The end of the connection.
    End,
}

/// A list of fields that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub stream: u32,
    pub fields: Vec<(String, String)>,
    pub is_end: bool,
}

impl Head {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Something that came, and on which connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub connection: usize,
    pub came: Came,
}

/// One connection, as its script sees it.
pub struct Served {
    pub frames: Frames,
    /// Its number, from 1.
    pub number: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Whether PING is answered.
    pub answers_pings: bool,
}

/// A SETTINGS frame.
pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat());
    frame(SETTINGS, 0, 0, &payload.collect::<Vec<u8>>())
}

/// The setting of the streams that may be open.
pub const MOST_STREAMS: u16 = 3;

impl Http2Origin {
    /// Runs `script` for each connection, whose preface came and which has sent nothing.
    pub fn raw(script: impl Fn(&mut Served) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (counted, noted, script) = (connections.clone(), seen.clone(), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (counted, seen, script) = (counted.clone(), noted.clone(), script.clone());
                thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut preface = [0; PREFACE.len()];
                    if stream.read_exact(&mut preface).is_err() {
                        return;
                    }
                    assert_eq!(preface, PREFACE);
                    let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
                    let frames = Frames::of(stream);
                    script(&mut Served { frames, number, seen, answers_pings: true });
                });
            }
        });
        Self { address, connections, seen }
    }

    /// Runs `script` for whatever comes of each connection, whose settings are sent.
    pub fn start(own: &[(u16, u32)], script: impl Fn(&mut Served, &Came) + Send + Sync + 'static) -> Self {
        let own = settings(own);
        Self::raw(move |served| {
            served.frames.write(&own);
            loop {
                let came = served.next();
                script(served, &came);
                if came == Came::End {
                    return;
                }
            }
        })
    }

    /// Answers every request that is whole with its path, and a trailer.
    pub fn echo() -> Self {
        Self::start(&[(MOST_STREAMS, 100)], |served, came| {
            if let Some(head) = served.whole(came) {
                served.answer(head.stream, &[(":status", "200")], head.get(":path").unwrap().as_bytes());
            }
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Everything that came.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The heads that came.
    pub fn heads(&self) -> Vec<Head> {
        let head = |seen: Seen| match seen.came {
            Came::Head(head) => Some(head),
            _ => None,
        };
        self.seen().into_iter().filter_map(head).collect()
    }

    /// The body of a stream, as far as it came.
    pub fn body(&self, stream: u32) -> Vec<u8> {
        let part = |seen: Seen| match seen.came {
            Came::Data(of, data, _) if of == stream => data,
            _ => Vec::new(),
        };
        self.seen().into_iter().flat_map(part).collect()
    }

    /// Waits until something has come.
    pub fn until(&self, what: &str, is_it: impl Fn(&Seen) -> bool) {
        eventually(what, || self.seen().iter().any(&is_it));
    }
}

impl Served {
    /// The next that comes; SETTINGS and PING are answered.
    pub fn next(&mut self) -> Came {
        let mut part: Option<(u32, bool, Vec<u8>)> = None;
        let came = loop {
            let Some(Frame { kind, flags, stream, payload }) = self.frames.next() else { break Came::End };
            let is_end = flags & END_STREAM != 0;
            let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            match kind {
                SETTINGS if flags & ACK == 0 => self.frames.send(SETTINGS, ACK, 0, b""),
                PING if flags & ACK == 0 && self.answers_pings => self.frames.send(PING, ACK, 0, &payload),
                HEADERS if flags & END_HEADERS == 0 => part = Some((stream, is_end, payload)),
                HEADERS => {
                    let fields = self.frames.fields(&payload);
                    break Came::Head(Head { stream, fields, is_end });
                }
                super::frames::CONTINUATION => {
                    let (_, _, bytes) = part.as_mut().unwrap();
                    bytes.extend_from_slice(&payload);
                    if flags & END_HEADERS != 0 {
                        let (stream, is_end, bytes) = part.take().unwrap();
                        let fields = self.frames.fields(&bytes);
                        break Came::Head(Head { stream, fields, is_end });
                    }
                }
                DATA => {
                    self.give(stream, payload.len());
                    break Came::Data(stream, payload, is_end);
                }
                RST_STREAM => break Came::Reset(stream, code(0)),
                GOAWAY => break Came::GoAway(code(4)),
                _ => {}
            }
        };
        self.seen.lock().unwrap().push(Seen { connection: self.number, came: came.clone() });
        came
    }

    fn give(&mut self, stream: u32, bytes: usize) {
        if bytes > 0 {
            let increment = u32::try_from(bytes).unwrap().to_be_bytes();
            self.frames.send(super::frames::WINDOW_UPDATE, 0, 0, &increment);
            self.frames.send(super::frames::WINDOW_UPDATE, 0, stream, &increment);
        }
    }

    /// The head of the request that became whole by what came.
    pub fn whole(&self, came: &Came) -> Option<Head> {
        let stream = match came {
            Came::Head(head) if head.is_end => head.stream,
            Came::Data(stream, _, true) => *stream,
            _ => return None,
        };
        let seen = self.seen.lock().unwrap();
        let heads = seen.iter().filter(|seen| seen.connection == self.number);
        let mut heads = heads.filter_map(|seen| match &seen.came {
            Came::Head(head) => Some(head),
            _ => None,
        });
        heads.find(|head| head.stream == stream).cloned()
    }

    /// Sends a head, or trailers.
    pub fn head(&mut self, stream: u32, fields: &[(&str, &str)], is_end: bool) {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        self.frames.send(HEADERS, END_HEADERS | u8::from(is_end), stream, &block(&fields));
    }

    /// Sends some of a body.
    pub fn data(&mut self, stream: u32, data: &[u8], is_end: bool) {
        self.frames.send(DATA, u8::from(is_end), stream, data);
    }

    /// Sends a head, a body, and a trailer.
    pub fn answer(&mut self, stream: u32, fields: &[(&str, &str)], body: &[u8]) {
        self.head(stream, fields, false);
        self.data(stream, body, false);
        self.head(stream, &[("x-end", "1")], true);
    }

    /// Resets a stream.
    pub fn reset(&mut self, stream: u32, code: u32) {
        self.frames.send(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    /// Says that no stream beyond `last` is looked at.
    pub fn goaway(&mut self, last: u32, code: u32) {
        self.frames.send(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    }
}
