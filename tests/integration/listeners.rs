//! Where listeners accept: several addresses, both families at one port, and the files of unix sockets.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use crate::support::{
    Client, Origin, PATIENCE, Proxy, eventually,
    proxy::{config, config_of, folder},
};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// Where a listener accepts, by the lines of the log so far.
fn listening(proxy: &Proxy, name: &str) -> Vec<SocketAddr> {
    let lines = proxy.log();
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of_listener = |line: &serde_json::Value| line["message"] == "listening" && line["listener"] == name;
    lines.filter(of_listener).map(|line| line["address"].as_str().unwrap().parse().unwrap()).collect()
}

fn ask(address: SocketAddr) -> String {
    Client::connect(address).get("/").text()
}

/// The same where a listener may be closed: who waits there is reset, and has no answer.
fn ask_while_it_changes(address: SocketAddr) -> String {
    let mut client = Client::connect(address);
    match client.try_send("GET / HTTP/1.1\r\nHost: test\r\n\r\n") {
        Ok(()) => client.response("GET").text(),
        Err(_) => String::new(),
    }
}

fn status(proxy: &Proxy) -> serde_json::Value {
    let text = Client::connect(proxy.address("admin")).get_with("/api/v1/status", "localhost", "").text();
    serde_json::from_str(&text).unwrap()
}

/// A listener that answers its name.
fn named(name: &str, address: &str) -> String {
    format!(
        "[[listener]]\nname = \"{name}\"\naddress = {address}\n[[route]]\nname = \"{name}\"\nlisteners = [\"{name}\"]\n\
         respond = {{ status = 200, body = \"{name}\" }}\n"
    )
}

const JSON: &str = "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\n";

#[test]
fn both_families_have_a_listener_each_at_one_port() {
    let port = crate::support::free().port();
    let (four, six) =
        (named("four", &format!("\"0.0.0.0:{port}\"")), named("six", &format!("\"[::]:{port}\"")));
    let at = |host: &str| format!("{host}:{port}").parse::<SocketAddr>().unwrap();
    for tables in [format!("{four}{six}"), format!("{six}{four}")] {
        let _proxy = Proxy::start(&format!("{JSON}{tables}"));
        for _ in 0..20 {
            assert_eq!((ask(at("127.0.0.1")), ask(at("[::1]"))), ("four".to_owned(), "six".to_owned()));
        }
    }
    // Alone it has both; an edit adds and takes away the other.
    let proxy = Proxy::start(&format!("{JSON}{six}"));
    assert_eq!((&*ask(at("127.0.0.1")), &*ask(at("[::1]"))), ("six", "six"));
    proxy.edit(&format!("{JSON}{six}{four}"));
    eventually("the nearer listener answers", || ask_while_it_changes(at("127.0.0.1")) == "four");
    assert_eq!(ask(at("[::1]")), "six");
    proxy.edit(&format!("{JSON}{six}"));
    eventually("the other takes over", || ask_while_it_changes(at("127.0.0.1")) == "six");
}

#[test]
fn a_listener_with_several_addresses_is_one_listener() {
    let origin = Origin::named("one");
    let text = config(&[origin.address()], ADMIN).replacen(
        "\"127.0.0.1:0\"",
        "[\"127.0.0.1:0\", \"127.0.0.2:0\", \"[::1]:0\"]",
        1,
    );
    let proxy = Proxy::start(&text);
    let addresses = listening(&proxy, "web");
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    for address in &addresses {
        assert_eq!(ask(*address), "one");
    }
    let listeners = &status(&proxy)["listeners"];
    let listeners = listeners.as_array().unwrap();
    assert_eq!(listeners.len(), 1);
    let listed: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!(listeners[0]["address"], listed.join(", "));
    assert_eq!(listeners[0]["accepted"], 3);
    let metrics = Client::connect(proxy.address("admin")).get_with("/metrics", "localhost", "").text();
    let accepted = metrics.lines().filter(|it| it.starts_with("pointsman_connections_accepted_total{"));
    let accepted: Vec<&str> = accepted.collect();
    assert!(accepted.len() == 1 && accepted[0].ends_with(" 3"), "{accepted:?}");
}

