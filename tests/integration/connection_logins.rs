//! Backends that log a connection in, as NTLM does: what it may say is its own client's, and no other's.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use crate::{
    cache_writes::{back, write},
    collapse::cached,
    support::{
        Proxy, eventually,
        proxy::{config, folder},
    },
};

/// A backend that logs its connections in: `Authorization: NTLM name` makes the connection that name's, and what comes
/// over it later too. Without a login it asks for one, if it is to. `NTLM finish` is a login only over a connection over
/// which `NTLM begin` came, which is answered as none is.
struct Backend {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
}

impl Backend {
    fn start(scheme: &'static str, asks: bool) -> Self {
        Self::saying(scheme, asks, "")
    }

    /// One that says this, beside the name, to whom it knows.
    fn saying(scheme: &'static str, asks: bool, fields: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, open) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = open.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let count = count.clone();
                count.fetch_add(1, SeqCst);
                std::thread::spawn(move || {
                    let _ = serve(&stream.unwrap(), scheme, asks, fields);
                    count.fetch_sub(1, SeqCst);
                });
            }
        });
        Self { address, open }
    }
}

fn serve(stream: &TcpStream, scheme: &str, asks: bool, fields: &str) -> std::io::Result<()> {
    let mut out = stream;
    let mut lines = BufReader::new(stream).lines();
    let mut name: Option<String> = None;
    let mut has_begun = false;
    loop {
        let mut login = None;
        loop {
            let Some(line) = lines.next().transpose()? else { return Ok(()) };
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("authorization: ") {
                login = value.split_once(' ').map(|(_, name)| name.to_owned());
            }
        }
        has_begun |= login.as_deref() == Some("begin");
        name = login.filter(|login| login != "begin" && (has_begun || login != "finish")).or(name);
        let (status, more, body) = match &name {
            Some(name) => ("200 OK", fields.to_owned(), name.as_str()),
            None if asks => ("401 Unauthorized", format!("WWW-Authenticate: Basic, {scheme}\r\n"), "who?"),
            None => ("200 OK", String::new(), "nobody"),
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\n\r\n{body}");
        out.write_all(answer.as_bytes())?;
    }
}

fn get(client: &mut crate::support::Client, login: &str) -> String {
    let fields = if login.is_empty() { String::new() } else { format!("Authorization: {login}\r\n") };
    client.get_with("/", "a", &fields).text()
}

#[test]
fn a_login_of_a_connection_is_its_clients_alone() {
    for (scheme, asks) in [("NTLM", true), ("Negotiate", true), ("negotiate", false), ("ntlm", false)] {
        let backend = Backend::start(scheme, asks);
        let proxy = Proxy::start(&config(&[backend.address], "").replace("workers = 2", "workers = 1"));
        let stranger = if asks { "who?" } else { "nobody" };
        let (mut alice, mut bob, mut carol) = (proxy.connect(), proxy.connect(), proxy.connect());
        assert_eq!(get(&mut alice, ""), stranger);
        assert_eq!(get(&mut alice, &format!("{scheme} alice")), "alice");
        assert_eq!(get(&mut bob, ""), stranger, "{scheme}: the connection is not another's");
        assert_eq!(get(&mut alice, ""), "alice", "{scheme}: and stays who it was");
        assert_eq!(get(&mut bob, &format!("{scheme} bob")), "bob");
        assert_eq!(get(&mut alice, ""), "alice");
        assert_eq!(get(&mut bob, ""), "bob");
        drop(alice);
        assert_eq!(get(&mut carol, ""), stranger);
        drop((bob, carol));
        eventually("no connection with a login outlives its client", || {
            backend.open.load(SeqCst) <= usize::from(!asks)
        });
    }
}

#[test]
fn a_login_in_steps_comes_through_behind_pages() {
    let backend = Backend::start("NTLM", true);
    let folder = folder();
    std::fs::write(folder.join("refused.txt"), "refused").unwrap();
    let pages = "upstream = \"u\"\nintercept_errors = true\nerror_pages = { 4xx = \"refused.txt\" }\n";
    let text = config(&[backend.address], "").replace("upstream = \"u\"\n", pages);
    let proxy = Proxy::start_in(folder, &text.replace("workers = 2", "workers = 1"));
    let mut alice = proxy.connect();
    for (login, expected) in [("", "refused"), ("NTLM begin", "refused"), ("NTLM finish", "finish")] {
        assert_eq!(get(&mut alice, login), expected, "{login}");
    }
    assert_eq!(get(&mut alice, ""), "finish");
    assert_eq!(get(&mut proxy.connect(), ""), "refused");
}

#[test]
fn other_logins_leave_their_connection_shared() {
    let backend = Backend::start("Basic", false);
    let proxy = Proxy::start(&config(&[backend.address], "").replace("workers = 2", "workers = 1"));
    let (mut first, mut second) = (proxy.connect(), proxy.connect());
    assert_eq!(get(&mut first, "Bearer x"), "x");
    get(&mut second, "");
    assert_eq!(backend.open.load(SeqCst), 1, "one connection served both");
}

#[test]
fn a_login_over_http2_is_of_one_request() {
    let backend = Backend::start("NTLM", true);
    let proxy = Proxy::start(&config(&[backend.address], "").replace("workers = 2", "workers = 1"));
    let ask = |login: &str| {
        let mut command = std::process::Command::new("curl");
        command.args(["-s", "--http2-prior-knowledge"]);
        if !login.is_empty() {
            command.arg("-H").arg(format!("Authorization: {login}"));
        }
        let output = command.arg(format!("http://{}/", proxy.address("web"))).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ask("NTLM alice"), "alice");
    assert_eq!(ask(""), "who?");
}

#[test]
fn a_login_before_a_cache_is_its_clients_alone() {
    let backend = Backend::saying("NTLM", true, SAVED);
    let text = config(&[backend.address], "[[cache]]\nname = \"c\"\nmemory = \"1MiB\"\n")
        .replace("upstream = \"u\"\n", "upstream = \"u\"\ncache = \"c\"\n");
    let proxy = Proxy::start(&text.replace("workers = 2", "workers = 1"));
    let (mut alice, mut bob) = (proxy.connect(), proxy.connect());
    assert_eq!(get(&mut alice, "NTLM alice"), "alice");
    assert_eq!(get(&mut bob, ""), "who?");
    assert_eq!(get(&mut alice, "NTLM alice"), "alice");
    // She says it once.
    for fields in ["Cookie: a=1\r\n", "", "Range: bytes=0-1\r\n"] {
        assert_eq!(alice.get_with("/", "a", fields).text(), "alice", "{fields}");
        assert_eq!(get(&mut bob, ""), "who?", "{fields}");
        assert_eq!(bob.get_with("/", "a", fields).text(), "who?", "{fields}");
    }
}

#[test]
fn writes_of_a_login_are_for_its_backend_to_take() {
    let journal = folder();
    for policy in ["back", "through"] {
        let backend = Backend::saying("NTLM", true, SAVED);
        let text = match policy {
            "back" => back(&journal, backend.address, ""),
            _ => cached(&[backend.address], "write_policy = \"through\""),
        };
        let proxy = Proxy::start(&text.replace("workers = 2", "workers = 1"));
        let (mut alice, mut bob) = (proxy.connect(), proxy.connect());
        assert_eq!(alice.get_with("/", "test", "Authorization: NTLM alice\r\n").text(), "alice");
        let response = write(&mut alice, "PUT", "/", "", "x");
        assert_eq!((response.status, response.text().as_str()), (200, "alice"), "{policy}");
        assert_eq!(bob.get("/").text(), "who?", "{policy}");
    }
    let _ = std::fs::remove_dir_all(journal);
}

#[test]
fn a_login_does_not_outlive_a_reload_to_tls() {
    let backend = Backend::start("NTLM", true);
    let text = |tls: &str| config(&[backend.address], tls).replace("workers = 2", "workers = 1");
    let proxy = Proxy::start(&text(""));
    let mut alice = proxy.connect();
    assert_eq!(get(&mut alice, "NTLM alice"), "alice");
    proxy.edit(&text("[upstream.tls]\nverify = false\n"));
    proxy.until_logged("configuration in force", 1);
    // The backend speaks none.
    assert_eq!(alice.get_with("/", "a", "").status, 502);
}

/// What lets a cache keep an answer, of a write too.
const SAVED: &str = "ETag: \"1\"\r\nCache-Control: max-age=60\r\n";
