//! Unix sockets on either side.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::FileTypeExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use crate::support::{
    InTime, Origin, PATIENCE, Proxy,
    proxy::{config_of, folder},
};

/// Sends a GET and gives the response, which ends the connection.
fn get(path: &Path, target: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// The listener `web` on a unix socket instead of a port.
fn on_socket(config: &str, path: &Path) -> String {
    config.replacen("127.0.0.1:0", &format!("unix:{}", path.display()), 1)
}

/// A backend at a unix socket that keeps the heads it gets; it is gone with the test.
fn backend(path: &PathBuf) -> Arc<Mutex<Vec<String>>> {
    let listener = UnixListener::bind(path).unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = heads.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let kept = kept.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let mut head = String::new();
                while reader.read_line(&mut head).unwrap_or(0) > 0 {
                    if head.ends_with("\r\n\r\n") {
                        kept.lock().unwrap().push(std::mem::take(&mut head));
                        let _ =
                            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsocket");
                    }
                }
            });
        }
    });
    heads
}

#[test]
fn a_listener_on_a_socket_serves_clients_without_address() {
    let origin = Origin::named("hello");
    let folder = folder();
    let path = folder.join("web.sock");
    // Left behind by a run that was killed.
    drop(UnixListener::bind(&path).unwrap());
    let options =
        "trusted_proxies = [\"127.0.0.0/8\", \"0.0.0.0/8\"]\nproxy_protocol_from = [\"0.0.0.0/0\"]\n";
    let proxy =
        Proxy::start_in(folder, &on_socket(&config_of(&[origin.address().to_string()], options, ""), &path));
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    for number in 0..20 {
        let response = get(&path, &format!("/{number}"));
        assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("hello"), "{response}");
    }
    assert_eq!(origin.requests().len(), 20);
    let request = origin.last();
    assert_ne!(request.header("x-forwarded-for"), Some("0.0.0.0"), "no address is made up");
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
    assert_eq!(proxy.logged("/0")["client"], "unix");
}

#[test]
fn a_socket_in_use_is_not_taken_away() {
    let origin = Origin::named("hello");
    let folder = folder();
    let path = folder.join("web.sock");
    let config = on_socket(&config_of(&[origin.address().to_string()], "", ""), &path);
    let _proxy = Proxy::start_in(folder.clone(), &config);
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["run", "--config"])
        .arg(folder.join("pointsman.toml"))
        .in_time()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(get(&path, "/").ends_with("hello"), "the first goes on");
}

#[test]
fn a_backend_at_a_socket_keeps_its_connections() {
    let folder = folder();
    let path = folder.join("app.sock");
    let heads = backend(&path);
    let proxy = Proxy::start_in(folder, &config_of(&[format!("unix:{}", path.display())], "", ""));
    let mut client = proxy.connect();
    for _ in 0..10 {
        assert_eq!(client.get("/kept").text(), "socket");
    }
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 10);
    let head = heads[0].to_ascii_lowercase();
    assert!(head.contains("\r\nhost: test\r\n"), "{head}");
    assert!(head.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"), "{head}");
    assert!(!head.contains("app.sock"), "{head}");
}

#[test]
fn a_backend_with_a_missing_socket_fails_and_recovers() {
    let folder = folder();
    let path = folder.join("app.sock");
    let more = "---\n[upstream.outlier]\nconsecutive_failures = 100000\nfailure_percent = 0\n";
    let proxy = Proxy::start_in(folder, &config_of(&[format!("unix:{}", path.display())], "", more));
    assert_eq!(proxy.get("/nobody").status, 502);
    let _heads = backend(&path);
    assert_eq!(proxy.get("/there").text(), "socket");
}