#[test]
fn an_address_more_or_less_leaves_connections_alone() {
    let origin = Origin::named("one");
    let [first, second] = [crate::support::free().port(), crate::support::free().port()];
    let text = |addresses: &str| config(&[origin.address()], "").replacen("\"127.0.0.1:0\"", addresses, 1);
    let (one, other) = (format!("\"127.0.0.1:{first}\""), format!("\"127.0.0.1:{second}\""));
    let proxy = Proxy::start(&text(&format!("[{one}]")));
    let mut kept = proxy.connect();
    assert_eq!(kept.get("/").text(), "one");
    let second: SocketAddr = format!("127.0.0.1:{second}").parse().unwrap();
    assert!(TcpStream::connect(second).is_err());
    proxy.edit(&text(&format!("[{one}, {other}]")));
    eventually("the second address is there", || TcpStream::connect(second).is_ok());
    assert_eq!(kept.get("/").text(), "one", "the connection of the first goes on");
    assert_eq!(ask(second), "one");
    proxy.edit(&text(&one));
    eventually("the second address is gone", || TcpStream::connect(second).is_err());
    assert_eq!(kept.get("/").text(), "one");
    assert_eq!(listening(&proxy, "web").len(), 2, "no socket was bound anew");
}

#[test]
fn all_addresses_of_a_listener_go_to_the_next_program() {
    let origin = Origin::named("one");
    let folder = folder();
    let path = folder.join("web.sock");
    let text = config(&[origin.address()], ADMIN).replacen(
        "\"127.0.0.1:0\"",
        &format!(
            "[\"127.0.0.1:0\", \"127.0.0.1:{}\", \"unix:{}\"]",
            crate::support::free().port(),
            path.display()
        ),
        1,
    );
    let proxy = Proxy::start_in(folder, &text);
    let lines = proxy.log().join("\n");
    let tcp: Vec<SocketAddr> = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["message"] == "listening")
        .filter_map(|line| line["address"].as_str()?.parse().ok())
        .collect();
    assert_eq!(tcp.len(), 2);
    proxy.signal("USR2");
    proxy.until_upgraded(1);
    let old = format!("/proc/{}/stat", proxy.pid());
    eventually("the old one ends", || fs::read_to_string(&old).is_ok_and(|it| it.contains(") Z ")));
    for address in tcp {
        assert_eq!(ask(address), "one");
    }
    assert!(over_socket(&path).ends_with("one"), "the file is the next program's");
}

/// A GET over a unix socket.
fn over_socket(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_file_of_a_socket_has_its_mode_and_group() {
    let origin = Origin::named("one");
    let folder = folder();
    let path = folder.join("web.sock");
    // One that the test's own user may give: its own.
    let own = fs::metadata(&folder).unwrap();
    let text = |options: &str| {
        let text = config_of(&[origin.address().to_string()], options, "");
        text.replacen("127.0.0.1:0", &format!("unix:{}", path.display()), 1)
    };
    let options = format!("mode = \"0620\"\nowner = {}\ngroup = {}\n", own.uid(), own.gid());
    let proxy = Proxy::start_in(folder, &text(&options));
    let found = fs::metadata(&path).unwrap();
    assert_eq!((mode(&path), found.uid(), found.gid()), (0o620, own.uid(), own.gid()));
    assert!(over_socket(&path).ends_with("one"));
    proxy.edit(&text("mode = \"666\"\n"));
    eventually("the mode is another", || mode(&path) == 0o666);
    assert_eq!(fs::metadata(&path).unwrap().ino(), found.ino(), "it is the same socket");
}

#[test]
fn a_stop_removes_the_file_of_a_socket() {
    let origin = Origin::named("one");
    let folder = folder();
    let path = folder.join("web.sock");
    let text = config(&[origin.address()], "");
    let text = text.replacen("127.0.0.1:0", &format!("unix:{}", path.display()), 1);
    let mut proxy = Proxy::start_in(folder.clone(), &text);
    assert!(over_socket(&path).ends_with("one"));
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    assert!(!path.exists());
    // Whoever has it in the meantime keeps it.
    let mut proxy = Proxy::start_in(folder.clone(), &text);
    let moved = folder.join("other.sock");
    let _other = UnixListener::bind(&moved).unwrap();
    fs::rename(&moved, &path).unwrap();
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    assert!(path.exists());
}

#[test]
fn a_live_socket_with_a_full_queue_is_left_alone() {
    let origin = Origin::named("one");
    let folder = folder();
    let path = folder.join("web.sock");
    let other = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    other.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    other.listen(0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let text = config(&[origin.address()], "");
    fs::write(
        folder.join("pointsman.toml"),
        text.replacen("127.0.0.1:0", &format!("unix:{}", path.display()), 1),
    )
    .unwrap();
    let output = std::process::Command::new("timeout")
        .args(["10", env!("CARGO_BIN_EXE_pointsman"), "run", "--config"])
        .arg(folder.join("pointsman.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another program is using it") && path.exists(), "{said}");
    fs::remove_dir_all(folder).unwrap();
}
