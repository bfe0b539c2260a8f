//! Who may use the admin endpoint of this machine: its owner, by a socket or by a token that is in the owner's file.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::PathBuf,
    process::Command,
};

use crate::{
    cli::{pointsman, pointsman_with},
    support::{Client, Origin, Proxy, proxy::config},
};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// What a connection of somebody who knows no token is answered.
fn stranger(proxy: &Proxy, head: &str) -> String {
    let mut stream = TcpStream::connect(proxy.address("admin")).unwrap();
    stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn token_file(proxy: &Proxy) -> PathBuf {
    let lines = proxy.log();
    let mut lines = lines.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.find_map(|line| Some(line["token_file"].as_str()?.into())).unwrap()
}

#[test]
fn loopback_alone_lets_nobody_in() {
    let origin = Origin::named("one");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    for head in [
        "GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1",
        "GET /api/v1/config HTTP/1.1\r\nHost: localhost",
        "GET /metrics HTTP/1.0",
        "PUT /api/v1/config HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0",
        "POST /api/v1/upgrade HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0",
        "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x",
    ] {
        let answer = stranger(&proxy, head);
        assert!(answer.contains(" 401 ") && answer.contains("token"), "{head}: {answer}");
    }
    for open in ["/healthz", "/readyz", "/"] {
        assert!(stranger(&proxy, &format!("GET {open} HTTP/1.1\r\nHost: a")).contains(" 200 "), "{open}");
    }
}

#[test]
fn a_made_token_is_its_owners_and_found() {
    let origin = Origin::named("one");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    let file = token_file(&proxy);
    let about = fs::metadata(&file).unwrap();
    assert_eq!((about.mode() & 0o777, about.uid()), (0o600, fs::metadata("/proc/self").unwrap().uid()));
    let token = fs::read_to_string(&file).unwrap();
    assert!(proxy.log().iter().all(|line| !line.contains(token.trim())), "the log has the token");
    // The client of these tests reads that file.
    let mut client = Client::connect(proxy.address("admin"));
    assert_eq!(client.get_with("/api/v1/status", "any.test", "").status, 200);
    let admin = format!("http://{}", proxy.address("admin"));
    let ended = pointsman(&["status", "--admin", &admin]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let root = std::path::Path::new("/");
    let ended = pointsman_with(root, &[("POINTSMAN_TOKEN", "another")], &["status", "--admin", &admin]);
    assert_eq!(ended.status, Some(1), "{ended:?}");
}

#[test]
fn another_account_neither_reads_the_token_nor_asks() {
    let origin = Origin::named("one");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(arguments).env_clear();
        command.env("PATH", "/usr/bin:/bin").current_dir("/").output()
    };
    if !as_nobody(&["true"]).is_ok_and(|output| output.status.success()) {
        return crate::support::skipped("setpriv, as root");
    }
    let file = token_file(&proxy);
    assert!(!as_nobody(&["cat", file.to_str().unwrap()]).unwrap().status.success());
    // The program itself may not be where that account can run it.
    let program = PathBuf::from(format!("/tmp/pointsman-as-nobody-{}", std::process::id()));
    // By another program: a child that some other test starts meanwhile would hold open what is written here, and
    // what is open for writing cannot be run.
    let mut copy = Command::new("cp");
    assert!(copy.arg(env!("CARGO_BIN_EXE_pointsman")).arg(&program).status().unwrap().success());
    let admin = format!("http://{}", proxy.address("admin"));
    let output = as_nobody(&[program.to_str().unwrap(), "status", "--admin", &admin]);
    fs::remove_file(&program).unwrap();
    let output = output.unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("needs its token"), "{error}");
}

