//! The whole program against mutated clients of HTTP/2.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use fastrand::Rng;
use pointsman::http2::hpack::Decoder;

use super::{
    each,
    frames::{self, Request},
    grammar, proxy,
    recorder::{Recorder, Script},
    reference::Message,
    summary,
};
use crate::support::{
    Client, Proxy,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
        WINDOW_UPDATE,
    },
};

/// Whatever clients send in frames, a backend gets requests that are whole and as they were meant, and nothing that was
/// hidden in them; what clients get is HTTP/2, and their own; and who asks beside them is served.
#[test]
fn mutated_frames_bring_nothing_hidden_to_a_backend() {
    let script: Script = Arc::new(|request: &Message| {
        let id = request.ids.join(",");
        let body = if request.what == "HEAD" { "" } else { &id };
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", id.len()).into_bytes()
    });
    let backend = Recorder::start(script);
    // The short timeouts of the other listener and upstream are no measure for who is served beside them.
    let calm = format!(
        "[[listener]]\nname = \"calm\"\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nname = \"calm\"\npaths = [\"/bystander\"]\nupstream = \"calm\"\n\
         [[upstream]]\nname = \"calm\"\n[[upstream.backend]]\naddress = \"{}\"\n",
        backend.address
    );
    let proxy = proxy(&backend, &calm);
    let before = proxy.memory();
    let sent = Mutex::<HashMap<String, Request>>::default();
    let requests = AtomicU64::new(0);
    let bystanders = beside(&proxy, "calm", || {
        each(|seed| {
            let connection = frames::connection(seed, &mut Rng::with_seed(seed));
            requests.fetch_add(connection.requests.len() as u64, SeqCst);
            sent.lock().unwrap().extend(connection.requests.iter().map(|it| (it.id.clone(), it.clone())));
            let answer = talk(&proxy, &connection.bytes, connection.requests.len());
            check(&answer, seed).map_err(|why| {
                let heads: Vec<_> = Received(&answer).map(|(kind, flags, id, _)| (kind, flags, id)).collect();
                format!(
                    "{why}\nthe frames' types, flags and streams: {heads:?}\nto {:?}",
                    super::text(&connection.bytes)
                )
            })
        });
    });
    let sent = sent.into_inner().unwrap();
    let arrived = backend.take();
    let mut sound = 0;
    for message in arrived.iter().filter(|message| message.ids != ["bystander"]) {
        for id in &message.ids {
            assert!(!id.contains("inner-"), "hidden in another: {message:?}");
            let Some(meant) = sent.get(id).filter(|meant| meant.is_sound) else { continue };
            assert!(
                meant.method == message.what && meant.body == message.body,
                "not as it was meant: {message:?}"
            );
            sound += 1;
        }
    }
    let wrong = backend.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(proxy.count_logged("panicked"), 0);
    let meant = sent.values().filter(|request| request.is_sound).count();
    // On a busy machine some are too late for the time limits of this test.
    assert!(sound * 5 >= meant, "{sound} of {meant} requests with nothing wrong arrived");
    let requests = requests.load(SeqCst);
    summary(
        "HTTP/2",
        &proxy,
        before,
        &format!("{requests} requests, {} arrived, {bystanders} beside", arrived.len()),
    );
}

/// Asks a listener again and again while something else is done, and must be served each time; gives how often.
pub(super) fn beside(proxy: &Proxy, listener: &str, work: impl FnOnce()) -> u64 {
    let (is_over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !is_over.load(SeqCst) {
                let mut client = Client::connect(proxy.address(listener));
                let answer = client.get_with("/bystander", "a", "X-Id: bystander\r\nConnection: close\r\n");
                assert_eq!(answer.text(), "bystander", "who asks beside them is served");
                served.fetch_add(1, SeqCst);
                std::thread::sleep(Duration::from_millis(5)); // what is asked for beside is not a flood
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_over.store(true, SeqCst);
        asking.join().unwrap();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let served = served.into_inner();
    assert!(served > 0);
    served
}

/// Sends bytes, and gives what comes back until as many streams have ended, the connection does, or nothing more comes.
fn talk(proxy: &Proxy, bytes: &[u8], streams: usize) -> Vec<u8> {
    let mut stream = TcpStream::connect(proxy.address("web")).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // It may be reset before it has all.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut room = [0; 16 * 1024];
    while !is_over(&answer, streams) {
        match stream.read(&mut room) {
            Ok(length) if length > 0 => answer.extend(&room[..length]),
            _ => break,
        }
    }
    answer
}

/// Whether nothing more need be waited for.
fn is_over(answer: &[u8], streams: usize) -> bool {
    let ends = Received(answer).filter(|(kind, flags, ..)| {
        *kind == RST_STREAM || matches!(*kind, DATA | HEADERS) && flags & END_STREAM != 0
    });
    ends.count() >= streams || Received(answer).any(|(kind, ..)| kind == GOAWAY)
}

/// The whole frames of what came: type, flags, stream, payload.
struct Received<'a>(&'a [u8]);

impl<'a> Iterator for Received<'a> {
    type Item = (u8, u8, u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.0.split_first_chunk::<9>()?;
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let (payload, rest) = rest.split_at_checked(u32::from_be_bytes([0, a, b, c]) as usize)?;
        self.0 = rest;
        Some((kind, flags, u32::from_be_bytes(stream), payload))
    }
}

/// How far the answer on a stream is.
#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Nothing,
    Head,
    Ended,
}

