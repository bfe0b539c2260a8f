//! Many streams of events, many hung polls and many mirrored requests at once. A few on every run;
//! `tests/soak/streaming` has thousands.

use std::{
    collections::HashSet,
    io::Read,
    ops::Range,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::support::{Client, Origin, PATIENCE, Proxy, Reply, eventually, proxy::config};

fn of(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |count| count.parse().unwrap())
}

/// A client's side of a stream in zstd: what came of it, decoded as it comes.
struct Decoded {
    client: Client,
    decoder: zstd_safe::DCtx<'static>,
    text: Vec<u8>,
}

impl Decoded {
    fn open(proxy: &Proxy) -> Self {
        let mut client = proxy.connect();
        client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send("GET /events HTTP/1.1\r\nHost: a\r\nAccept-Encoding: zstd\r\n\r\n");
        let head = String::from_utf8(client.until(b"\r\n\r\n").unwrap()).unwrap().to_lowercase();
        assert!(head.contains("content-encoding: zstd"), "{head}");
        Self { client, decoder: zstd_safe::DCtx::create(), text: Vec::new() }
    }

    /// The next line that is not empty, and when it was there; none at the end.
    fn line(&mut self) -> Option<(String, Instant)> {
        loop {
            if let Some(end) = self.text.windows(2).position(|it| it == b"\n\n") {
                let line = String::from_utf8(self.text[..end].to_vec()).unwrap();
                self.text.drain(..end + 2);
                return Some((line, Instant::now()));
            }
            let size = String::from_utf8(self.client.until(b"\r\n").unwrap()).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let chunk = self.client.exactly(size);
            self.client.exactly(2);
            if size == 0 {
                return None;
            }
            let mut input = zstd_safe::InBuffer::around(&chunk);
            while input.pos() < chunk.len() {
                let mut bytes = [0; 4096];
                let mut output = zstd_safe::OutBuffer::around(&mut bytes[..]);
                self.decoder.decompress_stream(&mut output, &mut input).unwrap();
                let length = output.pos();
                self.text.extend(&bytes[..length]);
            }
        }
    }
}

fn at(mut times: Vec<Duration>, share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize]
}

/// Events that waited for the next would be 100 ms late. Some may be, and now and then half of them: the machine has other
/// things to do.
#[test]
fn events_reach_many_clients_as_they_come() {
    let mut times = Vec::new();
    let is_soon = (0..3).any(|_| {
        let time = half_are_there_after();
        times.push(time);
        time < Duration::from_millis(90)
    });
    assert!(is_soon, "{times:?}");
}

/// `POINTSMAN_STREAMS` clients, or 20; `POINTSMAN_EVENTS` events, or 10, one each 100 ms.
fn half_are_there_after() -> Duration {
    let (streams, events) = (of("POINTSMAN_STREAMS", 20), of("POINTSMAN_EVENTS", 10));
    let begun = Instant::now();
    // What is timed is events, and not the opening of so many connections: the first is sent once all streams are open. Not
    // at once to all: as many clients as there are have come at as many moments.
    let (number, all_open) = (AtomicUsize::new(0), Arc::new(Barrier::new(streams)));
    let origin = Origin::start(move |_| {
        let (number, all_open) = (number.fetch_add(1, Ordering::Relaxed), all_open.clone());
        Reply::Take(Box::new(move |connection| {
            connection.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            all_open.wait();
            let start = Instant::now() + Duration::from_micros(number as u64 * 997 % 100_000);
            for index in 0..events {
                thread::sleep(
                    (start + Duration::from_millis(100) * index as u32)
                        .saturating_duration_since(Instant::now()),
                );
                let event = format!("data: {index} {}\n\n", begun.elapsed().as_nanos());
                connection.send(format!("{:x}\r\n{event}\r\n", event.len()));
            }
            connection.send("0\r\n\r\n");
        }))
    });
    let text = config(&[origin.address()], "");
    let compressed = "upstream = \"u\"\ncompression = [\"zstd\"]\ncompression_min = \"1B\"\n";
    let proxy = Arc::new(Proxy::start(&text.replacen("upstream = \"u\"\n", compressed, 1)));
    let all: Vec<_> = (0..streams)
        .map(|_| {
            let proxy = proxy.clone();
            thread::spawn(move || {
                let mut stream = Decoded::open(&proxy);
                let mut times = Vec::new();
                for index in 0..events {
                    let (line, came) = stream.line().unwrap();
                    let words: Vec<&str> = line.split(' ').collect();
                    assert_eq!(words[1], index.to_string());
                    let sent = begun + Duration::from_nanos(words[2].parse().unwrap());
                    times.push(came.saturating_duration_since(sent));
                }
                assert!(stream.line().is_none());
                times
            })
        })
        .collect();
    let times: Vec<Duration> = all.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(times.len(), streams * events);
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| at(times.clone(), share));
    println!("{streams} streams of {events} events: p50 {p50:?}, p90 {p90:?}, p99 {p99:?}");
    // In the first moments a thousand encoders, decoders and threads are made, and in the last they end.
    let (from, to) = (5.min(events - 2), events - 2);
    let between = times.chunks(events).flat_map(|of_stream| &of_stream[from..=to]).copied().collect();
    println!("the {from}th to the {to}th of each stream: p99 {:?}", at(between, 0.99));
    p50
}