#[test]
fn a_socket_of_mode_0600_needs_no_token() {
    let origin = Origin::named("one");
    let folder = crate::support::proxy::folder();
    let socket = folder.join("made/admin.sock");
    let admin = format!("[admin]\naddress = \"unix:{}\"\n", socket.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(["run", "--config"]).arg(folder.join("pointsman.toml"));
    let _proxy = Proxy::start_by(command, folder, &config(&[origin.address()], &admin));
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_token_of_metrics_is_for_metrics_alone() {
    let origin = Origin::named("one");
    let folder = crate::support::proxy::folder();
    fs::write(folder.join("scraper"), "m3trics\n").unwrap();
    let text = config(&[origin.address()], &format!("{ADMIN}[admin.metrics]\ntoken_file = \"scraper\"\n"));
    let proxy = Proxy::start_in(folder.clone(), &text.replace("[admin.metrics]\n", "\n[admin.metrics]\n"));
    let status = |method: &str, path: &str| {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nAuthorization: Bearer m3trics"
        );
        stranger(&proxy, &head).split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status("GET", "/metrics"), "200");
    for (method, path) in [
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/config"),
        ("POST", "/api/v1/reload"),
        ("PUT", "/api/v1/config"),
        ("GET", "/nothing"),
    ] {
        assert_eq!(status(method, path), "401", "{method} {path}");
    }
    // Another token is in force without a word in the configuration.
    fs::write(folder.join("scraper"), "another\n").unwrap();
    crate::support::eventually("the old one is refused", || status("GET", "/metrics") == "401");
}

/// The last address at which metrics are served, once so many were named.
fn metrics_address(proxy: &Proxy, times: usize) -> String {
    proxy.until_logged("\"metrics listening\"", times);
    let lines = proxy.log();
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of_metrics = lines.rev().find(|line| line["message"] == "metrics listening").unwrap();
    of_metrics["address"].as_str().unwrap().to_owned()
}

/// What is answered at an address to a request without a body; empty where nobody listens.
fn asked(address: &str, method: &str, path: &str, fields: &str) -> String {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
    let mut answer = String::new();
    let mut talk = |stream: &mut dyn ReadWrite| {
        // A listener that goes may reset what it accepted: that is no answer.
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.read_to_string(&mut answer);
    };
    match address.strip_prefix("unix:") {
        Some(path) => {
            let Ok(mut stream) = UnixStream::connect(path) else { return answer };
            talk(&mut stream);
        }
        None => {
            let Ok(mut stream) = TcpStream::connect(address) else { return answer };
            talk(&mut stream);
        }
    }
    answer
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn with_metrics(origin: &Origin, keys: &str) -> String {
    config(&[origin.address()], &format!("{ADMIN}\n[admin.metrics]\n{keys}\n"))
}

#[test]
fn metrics_have_an_address_where_nothing_else_is() {
    let origin = Origin::named("one");
    let proxy = Proxy::start(&with_metrics(&origin, "address = \"127.0.0.1:0\""));
    let metrics = metrics_address(&proxy, 1);
    let numbers = asked(&metrics, "GET", "/metrics", "");
    assert!(numbers.starts_with("HTTP/1.1 200 ") && numbers.contains("\npointsman_"), "{numbers}");
    for path in ["/healthz", "/readyz"] {
        assert!(asked(&metrics, "GET", path, "").starts_with("HTTP/1.1 200 "), "{path}");
    }
    assert!(asked(&metrics, "HEAD", "/metrics", "").starts_with("HTTP/1.1 200 "));
    let token = fs::read_to_string(token_file(&proxy)).unwrap();
    let fields = format!("Authorization: Bearer {}\r\nContent-Length: 0\r\n", token.trim());
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/api/v1"),
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/config"),
        ("PUT", "/api/v1/config"),
        ("POST", "/api/v1/reload"),
        ("POST", "/api/v1/upgrade"),
        ("GET", "/metrics/"),
        ("GET", "/nothing"),
    ] {
        let answer = asked(&metrics, method, path, &fields);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{method} {path}: {answer}");
    }
    assert!(asked(&metrics, "POST", "/metrics", &fields).starts_with("HTTP/1.1 405 "));
    // The other address is as it was.
    let admin = proxy.address("admin").to_string();
    assert!(asked(&admin, "GET", "/metrics", "").starts_with("HTTP/1.1 401 "));
    assert!(asked(&admin, "GET", "/api/v1/status", &fields).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_reload_moves_the_address_of_metrics_alone() {
    let origin = Origin::named("one");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    let admin = proxy.address("admin").to_string();
    // A connection to the other address that is there before, and goes on to the end.
    let mut kept = Client::connect(proxy.address("admin"));
    let mut is_untouched = move || kept.get_with("/api/v1/status", "any.test", "").status == 200;
    assert!(is_untouched());
    let works = |address: &str| asked(address, "GET", "/metrics", "").starts_with("HTTP/1.1 200 ");
    proxy.edit(&with_metrics(&origin, "address = \"127.0.0.1:0\""));
    let first = metrics_address(&proxy, 1);
    crate::support::eventually("it was added", || works(&first));
    let socket = format!("unix:{}", proxy.folder().join("metrics.sock").display());
    proxy.edit(&with_metrics(&origin, &format!("address = \"{socket}\"")));
    assert_eq!(metrics_address(&proxy, 2), socket);
    crate::support::eventually("it moved", || {
        works(&socket) && asked(&first, "GET", "/metrics", "").is_empty()
    });
    assert!(is_untouched());
    // A token is asked for from here on, at the same socket.
    fs::write(proxy.folder().join("scraper"), "m3trics\n").unwrap();
    proxy.edit(&with_metrics(&origin, &format!("address = \"{socket}\"\ntoken_file = \"scraper\"")));
    let token = "Authorization: Bearer m3trics\r\n";
    // The listener before may reset what it had accepted: that is no answer.
    crate::support::eventually("a token is asked for", || {
        asked(&socket, "GET", "/metrics", "").starts_with("HTTP/1.1 401 ")
    });
    assert!(asked(&socket, "GET", "/metrics", token).starts_with("HTTP/1.1 200 "));
    assert!(asked(&socket, "GET", "/healthz", "").starts_with("HTTP/1.1 200 "));
    proxy.edit(&config(&[origin.address()], ADMIN));
    crate::support::eventually("it was removed", || asked(&socket, "GET", "/metrics", token).is_empty());
    assert!(!proxy.folder().join("metrics.sock").exists());
    assert!(is_untouched());
    assert!(asked(&admin, "GET", "/metrics", "").starts_with("HTTP/1.1 401 "));
    assert_eq!(proxy.count_logged("\"admin listening\""), 1);
}

#[test]
fn an_upgrade_hands_the_address_of_metrics_over() {
    let origin = Origin::named("one");
    let proxy = Proxy::start(&with_metrics(&origin, "address = \"127.0.0.1:0\""));
    let metrics = metrics_address(&proxy, 1);
    proxy.signal("USR2");
    proxy.until_upgraded(1);
    assert_eq!(metrics_address(&proxy, 2), metrics);
    // The program before may be the one that accepts, and is about to end.
    crate::support::eventually("it is served", || {
        asked(&metrics, "GET", "/metrics", "").starts_with("HTTP/1.1 200 ")
    });
}
