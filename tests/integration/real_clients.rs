//! What clients that people have do at the edges: end their side early, and upload what is refused.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConnection, pki_types::ServerName};

use crate::support::{
    Client, Origin, PATIENCE, Proxy, Reply, eventually,
    proxy::{config, config_of},
    tls::{self, Manner},
    uninterrupted,
};

/// A backend that takes a moment to answer.
fn slow() -> Origin {
    Origin::start(|_| {
        std::thread::sleep(Duration::from_millis(300));
        Reply::Text(200, "slow".into())
    })
}

const REQUEST: &[u8] = b"GET /half HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_client_that_ended_its_side_gets_its_response() {
    let origin = slow();
    let options = format!("{}[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n", tls::SECURE);
    let text = config_of(&[origin.address().to_string()], &options, "");
    let proxy = Proxy::start_in(tls::folder(), &text);
    // As `nc -N` does.
    let mut plain = TcpStream::connect(proxy.address("plain")).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(REQUEST).unwrap();
    plain.shutdown(Shutdown::Write).unwrap();
    let mut response = String::new();
    plain.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("slow"), "{response}");
    // As `ncat --ssl` and `socat` do: TLS is ended, then TCP.
    let mut stream = TcpStream::connect(proxy.address("web")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let config = Manner { alpn: &["http/1.1"], ..Manner::default() }.config(proxy.folder());
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(Arc::clone(&config), name).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut stream).unwrap();
    }
    session.writer().write_all(REQUEST).unwrap();
    session.send_close_notify();
    while session.wants_write() {
        session.write_tls(&mut stream).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut response = Vec::new();
    while uninterrupted(|| session.read_tls(&mut stream)).unwrap() > 0 {
        session.process_new_packets().unwrap();
        let _ends_with_the_connection = session.reader().read_to_end(&mut response);
    }
    let response = String::from_utf8_lossy(&response);
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("slow"), "{response}");
}

#[test]
fn a_client_that_left_frees_its_backend_in_time() {
    let (sender, ended) = std::sync::mpsc::sync_channel(1);
    let origin = Origin::start(move |_| {
        let sender = sender.clone();
        Reply::Take(Box::new(move |connection| {
            let read = connection.reader.read(&mut [0; 1]);
            let _ = sender.send(matches!(read, Ok(0) | Err(_)));
        }))
    });
    let times = "[listener.timeouts]\nhalf_closed = \"300ms\"\n";
    let proxy = Proxy::start(&config_of(&[origin.address().to_string()], times, ""));
    let mut client = TcpStream::connect(proxy.address("web")).unwrap();
    client.write_all(REQUEST).unwrap();
    eventually("the backend has it", || !origin.requests().is_empty());
    let begun = Instant::now();
    drop(client);
    assert!(ended.recv_timeout(PATIENCE).unwrap(), "the backend sees the end");
    assert!(begun.elapsed() >= Duration::from_millis(250), "it might have waited");
    assert_eq!(proxy.logged("/half")["status"], 499);
}

