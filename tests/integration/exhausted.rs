//! What is there only so often: descriptors, and places at the admin endpoint.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use crate::support::{
    Client, Origin, PATIENCE, Proxy, eventually,
    proxy::{config, folder},
    uninterrupted,
};

const DESCRIPTORS: usize = 96;

/// A proxy that may have so many descriptors, whose backend is ejected after one failure and checked often.
fn with_few_descriptors(origin: &Origin) -> Proxy {
    // No connection is kept: one that was made in a lucky moment would serve all that follow.
    let more = "max_idle = 0\n[upstream.outlier]\nconsecutive_failures = 1\nmax_ejected_percent = 100\n\
                [upstream.health_check]\nkind = \"tcp\"\ninterval = \"50ms\"\nfall = 1\n---\n\
                [admin]\naddress = \"127.0.0.1:0\"\n";
    let fixed = "[[route]]\nname = \"fixed\"\npaths = [\"/fixed\"]\nrespond = { status = 200 }\n[[route]]\n";
    let text = config(&[origin.address()], more).replacen("[[route]]\n", fixed, 1);
    let folder = folder();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {DESCRIPTORS} && exec \"$0\" run --config \"$1\"")]);
    command.arg(env!("CARGO_BIN_EXE_pointsman")).arg(folder.join("pointsman.toml"));
    Proxy::start_by(command, folder, &text)
}

fn descriptors(proxy: &Proxy) -> usize {
    fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count()
}

fn backend(proxy: &Proxy) -> serde_json::Value {
    let answer = Client::connect(proxy.address("admin")).get_with("/api/v1/upstreams/u", "localhost", "");
    let upstream: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    upstream["backends"][0].clone()
}

#[test]
fn running_out_of_descriptors_is_no_fault_of_a_backend() {
    let origin = Origin::named("one");
    let proxy = with_few_descriptors(&origin);
    eventually("the backend is known", || backend(&proxy)["why"] != "not checked yet");
    let mut first = proxy.connect();
    assert_eq!(first.get("/fixed").status, 200);
    // The queue of the kernel holds those that are not accepted.
    let held: Vec<TcpStream> = (0..DESCRIPTORS)
        .map(|_| {
            let mut stream = TcpStream::connect(proxy.address("web")).unwrap();
            stream.write_all(b"GET /fixed HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            stream
        })
        .collect();
    proxy.until_logged("cannot accept a connection", 1);
    let begun = Instant::now();
    let mut refused = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        let response = first.get("/");
        // A check of the backend may have had the descriptor that is there now and then.
        assert!([200, 503].contains(&response.status), "{}", response.text());
        refused += usize::from(response.status == 503);
        let health = Client::connect(proxy.address("admin")).get_with("/healthz", "localhost", "");
        assert_eq!(health.status, 200, "{} descriptors", descriptors(&proxy));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(refused > 0);
    let lines = proxy.count_logged("cannot accept a connection");
    assert!(lines as u64 <= 3 + begun.elapsed().as_secs(), "{lines} lines in {:?}", begun.elapsed());
    drop(held);
    eventually("it goes on", || proxy.get("/").status == 200);
    let backend = backend(&proxy);
    assert_eq!((&backend["state"], &backend["failures"]), (&"up".into(), &0.into()), "{backend}");
    assert_eq!(proxy.count_logged("backend is down") + proxy.count_logged("backend is ejected"), 0);
    assert!(proxy.access_log().iter().any(|line| line["error"] == "no_socket"));
}

fn idle(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
}

#[test]
fn idle_admin_connections_keep_nobody_from_asking() {
    let origin = Origin::named("one");
    let proxy = Proxy::start(&config(&[origin.address()], "[admin]\naddress = \"127.0.0.1:0\"\n"));
    let admin = proxy.address("admin");
    let begun = Instant::now();
    let mut silent = idle(admin, 300);
    // As many do not take what they asked for, and as many say something bit by bit.
    let mut slow = idle(admin, 100);
    for stream in &mut slow {
        let _ =
            stream.write_all(b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(Client::connect(admin).get_with(path, "localhost", "").status, 200, "{path}");
    }
    // The first of those who say nothing left for those who came later.
    let mut oldest = silent.remove(0);
    oldest.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(uninterrupted(|| oldest.read(&mut [0])).unwrap(), 0);
    // Those who say nothing would have to leave after ten.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    drop((silent, slow));
    eventually("others are answered again", || {
        Client::connect(admin).get_with("/api/v1/status", "localhost", "").status == 200
    });
}
