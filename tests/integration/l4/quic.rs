//! QUIC that is passed on by the name that its client asks for.

use std::{
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    collapse::metric,
    support::{
        InTime, PATIENCE, Proxy, browser, eventually, eventually_within, proxy::folder, python_tool, skipped,
        tls::Authority,
    },
};

/// The client's first packets of RFC 9001 §A.2 and RFC 9369 §A.2, which ask for `example.com`.
const FIRST: [&str; 2] = [
    include_str!("../../../src/l4/quic/vectors/rfc9001-a2.hex"),
    include_str!("../../../src/l4/quic/vectors/rfc9369-a2.hex"),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// A packet with a long header.
fn long(first: u8, version: u32, destination: &[u8], source: &[u8], rest: &[u8]) -> Vec<u8> {
    let with_length = |id: &[u8]| [&[u8::try_from(id.len()).unwrap()], id].concat();
    [&[first][..], &version.to_be_bytes(), &with_length(destination), &with_length(source), rest].concat()
}

/// A packet with a short header.
fn short(destination: &[u8], rest: &[u8]) -> Vec<u8> {
    [&[0x40], destination, rest].concat()
}

/// A server that shows an id of its own in answer to a handshake, and else says its name and what it heard.
fn server(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let heard = &buffer[..length];
            let answer = match heard[0] & 0x80 {
                0 => [name.as_bytes(), heard].concat(),
                _ => long(0xc0, 1, b"client", &id_of(name), &[name.as_bytes(), heard].concat()),
            };
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

/// What the log says of a generation that is in force.
const IN_FORCE: &str = "configuration in force";

fn id_of(name: &str) -> Vec<u8> {
    format!("id of {name}").into_bytes()
}

/// A listener `web` for TLS and QUIC, with a route of each of these names; one without a name takes the rest.
fn passing(routes: &[(&str, &[SocketAddr])], upstream: &str) -> String {
    let routes: String = routes
        .iter()
        .map(|(name, backends)| {
            let server_names = if name.contains('.') || *name == "localhost" {
                format!("server_names = [\"{name}\"]\n")
            } else {
                String::new()
            };
            let backends: Vec<_> = backends.iter().map(|it| format!("{{ address = \"{it}\" }}")).collect();
            let id = name.replace('.', "-");
            format!(
                "[[route]]\nname = \"{id}\"\nlisteners = [\"web\"]\nupstream = \"{id}\"\n{server_names}\
                 [[upstream]]\nname = \"{id}\"\n{upstream}\nbackend = [{}]\n",
                backends.join(", ")
            )
        })
        .collect();
    format!(
        "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"web\"\nprotocol = \"tls\"\nquic = true\naddress = \"127.0.0.1:0\"\n{routes}"
    )
}

/// A client of the listener `web`, which hears nobody else.
fn client(proxy: &Proxy) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(proxy.address("web")).unwrap();
    socket
}

fn ask(socket: &UdpSocket, datagram: &[u8]) -> Vec<u8> {
    socket.send(datagram).unwrap();
    let mut buffer = [0; 65536];
    let length = socket.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

/// What a server of this name says to a handshake.
fn shown(name: &str, heard: &[u8]) -> Vec<u8> {
    long(0xc0, 1, b"client", &id_of(name), &[name.as_bytes(), heard].concat())
}

fn dropped(proxy: &Proxy, reason: &str) -> u64 {
    metric(proxy, &format!("pointsman_udp_datagrams_dropped_total{{reason=\"{reason}\"}}"))
}

fn lines(proxy: &Proxy) -> Vec<Value> {
    let log = proxy.log();
    let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["protocol"] == "quic").collect()
}

fn logged(proxy: &Proxy, count: usize) -> Vec<Value> {
    // Each is, once it was silent for as long as its test says.
    eventually_within(2 * PATIENCE, "the connections are logged", || lines(proxy).len() >= count);
    lines(proxy)
}

#[test]
fn the_name_in_an_initial_packet_leads_to_its_backend() {
    let (named, other) = (server("named"), server("other"));
    let routes: [(&str, &[SocketAddr]); 2] = [("rest", &[other]), ("example.com", &[named])];
    let proxy = Proxy::start(&passing(&routes, "udp = { idle = \"5s\" }"));
    for ((first, version), count) in FIRST.iter().zip(["1", "2"]).zip(1..) {
        let (client, first) = (client(&proxy), bytes(first));
        assert_eq!(ask(&client, &first), shown("named", &first), "as it came, and back");
        let question = short(&id_of("named"), b"question");
        assert_eq!(ask(&client, &question), [b"named", &*question].concat());
        let line = logged(&proxy, count).pop().unwrap();
        for (field, value) in [
            ("server_name", "example.com"),
            ("alpn", "alpn"),
            ("quic_version", version),
            ("route", "example-com"),
            ("ended_by", "idle"),
            ("listener", "web"),
        ] {
            assert_eq!(line[field], value, "{field} of {line}");
        }
    }
    assert_eq!(metric(&proxy, "pointsman_connections{listener=\"web\"}"), 0);
}

#[test]
fn a_client_keeps_its_backend_when_its_port_changes() {
    let servers = ["a", "b", "c", "d"].map(server);
    let proxy = Proxy::start(&passing(&[("example.com", &servers)], ""));
    let first = bytes(FIRST[0]);
    let own = client(&proxy);
    let said = ask(&own, &first);
    let name = ["a", "b", "c", "d"].into_iter().find(|name| said == shown(name, &first)).unwrap();
    // From so many ports that each worker has some: by the server's id, and by the client's first.
    for number in 0..40_u8 {
        let elsewhere = client(&proxy);
        let question = short(&id_of(name), &[number]);
        assert_eq!(ask(&elsewhere, &question), [name.as_bytes(), &question].concat());
        let again = ask(&client(&proxy), &first);
        assert_eq!(again, shown(name, &first), "{number}");
        // An id that nobody has seen is the client's whose address it came from.
        let question = short(b"a new one", &[number]);
        assert_eq!(ask(&elsewhere, &question), [name.as_bytes(), &question].concat());
    }
    let question = short(&id_of(name), b"still");
    assert_eq!(ask(&own, &question), [name.as_bytes(), &question].concat());
    assert_eq!(dropped(&proxy, "quic_unknown"), 0);
}

#[test]
fn two_connections_of_one_port_go_their_own_ways() {
    let (named, other) = (server("named"), server("other"));
    let routes: [(&str, &[SocketAddr]); 2] = [("example.com", &[named]), ("rest", &[other])];
    let proxy = Proxy::start(&passing(&routes, ""));
    let (client, first) = (client(&proxy), bytes(FIRST[0]));
    assert_eq!(ask(&client, &first), shown("named", &first));
    // A version that nobody knows, with the ids of the same client: by its address, to the route without names.
    let unknown = long(0xc0, 0x0a1a_2a3a, b"whoever it is for", b"client", &[7; 1200]);
    assert_eq!(ask(&client, &unknown), shown("other", &unknown));
    for name in ["named", "other", "named"] {
        let question = short(&id_of(name), b"?");
        assert_eq!(ask(&client, &question), [name.as_bytes(), &question].concat());
    }
    assert_eq!(metric(&proxy, "pointsman_connections{listener=\"web\"}"), 2);
}

#[test]
fn what_leads_nowhere_is_dropped_and_counted_by_reason() {
    let proxy = Proxy::start(&passing(&[("one.test", &[server("one")])], ""));
    let client = client(&proxy);
    let (first, id) = (bytes(FIRST[0]), b"8 bytes!");
    let mut broken = first.clone();
    broken[700] ^= 1;
    for (datagram, reason) in [
        (b"\xc0nothing".to_vec(), "quic_malformed"),
        (broken, "quic_malformed"),
        (long(0xc0, 0, id, b"", &[0; 8]), "quic_malformed"),
        (first, "no_route"),
        (short(b"nobody knows it", b""), "quic_unknown"),
        (long(0xe0, 1, id, b"", &[0x40; 40]), "quic_unknown"),
        (long(0xc0, 9, id, b"", &[0; 1200]), "quic_version"),
        // 0-RTT, whose Initial packet never comes.
        (long(0xd0, 1, id, b"", &[&[0x44, 0xb0][..], &[1; 1200]].concat()), "quic_incomplete"),
    ] {
        let before = dropped(&proxy, reason);
        client.send(&datagram).unwrap();
        eventually(reason, || dropped(&proxy, reason) == before + 1);
    }
    assert_eq!(metric(&proxy, "pointsman_connections{listener=\"web\"}"), 0);
    eventually("nothing is held", || metric(&proxy, "pointsman_memory_bytes{owner=\"sessions\"}") == 0);
}

#[test]
fn reloads_leave_connections_alone_and_open_and_close_the_port() {
    let (one, two) = (server("one"), server("two"));
    // As a port is in a file: the same in every generation.
    let address = crate::support::free();
    let config = passing(&[("example.com", &[one])], "");
    let fixed = config
        .replace("quic = true\naddress = \"127.0.0.1:0\"", &format!("quic = true\naddress = \"{address}\""));
    let proxy = Proxy::start(&fixed);
    let (client, first) = (client(&proxy), bytes(FIRST[0]));
    assert_eq!(ask(&client, &first), shown("one", &first));
    proxy.edit(&fixed.replace(&one.to_string(), &two.to_string()));
    proxy.until_logged(IN_FORCE, 1);
    let question = short(&id_of("one"), b"?");
    assert_eq!(ask(&client, &question), [b"one", &*question].concat());
    // From another port and worker too, though no generation has this backend any more.
    // All are kept, so that each has a port of its own.
    let others: Vec<_> = (0..10).map(|_| self::client(&proxy)).collect();
    for other in &others {
        assert_eq!(ask(other, &question), [b"one", &*question].concat());
    }
    proxy.edit(&fixed.replace("quic = true\n", ""));
    eventually("its port of UDP is free", || UdpSocket::bind(address).is_ok());
    assert!(std::net::TcpStream::connect(address).is_ok());
    proxy.edit(&fixed);
    eventually("its port of UDP is taken", || UdpSocket::bind(address).is_err());
    let proxy_again = self::client(&proxy);
    eventually("the connection is over", || lines(&proxy).len() >= 11);
    assert_eq!(ask(&proxy_again, &first), shown("one", &first));
}

#[test]
fn connections_go_on_in_the_next_program() {
    let servers = ["a", "b", "c", "d"].map(server);
    let proxy = Proxy::start(&passing(&[("example.com", &servers)], ""));
    let (own, first) = (client(&proxy), bytes(FIRST[0]));
    let said = ask(&own, &first);
    let name = ["a", "b", "c", "d"].into_iter().find(|name| said == shown(name, &first)).unwrap();
    let question = short(&id_of(name), b"?");
    ask(&client(&proxy), &question);
    proxy.signal("USR2");
    proxy.until_upgraded(1);
    proxy.until_logged("datagram sessions handed over", 1);
    assert_eq!(ask(&own, &question), [name.as_bytes(), &question].concat());
    // From other ports too: the ids went over.
    for _ in 0..10 {
        assert_eq!(ask(&client(&proxy), &question), [name.as_bytes(), &question].concat());
    }
}

#[test]
fn a_port_that_becomes_one_of_quic_begins_anew() {
    let (one, two) = (server("one"), server("two"));
    let address = crate::support::free();
    let fixed = format!("address = \"{address}\"\n[[route]]");
    let quic =
        passing(&[("example.com", &[two])], "").replace("address = \"127.0.0.1:0\"\n[[route]]", &fixed);
    let udp = quic.replace("protocol = \"tls\"\nquic = true", "protocol = \"udp\"");
    let udp =
        udp.replace("server_names = [\"example.com\"]\n", "").replace(&two.to_string(), &one.to_string());
    let proxy = Proxy::start(&udp);
    let (client, first) = (client(&proxy), bytes(FIRST[0]));
    assert_eq!(ask(&client, &first), shown("one", &first));
    proxy.edit(&quic);
    proxy.until_logged(IN_FORCE, 1);
    // A worker hears of it a moment after it is logged; what comes meanwhile is the session's before, or nobody's.
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    eventually("it begins anew", || {
        let _ = client.send(&first);
        let mut buffer = [0; 65536];
        client.recv(&mut buffer).is_ok_and(|length| buffer[..length] == shown("two", &first))
    });
}

#[test]
fn the_admin_endpoint_and_explain_know_connections_of_quic() {
    let proxy = Proxy::start(&passing(&[("example.com", &[server("one")])], ""));
    let (client, first) = (client(&proxy), bytes(FIRST[0]));
    ask(&client, &first);
    let text = crate::support::Client::connect(proxy.address("admin")).get("/api/v1/connections").text();
    let said: Value = serde_json::from_str(&text).unwrap();
    let own = said["connections"].as_array().unwrap().iter().find(|it| it["protocol"] == "quic").unwrap();
    for (field, value) in [("listener", "web"), ("server_name", "example.com"), ("upstream", "example-com")] {
        assert_eq!(own[field], value, "{own}");
    }
    assert_eq!((own["bytes_in"].as_u64(), own["id"].as_str()), (Some(1200), None));
    let answer = crate::support::Client::connect(proxy.address("admin"))
        .get("/api/v1/explain?url=quic://example.com&header=alpn:%20h3");
    assert!(answer.text().contains("example-com"), "{}", answer.text());
}

/// Caddy, which serves HTTP/3; it is killed when this is dropped.
struct Caddy {
    child: Child,
    address: SocketAddr,
}

impl Caddy {
    fn start(program: &Path, folder: &Path, name: &str) -> Self {
        let address = crate::support::free();
        let port = address.port();
        let text = format!(
            "{{\nauto_https off\nadmin off\npersist_config off\n}}\n\
             https://{name}:{port} {{\nbind 127.0.0.1\ntls {name}.pem {name}.key\nroot .\nrespond / \"{name}\"\nfile_server\n}}\n"
        );
        std::fs::write(folder.join(format!("{name}.caddy")), text).unwrap();
        let mut command = Command::new(program);
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(format!("{name}.caddy"));
        command.current_dir(folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let caddy = Self { child: command.spawn().unwrap(), address };
        eventually("Caddy listens", || std::net::TcpStream::connect(address).is_ok());
        caddy
    }
}

impl Drop for Caddy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two servers of HTTP/3, and a proxy that leads to them by name.
struct World {
    folder: PathBuf,
    python: PathBuf,
    servers: Vec<Caddy>,
    proxy: Proxy,
}

impl World {
    /// `None`, and a line that says so, where Caddy or aioquic is not installed.
    fn start(names: &[&'static str]) -> Option<Self> {
        let (caddy, python) = (python_tool("caddy")?, python_tool("python3")?);
        if !Command::new(&python).args(["-c", "import aioquic"]).output().unwrap().status.success() {
            skipped("aioquic");
            return None;
        }
        let folder = folder();
        let authority = Authority::new(&folder);
        names.iter().for_each(|name| authority.issue(&folder, name, &[name]));
        let servers: Vec<Caddy> = names.iter().map(|name| Caddy::start(&caddy, &folder, name)).collect();
        let addresses: Vec<_> = servers.iter().map(|server| [server.address]).collect();
        let routes: Vec<(&str, &[SocketAddr])> =
            names.iter().copied().zip(addresses.iter().map(|it| &it[..])).collect();
        let proxy = Proxy::start(&passing(&routes, "udp = { idle = \"10s\" }"));
        Some(Self { folder, python, servers, proxy })
    }

    /// What the client of `support/quic.py` says of it.
    fn run(&self, what: &str, arguments: &[&str]) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/support/quic.py");
        let mut command = Command::new(&self.python);
        command.arg(script).args([what, &self.proxy.address("web").to_string()]);
        let output = command.args(arguments).in_time().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// `POINTSMAN_QUIC_CONNECTIONS` of them, or fifty.
#[test]
fn http3_goes_to_two_servers_by_name() {
    let Some(world) = World::start(&["one.test", "two.test"]) else { return };
    let count = std::env::var("POINTSMAN_QUIC_CONNECTIONS").unwrap_or_else(|_| "50".to_owned());
    for (version, count) in [("1", &*count), ("2", "4")] {
        let said = world.run("fetch", &[version, count, "one.test", "two.test"]);
        assert_eq!(said["wrong"], serde_json::json!([]));
        println!("{count} connections of version {version}: {said}");
    }
    for (name, server) in ["one.test", "two.test"].iter().zip(&world.servers) {
        let mut own = Vec::new();
        eventually(&format!("connections to {name} are logged"), || {
            own = logged(&world.proxy, 4);
            own.retain(|line| line["server_name"] == *name);
            !own.is_empty()
        });
        assert!(own.iter().all(|line| line["backend"] == server.address.to_string()), "{name}");
    }
}

/// A server that has each client prove its address first, and one that does not know the version that its clients begin
/// with: both answer before there is a connection, and the client begins again.
#[test]
fn servers_that_have_clients_begin_again_are_reached() {
    for (how, versions) in [("retry", "1"), ("retry", "2"), ("versions", "12")] {
        let Some(mut world) = World::start(&["other.test"]) else { return };
        Authority::new(&world.folder).issue(&world.folder, "one.test", &["one.test"]);
        let address = crate::support::free();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/support/quic.py");
        let mut command = Command::new(&world.python);
        command.arg(script).args(["serve", &address.to_string(), "one.test", how]).current_dir(&world.folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        let server = Caddy { child, address };
        let other = [world.servers[0].address];
        let routes: [(&str, &[SocketAddr]); 2] = [("one.test", &[server.address]), ("other.test", &other)];
        world.proxy = Proxy::start(&passing(&routes, "udp = { idle = \"10s\" }"));
        let said = world.run("fetch", &[versions, "10", "one.test"]);
        assert_eq!(said["wrong"], serde_json::json!([]), "{how} {versions}");
        let log = logged(&world.proxy, 10);
        assert!(log.iter().all(|line| line["backend"] == address.to_string()), "{log:?}");
        drop(server);
    }
}

#[test]
fn a_download_goes_on_when_its_clients_port_changes() {
    let Some(world) = World::start(&["one.test"]) else { return };
    let whole: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(world.folder.join("whole.bin"), &whole).unwrap();
    let said = world.run("rebind", &["one.test", "/whole.bin"]);
    assert_eq!(said["ports"], 3, "{said}");
    assert_eq!(said["names"], serde_json::json!(["one.test", "one.test"]));
    let output = Command::new("sha256sum").arg(world.folder.join("whole.bin")).output().unwrap();
    let sum = String::from_utf8(output.stdout).unwrap();
    assert!(sum.starts_with(said["sha256"].as_str().unwrap()), "{said} {sum}");
}

#[test]
fn a_client_of_ngtcp2_gets_its_page() {
    if Command::new("gtlsclient").arg("--help").output().is_err() {
        return skipped("gtlsclient");
    }
    let Some(world) = World::start(&["localhost"]) else { return };
    std::fs::write(world.folder.join("page"), "it is here").unwrap();
    let port = world.proxy.address("web").port().to_string();
    let into = world.folder.join("into");
    std::fs::create_dir(&into).unwrap();
    let mut command = Command::new("timeout");
    command.args(["20", "gtlsclient", "--quiet", "--exit-on-all-streams-close"]);
    command.arg(format!("--download={}", into.display()));
    command.args(["localhost", &port, &format!("https://localhost:{port}/page")]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let page = std::fs::read_to_string(into.join("page"));
    assert_eq!(page.ok().as_deref(), Some("it is here"), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A browser, whose ClientHello takes two datagrams, in pieces that are out of order on purpose.
#[test]
fn a_browser_gets_its_page_over_http3() {
    if !browser::is_there("a browser over HTTP/3") {
        return;
    }
    let Some(world) = World::start(&["one.test"]) else { return };
    let address = world.proxy.address("web");
    let own = world.folder.join("chromium");
    let mut command = Command::new("timeout");
    command.args(["60", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-quic"]);
    command.arg(format!("--user-data-dir={}", own.display()));
    command.arg("--origin-to-force-quic-on=one.test:443");
    // The one way to have it trust a certificate for QUIC.
    let key = "openssl x509 -in one.test.pem -pubkey -noout | openssl pkey -pubin -outform der | \
               openssl dgst -sha256 -binary | base64";
    let key = Command::new("sh").args(["-c", key]).current_dir(&world.folder).output().unwrap();
    let key = String::from_utf8(key.stdout).unwrap();
    command.arg(format!("--ignore-certificate-errors-spki-list={}", key.trim()));
    command.arg(format!("--host-resolver-rules=MAP one.test:443 {address}"));
    let output = command.args(["--dump-dom", "https://one.test/"]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(">one.test<"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let line = logged(&world.proxy, 1).remove(0);
    assert_eq!(
        (line["server_name"].as_str(), line["alpn"].as_str()),
        (Some("one.test"), Some("h3")),
        "{line}"
    );
}