#[test]
fn a_long_response_to_a_half_closed_client_is_whole() {
    let origin = Origin::start(|_| {
        Reply::Take(Box::new(|connection| {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 320\r\n\r\n");
            for _ in 0..32 {
                std::thread::sleep(Duration::from_millis(200));
                connection.send("0123456789");
            }
        }))
    });
    // All of it takes longer, and each piece much less, on a busy machine too.
    let times = "[listener.timeouts]\nhalf_closed = \"5s\"\n";
    let proxy = Proxy::start(&config_of(&[origin.address().to_string()], times, ""));
    let mut client = TcpStream::connect(proxy.address("web")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(REQUEST).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut response = String::new();
    client.read_to_string(&mut response).unwrap();
    assert!(response.ends_with(&"0123456789".repeat(32)), "{response}");
}

/// What a command says, both outputs; `None` where it is not installed.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new("timeout").arg("60").arg(program).args(arguments).output().unwrap();
    if output.status.code() == Some(127) {
        crate::support::skipped(program);
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const NODE: &str = r"
const [, , url, file, ca] = process.argv, fs = require('fs');
if (ca) {
  const client = require('http2').connect(url, { ca: fs.readFileSync(ca) });
  client.on('error', error => { console.log('failed', error.code); process.exit(); });
  const request = client.request({ ':method': 'POST', ':path': '/' });
  let status;
  request.on('response', head => { status = head[':status']; });
  request.on('error', error => { console.log('failed', error.code, status); });
  request.on('data', () => {});
  request.on('end', () => { console.log('status', status); });
  request.on('close', () => { client.close(); });
  fs.createReadStream(file).pipe(request);
} else {
  const request = require('http').request(url, { method: 'POST' }, response => {
    console.log('status', response.statusCode);
    response.resume();
    response.on('end', () => process.exit());
  });
  request.on('error', error => console.log('failed', error.code));
  fs.createReadStream(file).pipe(request);
}
";

#[test]
fn an_early_refusal_is_seen_by_who_uploads() {
    let origin = Origin::named("hello");
    // A client that is just started may take long to send what is not wanted.
    let limits = "[listener.limits]\nbody_bytes = \"1KiB\"\n[listener.linger]\ntime = \"1m\"\n";
    let plain = format!("[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n{limits}");
    let options = format!("{}{limits}{plain}", tls::SECURE);
    let proxy = Proxy::start_in(tls::folder(), &config_of(&[origin.address().to_string()], &options, ""));
    let (file, script) = (proxy.folder().join("upload"), proxy.folder().join("upload.js"));
    fs::write(&file, vec![b'x'; 20 << 20]).unwrap();
    fs::write(&script, NODE).unwrap();
    let (file, script) = (text(&file).to_owned(), text(&script).to_owned());
    let ca = text(&proxy.folder().join("ca.pem")).to_owned();
    let http = format!("http://127.0.0.1:{}/", proxy.address("plain").port());
    let https = format!("https://localhost:{}/", proxy.address("web").port());
    let resolve = format!("localhost:{}:127.0.0.1", proxy.address("web").port());
    let post = format!("--post-file={file}");
    let quiet = ["-sS", "-o", "/dev/null", "-w", "status %{http_code}"];
    for round in 0..3 {
        let curl = |more: &[&str]| said("curl", &[&quiet[..], more].concat());
        // Of known length, and chunked, whose length nobody knows before.
        for more in [
            &["-T", &file, &http][..],
            &[
                "-T",
                "-",
                &http,
                "--no-progress-meter",
                "-d",
                &format!("@{file}"),
                "-H",
                "Transfer-Encoding: chunked",
                "-X",
                "POST",
            ],
        ] {
            let Some(said) = curl(if more.len() > 3 { &more[2..] } else { more }) else { break };
            assert_eq!(said, "status 413", "curl, {round}");
        }
        let over_tls = ["--cacert", &ca, "--resolve", &resolve, "-T", &file, &https];
        for version in ["--http1.1", "--http2"] {
            let Some(said) = curl(&[&[version][..], &over_tls].concat()) else { break };
            assert_eq!(said, "status 413", "curl {version}, {round}");
        }
        if let Some(said) = said("wget", &["-S", "-O", "-", "--tries=1", &post, &http]) {
            assert!(said.contains("HTTP/1.1 413"), "wget, {round}: {said}");
        }
        if let Some(said) = said("node", &[&script, &http, &file]) {
            assert_eq!(said, "status 413\n", "node, {round}");
        }
        if let Some(said) = said("node", &[&script, &https, &file, &ca]) {
            assert_eq!(said, "status 413\n", "node over HTTP/2, {round}");
        }
    }
    assert!(origin.requests().is_empty());
    // A stream that was answered is not kept for ever.
    let mut client = Client::connect(proxy.address("plain"));
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nxx");
    assert_eq!(client.response("POST").status, 413);
}

#[test]
fn what_is_read_after_a_refusal_is_bounded() {
    let origin = Origin::named("hello");
    let options = "linger = { time = \"300ms\", bytes = \"1MiB\" }\nlimits = { body_bytes = \"1KiB\" }\n";
    let proxy = Proxy::start(&config(&[origin.address()], "").replacen("\n\n", &format!("\n{options}\n"), 1));
    let begun = Instant::now();
    let mut slow = Client::connect(proxy.address("web"));
    slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nxx");
    assert_eq!(slow.response("POST").status, 413);
    // Nothing more comes, and the connection is open no longer than said.
    let mut stream = TcpStream::connect(proxy.address("web")).unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000000\r\n\r\n").unwrap();
    let (mut sent, block) = (0_usize, vec![b'x'; 64 * 1024]);
    while sent < 64 << 20 {
        match stream.write(&block) {
            Ok(length) => sent += length,
            Err(_) => break,
        }
    }
    assert!(sent < 32 << 20, "{sent} bytes were taken");
    assert!(begun.elapsed() < PATIENCE / 2);
}