/// `POINTSMAN_POLLS` polls, or 100.
#[test]
fn polls_that_hang_take_memory_and_nothing_else() {
    let polls = of("POINTSMAN_POLLS", 100);
    let (hung, go) =
        (Arc::new(AtomicUsize::new(0)), Arc::new((Mutex::new(false), std::sync::Condvar::new())));
    let (count, wait) = (hung.clone(), go.clone());
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/poll" => {
            let (count, wait) = (count.clone(), wait.clone());
            Reply::Take(Box::new(move |connection| {
                count.fetch_add(1, Ordering::Relaxed);
                let guard = wait.1.wait_while(wait.0.lock().unwrap(), |go| !*go).unwrap();
                drop(guard);
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnews");
            }))
        }
        _ => Reply::Text(200, "at once".to_owned()),
    });
    let proxy = Proxy::start(&config(&[origin.address()], ""));
    assert_eq!(proxy.get("/").text(), "at once");
    let (memory, cpu) = (proxy.memory(), proxy.cpu());
    let mut clients: Vec<Client> = (0..polls)
        .map(|_| {
            let mut client = proxy.connect();
            client.send("GET /poll HTTP/1.1\r\nHost: a\r\n\r\n");
            client
        })
        .collect();
    eventually("all of them hang", || hung.load(Ordering::Relaxed) == polls);
    assert_eq!(proxy.get("/").text(), "at once");
    let (opened, grown) = (proxy.cpu(), proxy.memory().saturating_sub(memory));
    thread::sleep(Duration::from_secs(2));
    println!(
        "{polls} polls: {} bytes each, {:?} of processor to open them, {:?} in two seconds of waiting",
        grown as usize / polls,
        opened - cpu,
        proxy.cpu() - opened
    );
    assert!(proxy.cpu() - opened < Duration::from_millis(200), "who waits takes no time");
    *go.0.lock().unwrap() = true;
    go.1.notify_all();
    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "news");
    }
}

/// How long requests took of eight clients that each have these numbers; each answer is that of its request.
fn requests(proxy: &Arc<Proxy>, numbers: &Range<usize>) -> Vec<Duration> {
    let barrier = Arc::new(Barrier::new(8));
    let clients = [0; 8].map(|_| (proxy.clone(), barrier.clone(), numbers.clone()));
    let clients = clients.into_iter().enumerate().map(|(index, (proxy, barrier, numbers))| {
        thread::spawn(move || {
            let mut client = proxy.connect();
            barrier.wait();
            let ask = |number: usize| {
                let begun = Instant::now();
                let response = client.get(&format!("/{index}-{number}"));
                assert_eq!((response.status, response.text()), (200, format!("/{index}-{number}")));
                begun.elapsed()
            };
            numbers.map(ask).collect::<Vec<_>>()
        })
    });
    let clients: Vec<_> = clients.collect();
    clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
}

/// Whether a target is one in fifty of its client's. Those of all clients do not come at once, as if the backend were down.
fn is_fiftieth(target: &str) -> bool {
    let (index, number) = target[1..].split_once('-').unwrap();
    (6 * index.parse::<usize>().unwrap() + number.parse::<usize>().unwrap()) % 50 == 0
}

/// `POINTSMAN_MIRRORED` requests, or 800, of which every fiftieth is asked again, with a shadow that hangs, resets,
/// answers nonsense and fails by turns, and as many without one.
#[test]
fn a_sick_shadow_makes_no_request_late_or_wrong() {
    let count = of("POINTSMAN_MIRRORED", 800);
    // By target, and not by turns: while one is asked again others may have had fifty.
    let failed = Mutex::new(HashSet::new());
    let main = Origin::start(move |request| {
        let mut failed = failed.lock().unwrap();
        match is_fiftieth(&request.target) && !failed.remove(&request.target) {
            true => {
                failed.insert(request.target.clone());
                Reply::Text(503, String::new())
            }
            false => Reply::Text(200, request.target.clone()),
        }
    });
    let turn = AtomicUsize::new(0);
    let shadow = Origin::start(move |_| match turn.fetch_add(1, Ordering::Relaxed) % 4 {
        0 => Reply::Close(b"nonsense\r\n\r\n".to_vec()),
        1 => Reply::Take(Box::new(|_| {})),
        2 => Reply::Text(500, "no".repeat(1000)),
        // It hangs until it is given up. A thread that looked up now and then would take time from what is timed.
        _ => Reply::Take(Box::new(|connection| drop(connection.reader.read_to_end(&mut Vec::new())))),
    });
    let start = |mirror: &str| {
        let shadow = format!(
            "[[upstream]]\nname = \"shadow\"\nresponse_timeout = \"1s\"\n[[upstream.backend]]\naddress = \"{}\"\n",
            shadow.address()
        );
        let text = config(&[main.address()], &shadow);
        Arc::new(Proxy::start(&text.replacen(
            "upstream = \"u\"\n",
            &format!("upstream = \"u\"\n{mirror}"),
            1,
        )))
    };
    let (plain, mirrored) = (start(""), start("mirror = { upstream = \"shadow\", max_in_flight = 16 }\n"));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    // By turns, so that what else the machine does falls on both.
    let each = count / 80;
    for turn in 0..10 {
        let numbers = turn * each..(turn + 1) * each;
        without.extend(requests(&plain, &numbers));
        with.extend(requests(&mirrored, &numbers));
    }
    assert!(main.heads() > without.len() + with.len(), "some are asked again");
    for (name, times) in [("without", &without), ("with", &with)] {
        println!(
            "{} requests {name} a shadow: p50 {:?}, p99 {:?}, p99.9 {:?}",
            times.len(),
            at(times.clone(), 0.5),
            at(times.clone(), 0.99),
            at(times.clone(), 0.999)
        );
    }
    // Had they waited for the shadow, one in four had taken a second. All eight clients may be late now and then: the machine
    // has other things to do.
    let late = with.iter().filter(|time| **time > Duration::from_millis(900)).count();
    assert!(late <= count / 20, "{late} of {count}, up to {:?}", with.iter().max());
}
