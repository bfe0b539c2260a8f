//! How much later those are served who waited for another's fetch. `cargo bench --bench collapse [-- CLIENTS]`. Prints,
//! and judges nothing: clients, proxy and origin share the machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a program of one file that may stop"
)]

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::Notify,
};

/// What the origin answers with, in two pieces that it waits before.
#[derive(Clone, Default)]
struct Gates {
    asked: Arc<AtomicUsize>,
    head: Arc<Notify>,
    rest: Arc<Notify>,
}

/// When a client had the first byte and the last one, and whether it led.
struct Served {
    first: Instant,
    last: Instant,
    is_leader: bool,
}

fn main() {
    let clients = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(10_000);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let (address, gates) = origin().await;
        let proxy = Proxy::start(address);
        println!("one key, nothing stored, 2 workers; times from the release of the origin, in ms");
        println!(
            "{:>8} {:>8} {:>12} {:>12} {:>12} {:>12}",
            "clients", "fetches", "leader", "median", "p99", "last"
        );
        let mut key = 0;
        for (clients, rounds) in [(200, 20), (clients, 3)] {
            for _ in 0..rounds {
                key += 1;
                round(&proxy, &gates, clients, &format!("/whole/{key}")).await;
            }
        }
        println!("the same with a body that comes in two pieces: first bytes, from the first piece's");
        for _ in 0..5 {
            key += 1;
            stream(&proxy, &gates, 200, &format!("/pieces/{key}")).await;
        }
    });
}

async fn round(proxy: &Proxy, gates: &Gates, clients: usize, target: &str) {
    let before = gates.asked.load(SeqCst);
    let asking = ask(proxy, clients, target).await;
    let released = Instant::now();
    gates.head.notify_one();
    gates.rest.notify_one();
    let served = join(asking).await;
    let millis = |at: Instant| at.duration_since(released).as_secs_f64() * 1e3;
    let mut last: Vec<f64> = served.iter().map(|it| millis(it.last)).collect();
    last.sort_by(f64::total_cmp);
    let leader = served.iter().find(|it| it.is_leader).map_or(f64::NAN, |it| millis(it.last));
    let fetches = gates.asked.load(SeqCst) - before;
    print(clients, fetches, leader, &last);
}

async fn stream(proxy: &Proxy, gates: &Gates, clients: usize, target: &str) {
    let before = gates.asked.load(SeqCst);
    let asking = ask(proxy, clients, target).await;
    let released = Instant::now();
    gates.head.notify_one();
    tokio::time::sleep(Duration::from_millis(200)).await;
    gates.rest.notify_one();
    let served = join(asking).await;
    let millis = |at: Instant| at.duration_since(released).as_secs_f64() * 1e3;
    let mut first: Vec<f64> = served.iter().map(|it| millis(it.first)).collect();
    first.sort_by(f64::total_cmp);
    let leader = served.iter().find(|it| it.is_leader).map_or(f64::NAN, |it| millis(it.first));
    print(clients, gates.asked.load(SeqCst) - before, leader, &first);
}

fn print(clients: usize, fetches: usize, leader: f64, times: &[f64]) {
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    let last = times[times.len() - 1];
    println!("{clients:>8} {fetches:>8} {leader:>12.2} {:>12.2} {:>12.2} {last:>12.2}", at(50), at(99));
}

type Asking = Vec<tokio::task::JoinHandle<Served>>;

/// Asks from connections of their own, and returns when all of them wait.
async fn ask(proxy: &Proxy, clients: usize, target: &str) -> Asking {
    let mut asking = Vec::with_capacity(clients);
    for _ in 0..clients {
        let mut stream = TcpStream::connect(proxy.web).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        asking.push(tokio::task::spawn_local(read(stream)));
    }
    while proxy.readers().await < clients {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    asking
}

async fn join(asking: Asking) -> Vec<Served> {
    let mut served = Vec::with_capacity(asking.len());
    for one in asking {
        served.push(one.await.unwrap());
    }
    served
}

async fn read(mut stream: TcpStream) -> Served {
    let mut bytes = Vec::with_capacity(1024);
    let mut first = None;
    while stream.read_buf(&mut bytes).await.unwrap() > 0 {
        first.get_or_insert_with(Instant::now);
    }
    let last = Instant::now();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("worldworld"), "{text}");
    Served { first: first.unwrap(), last, is_leader: !text.contains("collapsed") }
}

async fn origin() -> (SocketAddr, Gates) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gates = Gates::default();
    let own = gates.clone();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::task::spawn_local(answer(stream, own.clone()));
        }
    });
    (address, gates)
}

async fn answer(mut stream: TcpStream, gates: Gates) {
    let mut request = Vec::new();
    loop {
        request.clear();
        while !request.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
        }
        gates.asked.fetch_add(1, SeqCst);
        gates.head.notified().await;
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nCache-Control: max-age=600\r\n\r\nhellohello";
        stream.write_all(head.as_bytes()).await.unwrap();
        gates.rest.notified().await;
        stream.write_all(b"worldworld").await.unwrap();
    }
}

/// The proxy; it ends with this.
struct Proxy {
    child: Child,
    web: SocketAddr,
    admin: SocketAddr,
}

impl Proxy {
    fn start(origin: SocketAddr) -> Self {
        let folder = std::env::temp_dir().join(format!("pointsman-collapse-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("pointsman.toml");
        let text = format!(
            "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\naccess = \"off\"\n\
             [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nmax_connections = 20000\n\
             [[route]]\nname = \"all\"\nupstream = \"u\"\ncache = \"pages\"\n\
             [[upstream]]\nname = \"u\"\nresponse_timeout = \"120s\"\n[[upstream.backend]]\naddress = \"{origin}\"\n\
             [[cache]]\nname = \"pages\"\n[cache.collapse]\ntimeout = \"120s\"\n\
             [admin]\naddress = \"127.0.0.1:0\"\ntoken_file = \"token\"\n"
        );
        std::fs::write(folder.join("token"), "s3cret").unwrap();
        std::fs::File::create(&file).unwrap().write_all(text.as_bytes()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(["run", "--config"])
            .arg(&file)
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = |name: &str| loop {
            let line = lines.next().unwrap().unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).expect(&line);
            if line["message"] == name {
                return line["address"].as_str().unwrap().parse().unwrap();
            }
        };
        let (web, admin) = (address("listening"), address("admin listening"));
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, web, admin }
    }

    async fn readers(&self) -> usize {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request =
            "GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cret\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().find(|line| line.starts_with("pointsman_cache_fill_readers")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