/// Whether what came is HTTP/2, and this client's.
fn check(answer: &[u8], case: u64) -> Result<(), String> {
    let mut states = HashMap::<u32, State>::new();
    let mut bodies = HashMap::<u32, Vec<u8>>::new();
    let mut decoder = Decoder::default();
    let mut block: Option<(u32, u8, Vec<u8>)> = None;
    for (kind, flags, stream, payload) in Received(answer) {
        if payload.len() > 16_384 || block.is_some() != (kind == CONTINUATION) {
            return Err(format!("a frame of type {kind} and {} bytes", payload.len()));
        }
        match kind {
            HEADERS => block = Some((stream, flags, payload.to_vec())),
            CONTINUATION => {
                let Some((_, _, bytes)) = &mut block else { return Err("no block goes on".into()) };
                bytes.extend(payload);
            }
            DATA => {
                let state = states.entry(stream).or_default();
                if *state != State::Head {
                    return Err(format!("DATA on stream {stream} that has no head, or has ended"));
                }
                bodies.entry(stream).or_default().extend(payload);
                if flags & END_STREAM != 0 {
                    *state = State::Ended;
                }
            }
            RST_STREAM => drop(states.insert(stream, State::Ended)),
            SETTINGS | PING | GOAWAY | WINDOW_UPDATE => {}
            _ => return Err(format!("a frame of type {kind}")),
        }
        if let Some((stream, first, bytes)) = block.take_if(|_| flags & END_HEADERS != 0) {
            let state = states.entry(stream).or_default();
            *state = head(&mut decoder, &bytes, *state, first & END_STREAM != 0)
                .map_err(|why| format!("{why}, on stream {stream}"))?;
        }
    }
    let is_anothers = |body: &Vec<u8>| {
        let ids = String::from_utf8_lossy(body).into_owned();
        ids.split(',').any(|id| grammar::case_of(id).is_some_and(|of| of != case))
    };
    match bodies.values().find(|body| is_anothers(body)) {
        Some(body) => Err(format!("another's answer: {:?}", String::from_utf8_lossy(body))),
        None => Ok(()),
    }
}

/// Whether a list of fields may be where it is.
fn head(decoder: &mut Decoder, block: &[u8], state: State, is_end: bool) -> Result<State, String> {
    let mut fields = Vec::new();
    let taken =
        decoder.decode(block, |name: &[u8], value: &[u8]| fields.push((name.to_vec(), value.to_vec())));
    taken.map_err(|_| "fields that cannot be read")?;
    let status = fields.first().filter(|(name, _)| name == b":status").map(|(_, status)| status.clone());
    let is_pseudo = |(name, _): &&(Vec<u8>, Vec<u8>)| name.first() == Some(&b':');
    let is_bad = |(name, value): &(Vec<u8>, Vec<u8>)| {
        [&b"connection"[..], b"transfer-encoding", b"keep-alive", b"upgrade"].contains(&&**name)
            || name.iter().any(|byte| byte.is_ascii_uppercase() || *byte <= b' ')
            || value.iter().any(|byte| b"\r\n\0".contains(byte))
    };
    if fields.iter().any(is_bad) {
        return Err(format!("fields that may not be: {}", shown(&fields)));
    }
    match (state, &status) {
        (State::Nothing, Some(status)) if status.starts_with(b"1") && !is_end => Ok(State::Nothing),
        (State::Nothing, Some(_)) if fields.iter().filter(is_pseudo).count() == 1 => {
            Ok(if is_end { State::Ended } else { State::Head })
        }
        (State::Head, None) if is_end && fields.iter().filter(is_pseudo).count() == 0 => Ok(State::Ended),
        _ => Err(format!("fields out of place: {}", shown(&fields))),
    }
}

fn shown(fields: &[(Vec<u8>, Vec<u8>)]) -> String {
    let line = |(name, value): &(Vec<u8>, Vec<u8>)| format!("{}={}", super::text(name), super::text(value));
    fields.iter().map(line).collect::<Vec<_>>().join(", ")
}
