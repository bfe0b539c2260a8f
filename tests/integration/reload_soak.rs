//! Edits in a row under load: connections, streams, requests, counters and memory, of which none may be
//! touched. A few edits in every run; `tests/soak/reloading` makes a thousand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::support::{
    Client, Origin, Proxy, Reply, eventually,
    h2::{Http2, request},
};

/// How much of everything.
struct Size {
    edits: usize,
    websockets: usize,
    streams: usize,
    /// Routes beside those that are used.
    routes: usize,
}

impl Size {
    fn of_run() -> Self {
        let number = |name: &str, default: usize| {
            std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
        };
        Self {
            edits: number("POINTSMAN_SOAK_EDITS", 30),
            websockets: number("POINTSMAN_SOAK_WEBSOCKETS", 50),
            streams: number("POINTSMAN_SOAK_STREAMS", 20),
            routes: number("POINTSMAN_SOAK_ROUTES", 10),
        }
    }
}

#[test]
fn a_row_of_edits_under_load_touches_nothing() {
    let size = Size::of_run();
    let is_over = Arc::new(AtomicBool::new(false));
    let origin = origin(is_over.clone());
    let proxy = Proxy::start(&text(&origin, &size, 0));
    let websockets = websockets(&proxy, size.websockets);
    let streams = streams(&proxy, size.streams);
    let (load, served) = load(&proxy, is_over.clone());

    let mut took = Vec::new();
    let (mut total, mut memory) = (0, Vec::new());
    for edit in 1..=size.edits {
        if edit % 10 == 0 {
            let refused = proxy.count_logged("configuration refused");
            proxy.edit(&text(&origin, &size, edit).replace("[[route]]", "[[rout]]"));
            proxy.until_logged("configuration refused", refused + 1);
            continue;
        }
        let begun = Instant::now();
        proxy.edit(&text(&origin, &size, edit));
        eventually("the edit takes effect", || proxy.get("/probe").text() == edit.to_string());
        took.push(begun.elapsed());
        let now = requests_of_all(&proxy);
        assert!(now >= total, "counters go on: {total}, then {now}");
        total = now;
        memory.push(proxy.memory());
    }
    let before = served.load(Relaxed);
    eventually("requests still go on", || served.load(Relaxed) > before + 100);
    is_over.store(true, Relaxed);
    load.into_iter().for_each(|client| client.join().expect("no request fails"));
    websockets.into_iter().enumerate().for_each(|(number, mut client)| echo(&mut client, number));
    assert_eq!(streams.join().expect("no stream breaks"), size.streams);
    assert!(total >= 100, "{total}");

    took.sort();
    let percentile = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    let (early, late) = (memory[memory.len() / 10], memory[memory.len() - 1]);
    println!(
        "{} edits with {} WebSockets, {} HTTP/2 streams and {} routes: {} requests, none failed; \
         from write to effect median {:?}, p99 {:?}, longest {:?}; memory {:.1} MB after a tenth, {:.1} MB at the end",
        size.edits,
        size.websockets,
        size.streams,
        size.routes,
        served.load(Relaxed),
        percentile(50),
        percentile(99),
        percentile(100),
        early as f64 / 1e6,
        late as f64 / 1e6,
    );
    if size.edits >= 500 {
        assert!(late as f64 <= early as f64 * 1.05, "memory is flat: {early}, then {late} bytes");
    }
}

/// A configuration whose `/probe` answers with the number of the edit. Each edit changes routes and upstreams, the
/// one that everything goes over only now and then.
fn text(origin: &Origin, size: &Size, edit: usize) -> String {
    let address = origin.address();
    let mut text = format!(
        "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\naccess = \"off\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nname = \"probe\"\npaths = [\"/probe\"]\nrespond = {{ status = 200, body = \"{edit}\" }}\n\
         [[route]]\nname = \"all\"\nupstream = \"u\"\nupgrade = [\"websocket\"]\n\
         [[upstream]]\nname = \"u\"\nbalance = \"least-response-time\"\nmax_idle = {}\n\
         backend = [{{ address = \"{address}\" }}]\n",
        // Every fifth edit builds the upstream anew that everything goes over.
        200 + edit / 5,
    );
    for number in 0..size.routes + edit % 3 {
        text += &format!(
            "[[route]]\nname = \"r{number}\"\nhosts = [\"h{number}.test\"]\nupstream = \"u{}\"\n",
            number % 7
        );
    }
    for number in 0..7 {
        let weight = 1 + (edit + number) % 4;
        text += &format!(
            "[[upstream]]\nname = \"u{number}\"\nbackend = [{{ address = \"{address}\", weight = {weight} }}, \
             {{ address = \"127.0.0.2:{}\" }}]\n",
            1 + edit % 2
        );
    }
    text
}

