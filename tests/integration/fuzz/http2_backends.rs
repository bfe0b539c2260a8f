//! The whole program against mutated backends of HTTP/2, whose connections clients share.

use std::{
    collections::HashMap,
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use fastrand::Rng;

use super::{
    each, grammar,
    http2::beside,
    http2_answers::{Answer, answer},
    reference::Message,
    responses, summary, talk, text,
};
use crate::support::{
    Origin, Proxy, Reply,
    frames::{ACK, DATA, END_STREAM, Frames, HEADERS, PING, PREFACE, SETTINGS, WINDOW_UPDATE},
    http2_origin::{MOST_STREAMS, settings},
    proxy::config_of,
};

/// What was answered, by case.
type Said = Arc<Mutex<HashMap<u64, Answer>>>;

/// A backend that answers what asks for `/CASE/METHOD` by the seed of that case.
fn backend(said: &Said) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let said = said.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let said = said.clone();
            thread::spawn(move || serve(stream, &said));
        }
    });
    address
}

fn serve(mut stream: TcpStream, said: &Said) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut preface = [0; PREFACE.len()];
    if stream.read_exact(&mut preface).is_err() {
        return;
    }
    let mut frames = Frames::of(stream);
    frames.write(&settings(&[(MOST_STREAMS, 4)]));
    let mut asked = HashMap::new();
    while let Some(frame) = frames.next() {
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => frames.send(SETTINGS, ACK, 0, b""),
            PING if frame.flags & ACK == 0 => frames.send(PING, ACK, 0, &frame.payload),
            HEADERS => {
                let fields = frames.fields(&frame.payload);
                let path = fields.into_iter().find(|(name, _)| name == ":path").map(|(_, path)| path);
                asked.extend(path.map(|path| (frame.stream, path)));
            }
            DATA if !frame.payload.is_empty() => {
                let increment = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
                frames.send(WINDOW_UPDATE, 0, 0, &increment);
                frames.send(WINDOW_UPDATE, 0, frame.stream, &increment);
            }
            _ => {}
        }
        let Some(path) = asked.get(&frame.stream).filter(|_| matches!(frame.kind, HEADERS | DATA)) else {
            continue;
        };
        let (case, method) = path.trim_start_matches('/').split_once('/').unwrap();
        let case: u64 = case.parse().unwrap();
        // Some answer before the request is whole.
        if frame.flags & END_STREAM == 0 && case % 4 != 1 {
            continue;
        }
        let answer = answer(case, frame.stream, method == "HEAD", &mut Rng::with_seed(case));
        asked.remove(&frame.stream);
        frames.write(&answer.bytes);
        let is_last = answer.is_last;
        said.lock().unwrap().insert(case, answer);
        if is_last {
            return;
        }
    }
}

/// Whatever a backend sends in frames, the client gets what it said, whole, or is told that it is not, and nobody gets what
/// is another's; who asks another backend is served.
#[test]
fn mutated_frames_of_backends_reach_nobody_else() {
    let said = Said::default();
    let address = backend(&said);
    let sound = Origin::start(|_| Reply::Text(200, "bystander".into()));
    let more = format!(
        "protocol = \"h2\"\nresponse_timeout = \"300ms\"\nbody_timeout = \"300ms\"\nretry = {{ attempts = 1 }}\n\
         outlier = {{ consecutive_failures = 0, failure_percent = 0 }}\n---\n\
         [[route]]\nname = \"sound\"\npaths = [\"/bystander\"]\nupstream = \"sound\"\n\
         [[upstream]]\nname = \"sound\"\n[[upstream.backend]]\naddress = \"{}\"\n",
        sound.address()
    );
    let text = config_of(&[address.to_string()], "max_connections = 1000\n", &more);
    let proxy = Proxy::start(&text.replace("[log]\n", "[log]\naccess = \"off\"\n"));
    let before = proxy.memory();
    let counts = Mutex::new([0_u64; 3]);
    let bystanders = beside(&proxy, "web", || {
        each(|case| {
            let method = ["GET", "GET", "HEAD", "POST"][case as usize / 2 % 4];
            let body = "x".repeat(if method == "POST" { Rng::with_seed(case).usize(1..100_000) } else { 0 });
            let request = format!(
                "{method} /{case}/{method} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let got = talk(&proxy, request.as_bytes());
            let meant = said.lock().unwrap().remove(&case);
            let [sound, arrived, failed] = judge(case, method, &got, meant.as_ref())
                .map_err(|why| format!("{why}\nthe client got {:?}", super::text(&got)))?;
            let mut counts = counts.lock().unwrap();
            *counts = [counts[0] + sound, counts[1] + arrived, counts[2] + failed];
            Ok(())
        });
    });
    assert_eq!(proxy.count_logged("panicked"), 0);
    let [meant, arrived, failed] = counts.into_inner().unwrap();
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
    let more = format!("{arrived} of {meant} sound answers arrived, {failed} failed, {bystanders} beside");
    summary("backends of HTTP/2", &proxy, before, &more);
    // A connection that one answer ended took others with it, and on a busy machine some are too late.
    assert!(arrived * 5 >= meant, "{more}");
}

/// Whether what a client got is what was meant, or no answer: how many answers were sound, how many of them arrived, and
/// how many requests failed.
fn judge(case: u64, method: &str, got: &[u8], meant: Option<&Answer>) -> Result<[u64; 3], String> {
    let shown = text(got);
    let mut ids = shown.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    if let Some(id) = ids.find(|id| grammar::case_of(id).is_some_and(|of| of != case)) {
        return Err(format!("another's answer: {id}"));
    }
    let is_sound = meant.is_some_and(|meant| meant.is_sound);
    let sound = u64::from(is_sound);
    let Ok(answers) = responses(got, &[method.to_owned()]) else { return Ok([sound, 0, 1]) };
    let (first, meant) = match (&answers[..], meant) {
        ([first], Some(meant)) if is_whole(first) => (first, meant),
        ([] | [_], _) => return Ok([sound, 0, 1]),
        _ => return Err(format!("{} answers to one request", answers.len())),
    };
    if !is_sound {
        return Ok([0, 0, 0]);
    }
    match first.what == meant.status && first.body == meant.body {
        true => Ok([1, 1, 0]),
        false => Err(format!("whole, and not what was said: {} and {:?}", meant.status, text(&meant.body))),
    }
}

/// Whether it is whole, and the backend's.
fn is_whole(message: &Message) -> bool {
    message.is_whole && message.all("proxy-status").is_empty()
}
