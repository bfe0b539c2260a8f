//! The whole program against mutated clients, mutated backends, and both at once.
//!
//! Seeds are printed where one fails: `POINTSMAN_FUZZ_SEED=… cargo test --test integration fuzz` runs that one alone,
//! `POINTSMAN_FUZZ_CASES` more of them than the few thousand of each run.

mod frames;
mod grammar;
mod http2;
mod http2_answers;
mod http2_backends;
mod recorder;
mod reference;

use std::{
    cell::Cell,
    collections::HashMap,
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use fastrand::Rng;
use recorder::{Recorder, Script};
use reference::{Message, Side};

use crate::support::{Proxy, eventually, proxy::config_of};

/// Cases of each test in a run.
const CASES: u64 = 2000;
/// Clients at once; most of them wait for a timeout.
const THREADS: u64 = 16;

/// Whether one of so many that were looked at came far enough: a proxy that refuses everything would do nothing wrong. One
/// case alone may be refused.
fn is_enough(count: u64, one_of: u64, all: u64) -> bool {
    number("POINTSMAN_FUZZ_SEED").is_some() || count * one_of >= all
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs `case` with each seed on some threads; it gives what is wrong.
fn each(case: impl Fn(u64) -> Result<(), String> + Sync) {
    let (first, cases) = match number("POINTSMAN_FUZZ_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("POINTSMAN_FUZZ_CASES").unwrap_or(CASES)),
    };
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..number("POINTSMAN_FUZZ_THREADS").unwrap_or(THREADS) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, SeqCst);
                    if seed >= first + cases || failed.lock().unwrap().len() > 3 {
                        return;
                    }
                    if let Err(why) = case(seed) {
                        failed.lock().unwrap().push(format!("POINTSMAN_FUZZ_SEED={seed}: {why}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    CONNECTIONS.with(|all| all.set(all.get() + cases));
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

thread_local! {
    /// Connections of this test so far.
    static CONNECTIONS: Cell<u64> = const { Cell::new(0) };
}

/// Prints how much was tried, and what it did to the program's memory.
fn summary(what: &str, proxy: &Proxy, before: u64, more: &str) {
    let (connections, mib) = (CONNECTIONS.get(), |bytes: u64| bytes >> 20);
    let (highest, now) = (proxy.highest_memory(), proxy.memory());
    println!(
        "{what}: {connections} connections, {more}; nothing wrong; resident {} MiB before, {} MiB at most, {} MiB after",
        mib(before),
        mib(highest),
        mib(now)
    );
}

/// A proxy whose timeouts are short, since most cases end by one of them.
fn proxy(backend: &Recorder, more: &str) -> Proxy {
    let listener = "max_connections = 1000\n[listener.timeouts]\nheader = \"100ms\"\nbody = \"100ms\"\nidle = \"60ms\"\n";
    let text = config_of(&[backend.address.to_string()], listener, &format!("{UPSTREAM}---\n{more}"));
    Proxy::start(&text.replace("[log]\n", "[log]\naccess = \"off\"\n"))
}

const UPSTREAM: &str = "response_timeout = \"300ms\"\nbody_timeout = \"300ms\"\nretry = { attempts = 1 }\n\
                        outlier = { consecutive_failures = 0, failure_percent = 0 }\n";

/// Sends bytes, and gives everything that comes back until the proxy hangs up.
fn talk(proxy: &Proxy, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(proxy.address("web")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// The responses that bytes are, to requests of these methods; the error says why they are not.
fn responses(bytes: &[u8], methods: &[String]) -> Result<Vec<Message>, String> {
    let mut rest = bytes;
    let mut found = Vec::new();
    for number in 0.. {
        let is_head = methods.get(number).is_some_and(|method| method == "HEAD");
        loop {
            match response(rest, is_head) {
                Ok(None) => return Ok(found),
                Ok(Some((message, behind))) => {
                    rest = behind;
                    if message.what.starts_with('1') {
                        continue;
                    }
                    found.push(message);
                    break;
                }
                Err(why) => return Err(format!("{why}: {}", String::from_utf8_lossy(bytes))),
            }
        }
    }
    Ok(found)
}

/// One response, to HEAD or to another method. A request that was refused before its method was known is answered as any.
fn response(bytes: &[u8], is_head: bool) -> Result<Option<(Message, &[u8])>, reference::Stop> {
    let taken = reference::take(bytes, Side::Response { is_head });
    let is_refused = |message: &Message| message.all("proxy-status").concat().contains("http_request_error");
    match &taken {
        Ok(Some((message, _))) if is_head && is_refused(message) => {
            match reference::take(bytes, Side::Response { is_head: false }) {
                Ok(Some((whole, behind))) if whole.is_whole => Ok(Some((whole, behind))),
                _ => taken,
            }
        }
        _ => taken,
    }
}

/// Whatever clients send, a backend gets what they said, whole, and nothing that was hidden in it.
#[test]
fn mutated_requests_bring_nothing_hidden_to_a_backend() {
    let script: Script = Arc::new(|request: &Message| {
        let id = request.ids.join(",");
        let body = if request.what == "HEAD" { "" } else { &id };
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", id.len()).into_bytes()
    });
    let backend = Recorder::start(script);
    let proxy = proxy(&backend, "");
    let (before, mut count) = (proxy.memory(), 0_u64);
    let sent = Mutex::<HashMap<_, Vec<Message>>>::default();
    each(|seed| {
        let bytes = grammar::requests(seed, &mut Rng::with_seed(seed));
        let expected = reference::all(&bytes);
        let mut sent_now = sent.lock().unwrap();
        for message in &expected {
            sent_now.entry((message.what.clone(), message.ids.clone())).or_default().push(message.clone());
        }
        drop(sent_now);
        let answer = talk(&proxy, &bytes);
        let methods: Vec<String> = expected.iter().map(|message| message.what.clone()).collect();
        let answers = responses(&answer, &methods).map_err(|why| format!("{why}\nto {:?}", text(&bytes)))?;
        // One more at most: the refusal of what is no request.
        if answers.len() > expected.len() + 1 {
            return Err(format!("{} answers to {:?}", answers.len(), text(&bytes)));
        }
        Ok(())
    });
    let sent = sent.into_inner().unwrap();
    for message in backend.take() {
        count += 1;
        let alike = sent.get(&(message.what.clone(), message.ids.clone()));
        let is_known =
            alike.is_some_and(|sent| sent.iter().any(|sent| sent.is_whole && sent.body == message.body));
        assert!(is_known, "nobody sent {message:?}; alike are {alike:?}");
    }
    let wrong = backend.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(proxy.count_logged("panicked"), 0);
    let asked: usize = sent.values().map(Vec::len).sum();
    let more = format!("{asked} requests that are ones, {count} arrived");
    summary("requests", &proxy, before, &more);
    // A third has no line that makes it ambiguous, and few are behind one that ended the connection.
    assert!(is_enough(count, 10, asked as u64), "{more}");
}

/// A recorder that answers each request with a mutated response, by its seed, and `/ok` as it should be.
fn mutating(sent: Arc<Mutex<HashMap<String, Vec<u8>>>>) -> Recorder {
    let script: Script = Arc::new(move |request: &Message| {
        let id = request.ids.join(",");
        if let Some(id) = id.strip_prefix("ok-") {
            return format!("HTTP/1.1 200 OK\r\nX-Id: ok-{id}\r\nContent-Length: {}\r\n\r\n{id}", id.len())
                .into_bytes();
        }
        let seed = id.split('-').next().and_then(|seed| seed.parse().ok()).unwrap_or(0);
        let bytes = grammar::response(&id, request.what == "HEAD", &mut Rng::with_seed(seed));
        sent.lock().unwrap().insert(id, bytes.clone());
        bytes
    });
    Recorder::start(script)
}

/// Whatever a backend sends, the client gets what it said, whole, or is told that it is not, and who comes next is not
/// touched by it.
#[test]
fn mutated_responses_reach_clients_whole_or_not_at_all() {
    for cache in ["", "[[cache]]\nname = \"c\"\nmemory = \"16MiB\"\n"] {
        let sent = Arc::<Mutex<HashMap<String, Vec<u8>>>>::default();
        let backend = mutating(sent.clone());
        let proxy = match cache {
            "" => proxy(&backend, ""),
            _ => {
                let config =
                    config_of(&[backend.address.to_string()], "", &format!("{UPSTREAM}---\n{cache}"));
                let config = config.replace("[log]\n", "[log]\naccess = \"off\"\n");
                Proxy::start(&config.replace("upstream = \"u\"\n", "upstream = \"u\"\ncache = \"c\"\n"))
            }
        };
        let (before, asked, compared) = (proxy.memory(), AtomicU64::new(0), AtomicU64::new(0));
        each(|seed| {
            asked.fetch_add(1, SeqCst);
            let method = if seed % 8 == 0 { "HEAD" } else { "GET" };
            let bytes = format!(
                "{method} /{seed} HTTP/1.1\r\nHost: a\r\nX-Id: {seed}\r\n\r\n\
                 GET /ok/{seed} HTTP/1.1\r\nHost: a\r\nX-Id: ok-{seed}\r\nConnection: close\r\n\r\n"
            );
            let answer = talk(&proxy, bytes.as_bytes());
            let said = sent.lock().unwrap().remove(&seed.to_string()).unwrap_or_default();
            let is_compared = judge(seed, method, &answer, &said).map_err(|why| {
                format!("{why}\nthe backend said {:?}\nthe client got {:?}", text(&said), text(&answer))
            })?;
            compared.fetch_add(u64::from(is_compared), SeqCst);
            Ok(())
        });
        let wrong = backend.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(proxy.count_logged("panicked"), 0);
        let what = if cache.is_empty() { "responses" } else { "responses to a cache" };
        let more = format!("one mutated response on each, {} whole ones compared", compared.load(SeqCst));
        summary(what, &proxy, before, &more);
        // A fifth is not tampered with, and of these a third has no line that makes it ambiguous.
        assert!(is_enough(compared.into_inner(), 20, asked.into_inner()), "{more}");
        CONNECTIONS.set(0);
    }
}

/// What a client must have got of a response and of the sound one behind it; whether it got the first whole, so that it was
/// compared with what was said.
fn judge(seed: u64, method: &str, answer: &[u8], said: &[u8]) -> Result<bool, String> {
    let is_head = method == "HEAD";
    let methods = [method.to_owned(), "GET".to_owned()];
    let Ok(answers) = responses(answer, &methods) else {
        // It broke off: then the first one did, and nothing may follow.
        let first = reference::take(answer, Side::Response { is_head });
        return match first {
            Ok(Some((first, _))) if first.is_whole => Err("bytes behind a whole response".to_owned()),
            _ => Ok(false),
        };
    };
    let [first, rest @ ..] = answers.as_slice() else { return Ok(false) };
    // On a busy machine the sound one may be too late.
    let is_sound = |second: &Message| {
        let is_it = second.ids == [format!("ok-{seed}")] && second.body == seed.to_string().as_bytes();
        is_it || !second.all("proxy-status").is_empty()
    };
    if rest.len() > 1 || !rest.iter().all(is_sound) {
        return Err("the next answer is another's".to_owned());
    }
    let is_our_own = !first.all("proxy-status").is_empty();
    if is_our_own || !first.is_whole {
        return Ok(false);
    }
    let mut said = said;
    while let Ok(Some((meant, behind))) = reference::take(said, Side::Response { is_head }) {
        if meant.what.starts_with('1') {
            said = behind;
            continue;
        }
        return match meant.what == first.what && meant.is_whole && meant.body == first.body {
            true => Ok(true),
            false => Err(format!("whole, and not what was said: {meant:?}")),
        };
    }
    Err("whole, of what makes no sense".to_owned())
}

/// Both at once: nobody gets what is another's, and the program is well after it.
#[test]
fn mutations_of_both_sides_leave_the_program_well() {
    let backend = mutating(Arc::default());
    let cached = "[[cache]]\nname = \"c\"\nmemory = \"16MiB\"\n[[route]]\nname = \"k\"\npaths = [\"/k/*\"]\nupstream = \"u\"\ncache = \"c\"\n";
    let proxy = proxy(&backend, cached);
    let before = proxy.memory();
    each(|seed| {
        let bytes = grammar::requests(seed, &mut Rng::with_seed(seed ^ 0x5eed));
        let answer = talk(&proxy, &bytes);
        let is_others = |message: &Message| {
            message.ids.iter().any(|id| grammar::case_of(id).is_some_and(|case| case != seed))
        };
        match responses(&answer, &[]).unwrap_or_default().iter().find(|message| is_others(message)) {
            Some(message) => Err(format!("another's answer: {message:?}")),
            None => Ok(()),
        }
    });
    assert_eq!(proxy.count_logged("panicked"), 0);
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 128 << 20, "{} MiB more", grown >> 20);
    // Its limits are short: on a busy machine one request may be late.
    let sound = b"GET /ok HTTP/1.1\r\nHost: a\r\nX-Id: ok-1\r\nConnection: close\r\n\r\n";
    eventually("it serves", || talk(&proxy, sound).starts_with(b"HTTP/1.1 200 "));
    let wrong = backend.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    summary("both sides", &proxy, before, "requests and responses mutated");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