/// Echoes over upgraded connections, streams until the end, and answers.
fn origin(is_over: Arc<AtomicBool>) -> Origin {
    Origin::start(move |request| match request.target.as_str() {
        "/socket" => {
            let proof = pointsman::websocket::accept(request.header("sec-websocket-key").unwrap().as_bytes());
            Reply::Take(Box::new(move |connection| {
                connection.send(format!(
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                 sec-websocket-accept: {proof}\r\n\r\n",
                ));
                let mut bytes = [0; 64];
                while let Ok(length @ 1..) = std::io::Read::read(&mut connection.reader, &mut bytes) {
                    connection.send(&bytes[..length]);
                }
            }))
        }
        "/stream" => {
            let is_over = is_over.clone();
            Reply::Take(Box::new(move |connection| {
                connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                while !is_over.load(Relaxed) {
                    connection.send("1\r\nx\r\n");
                    std::thread::sleep(Duration::from_millis(200));
                }
                connection.send("3\r\nend\r\n0\r\n\r\n");
            }))
        }
        _ => Reply::Text(200, "answer".into()),
    })
}

fn websockets(proxy: &Proxy, count: usize) -> Vec<Client> {
    let upgrade =
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n";
    let open = |number| {
        let mut client = proxy.connect();
        assert_eq!(client.get_with("/socket", "test", upgrade).status, 101);
        echo(&mut client, number);
        client
    };
    (0..count).map(open).collect()
}

fn echo(client: &mut Client, number: usize) {
    let text = format!("number {number};");
    client.send(&text);
    assert_eq!(client.exactly(text.len()), text.as_bytes(), "the tunnel {number} is whole");
}

/// Streams over a few HTTP/2 connections; how many came to their own end.
fn streams(proxy: &Proxy, count: usize) -> JoinHandle<usize> {
    const PER_CONNECTION: usize = 50;
    let address = proxy.address("web");
    let (sender, begun) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut bodies = Vec::new();
            for first in (0..count).step_by(PER_CONNECTION) {
                let stream = tokio::net::TcpStream::connect(address).await.unwrap();
                let client = Http2::over(stream, &h2::client::Builder::new()).await;
                for _ in first..count.min(first + PER_CONNECTION) {
                    let response = client.ask(request("GET", "/stream")).await.unwrap();
                    assert_eq!(response.status(), 200);
                    bodies.push(response.into_body());
                }
            }
            sender.send(()).unwrap();
            let mut tasks = tokio::task::JoinSet::new();
            for mut body in bodies {
                tasks.spawn(async move {
                    let mut last = bytes::Bytes::new();
                    while let Some(data) = body.data().await {
                        last = data.unwrap();
                        body.flow_control().release_capacity(last.len()).unwrap();
                    }
                    assert!(last.ends_with(b"end"));
                });
            }
            tasks.join_all().await.len()
        })
    });
    begun.recv().expect("the streams begin");
    thread
}

/// Clients of which each request must be answered: over kept connections, and over a new one each.
fn load(proxy: &Proxy, is_over: Arc<AtomicBool>) -> (Vec<JoinHandle<()>>, Arc<AtomicUsize>) {
    let address = proxy.address("web");
    let served = Arc::new(AtomicUsize::new(0));
    let client = |is_kept: bool| {
        let (is_over, served) = (is_over.clone(), served.clone());
        std::thread::spawn(move || {
            let mut client = Client::connect(address);
            while !is_over.load(Relaxed) {
                if !is_kept {
                    client = Client::connect(address);
                }
                let response = client.get("/");
                assert_eq!((response.status, response.text().as_str()), (200, "answer"));
                served.fetch_add(1, Relaxed);
                // The machine is for the edits too.
                std::thread::sleep(Duration::from_millis(2));
            }
        })
    };
    ([true, true, false, false].map(client).into(), served)
}

/// The counter of the route that everything goes over.
fn requests_of_all(proxy: &Proxy) -> u64 {
    let metrics = Client::connect(proxy.address("admin")).get_with("/metrics", "localhost", "").text();
    let lines = metrics.lines().filter(|line| {
        line.starts_with("pointsman_requests_total{")
            && line.contains("route=\"all\"")
            && line.contains("code=\"200\"")
    });
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}
