//! Datagrams that are passed on.

use std::{
    collections::{HashMap, HashSet},
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    collapse::metric,
    support::{PATIENCE, Proxy, eventually, nobody},
};

/// A server that answers each datagram with its name and what it was sent; it ends with `bye`.
struct Echo {
    address: SocketAddr,
    clients: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Echo {
    fn start(name: &'static str) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), name)
    }

    fn at(address: SocketAddr, name: &'static str) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        let (address, clients) = (socket.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let seen = clients.clone();
        thread::spawn(move || {
            let mut bytes = vec![0; 65536];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                if &bytes[..length] == b"bye" {
                    return;
                }
                seen.lock().unwrap().push(from);
                let answer = [name.as_bytes(), &bytes[..length]].concat();
                let _ = socket.send_to(&answer, from);
            }
        });
        Self { address, clients }
    }

    /// Ends it, so that nobody is at its port.
    fn stop(&self) {
        client().send_to(b"bye", self.address).unwrap();
        eventually("its port is free", || UdpSocket::bind(self.address).is_ok());
    }

    /// How many different sockets its datagrams came from.
    fn sessions(&self) -> usize {
        self.clients.lock().unwrap().iter().collect::<HashSet<_>>().len()
    }
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A client of the listener `web`, which hears nobody else.
fn connected(proxy: &Proxy) -> UdpSocket {
    let socket = client();
    socket.connect(proxy.address("web")).unwrap();
    socket
}

fn passing(backends: &[SocketAddr], listener: &str, upstream: &str) -> String {
    let config = super::passing(backends, listener, "", upstream);
    config.replace("protocol = \"tcp\"", "protocol = \"udp\"").replace("workers = 2", "workers = 1")
}

fn heard(socket: &UdpSocket) -> String {
    let mut bytes = [0; 2000];
    let length = socket.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

fn ask(socket: &UdpSocket, what: &str) -> String {
    socket.send(what.as_bytes()).unwrap();
    heard(socket)
}

/// Asks, again and again as clients do, until there is an answer; and how often it took. Only the first is taken for lost
/// soon: what comes behind it may be late on a busy machine.
fn insist(socket: &UdpSocket, what: &str) -> (String, usize) {
    let answered = (1..=50).find_map(|times| {
        let wait = if times == 1 { Duration::from_millis(200) } else { Duration::from_secs(2) };
        socket.set_read_timeout(Some(wait)).unwrap();
        socket.send(what.as_bytes()).unwrap();
        let mut bytes = [0; 2000];
        let length = socket.recv(&mut bytes).ok()?;
        Some((String::from_utf8(bytes[..length].to_vec()).unwrap(), times))
    });
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    answered.unwrap()
}

/// Whether nothing comes for a while.
fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let result = socket.recv(&mut [0; 2000]);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn lines(proxy: &Proxy) -> Vec<serde_json::Value> {
    let log = proxy.log();
    let lines = log.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line.get("datagrams_in").is_some()).collect()
}

fn logged(proxy: &Proxy, count: usize) -> Vec<serde_json::Value> {
    eventually("the sessions are logged", || lines(proxy).len() >= count);
    lines(proxy)
}

fn dropped(proxy: &Proxy, reason: &str) -> u64 {
    metric(proxy, &format!("pointsman_udp_datagrams_dropped_total{{reason=\"{reason}\"}}"))
}

#[test]
fn a_session_goes_both_ways_and_is_logged() {
    let server = Echo::start("one ");
    // Longer than a busy machine may stop between two datagrams.
    let proxy = Proxy::start(&passing(&[server.address], "", "udp = { idle = \"5s\" }"));
    let client = connected(&proxy);
    assert_eq!(
        (ask(&client, "a"), ask(&client, "bcd"), ask(&client, "")),
        ("one a".into(), "one bcd".into(), "one ".into())
    );
    assert_eq!(metric(&proxy, "pointsman_connections{listener=\"web\"}"), 1);
    let line = logged(&proxy, 1).remove(0);
    for (field, value) in [
        ("listener", "web"),
        ("route", "all"),
        ("upstream", "u"),
        ("backend", "b0"),
        ("protocol", "udp"),
        ("client", "127.0.0.1"),
        ("ended_by", "idle"),
        ("level", "info"),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
    let counts = ["bytes_in", "bytes_out", "datagrams_in", "datagrams_out", "attempts"];
    assert_eq!(counts.map(|field| line[field].as_u64()), [4, 16, 3, 3, 1].map(Some), "{line}");
    assert!(line.get("status").is_none() && line.get("error").is_none(), "{line}");
    assert!(line["duration_ms"].as_f64().unwrap() >= 5000.0, "{line}");
    let ended = "pointsman_tunnel_duration_seconds_count{listener=\"web\",route=\"all\",upstream=\"u\",result=\"ok\"}";
    assert_eq!(metric(&proxy, ended), 1);
    assert_eq!(metric(&proxy, "pointsman_udp_datagrams_total{direction=\"in\"}"), 3);
    assert_eq!(metric(&proxy, "pointsman_udp_datagrams_total{direction=\"out\"}"), 3);
    assert_eq!(metric(&proxy, "pointsman_connections{listener=\"web\"}"), 0);
    assert_eq!(metric(&proxy, "pointsman_backend_in_flight"), 0);
    assert_eq!(server.sessions(), 1);
}

#[test]
fn a_thousand_clients_get_their_own_answers() {
    let servers = [Echo::start(""), Echo::start("")];
    let backends = servers.each_ref().map(|server| server.address);
    let config = passing(&backends, "", "").replace("workers = 1", "workers = 2");
    let proxy = Proxy::start(&config);
    // As the program does for itself.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let clients: Vec<UdpSocket> = (0..1000).map(|_| connected(&proxy)).collect();
    for (part, clients) in clients.chunks(100).enumerate() {
        for (number, client) in clients.iter().enumerate() {
            for time in 0..3 {
                client.send(format!("{part} {number} {time}").as_bytes()).unwrap();
            }
        }
        for (number, client) in clients.iter().enumerate() {
            let answers: Vec<String> = (0..3).map(|_| heard(client)).collect();
            assert_eq!(answers, [0, 1, 2].map(|time| format!("{part} {number} {time}")));
        }
    }
    // Each worker takes turns of its own.
    let sessions = servers.each_ref().map(Echo::sessions);
    assert_eq!(sessions.iter().sum::<usize>(), 1000, "each stays with its backend");
    assert!(sessions.iter().all(|count| (495..=505).contains(count)), "{sessions:?}");
    assert_eq!(metric(&proxy, "pointsman_connections{listener=\"web\"}"), 1000);
}

#[test]
fn sessions_survive_a_hundred_reloads() {
    let (one, two) = (Echo::start("1"), Echo::start("2"));
    let config = |backend: &Echo, idle: u32| {
        passing(&[backend.address], "", &format!("udp = {{ idle = \"{idle}s\" }}"))
    };
    let proxy = Proxy::start(&config(&one, 60));
    let client = connected(&proxy);
    assert_eq!(ask(&client, "a"), "1a");
    for number in 1..=100 {
        let server = if number % 2 == 0 { &one } else { &two };
        proxy.edit(&config(server, 60 + number));
        proxy.signal("HUP");
        let generation = u64::from(number) + 1;
        eventually("it is in force", || metric(&proxy, "pointsman_config_generation") >= generation);
        assert_eq!(ask(&client, "b"), "1b");
    }
    assert_eq!(one.sessions(), 1);
    proxy.edit(&config(&two, 1000));
    proxy.signal("HUP");
    eventually("new ones go elsewhere", || ask(&connected(&proxy), "c") == "2c");
    assert!(lines(&proxy).iter().all(|line| line["backend"] != "b0" || line["ended_by"] == "idle"));
}

#[test]
fn a_client_whose_backend_refuses_is_served_by_the_next() {
    let server = Echo::start("alive ");
    let proxy = Proxy::start(&passing(&[nobody(), server.address], "", "udp = { idle = \"3s\" }"));
    for _ in 0..4 {
        let (answer, times) = insist(&connected(&proxy), "x");
        assert_eq!(answer, "alive x");
        assert!(times <= 2, "the first may be lost, no other: {times}");
    }
    let lines = logged(&proxy, 4);
    assert!(lines.iter().any(|line| line["attempts"] == 2), "{lines:?}");
    assert!(lines.iter().all(|line| line["backend"] == "b1" && line.get("error").is_none()), "{lines:?}");
    let refused = "pointsman_backend_requests_total{upstream=\"u\",backend=\"b0\",outcome=\"connect\"}";
    assert!(metric(&proxy, refused) >= 1);
}

#[test]
fn refusals_eject_a_backend() {
    let server = Echo::start("");
    let upstream = "outlier = { consecutive_failures = 2 }";
    let proxy = Proxy::start(&passing(&[nobody(), server.address], "", upstream));
    for _ in 0..4 {
        insist(&connected(&proxy), "x");
    }
    proxy.until_logged("backend is ejected", 1);
    for _ in 0..4 {
        assert_eq!(ask(&connected(&proxy), "y"), "y");
    }
}

#[test]
fn a_silent_backend_is_left_where_others_answer() {
    let (server, silent) = (Echo::start("heard "), UdpSocket::bind("127.0.0.1:0").unwrap());
    let upstream = "response_timeout = \"2s\"\nudp = { idle = \"20s\" }";
    let proxy = Proxy::start(&passing(&[server.address, silent.local_addr().unwrap()], "", upstream));
    let clients: Vec<UdpSocket> = (0..2).map(|_| connected(&proxy)).collect();
    for client in &clients {
        assert_eq!(insist(client, "x").0, "heard x");
    }
    let timeout = "pointsman_backend_requests_total{upstream=\"u\",backend=\"b1\",outcome=\"timeout\"}";
    assert_eq!(metric(&proxy, timeout), 1);
}

#[test]
fn a_protocol_without_answers_blames_nobody() {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(PATIENCE)).unwrap();
    let upstream =
        "response_timeout = \"50ms\"\nudp = { idle = \"300ms\" }\noutlier = { consecutive_failures = 1 }";
    let proxy = Proxy::start(&passing(&[sink.local_addr().unwrap()], "", upstream));
    for number in 0..5 {
        connected(&proxy).send(format!("<13>line {number}").as_bytes()).unwrap();
        assert_eq!(heard(&sink), format!("<13>line {number}"));
    }
    let lines = logged(&proxy, 5);
    assert!(lines.iter().all(|line| line.get("error").is_none() && line["ended_by"] == "idle"), "{lines:?}");
    assert_eq!(metric(&proxy, "pointsman_backend_up"), 1);
}

#[test]
fn an_answered_session_stays_with_a_backend_that_restarts() {
    // At ports that nobody is given while they are away.
    let (one, two) = (Echo::at(nobody(), "1"), Echo::at(nobody(), "2"));
    let proxy = Proxy::start(&passing(&[one.address, two.address], "", ""));
    let client = connected(&proxy);
    let name = ask(&client, "");
    let (own, other) = if name == "1" { (&one, &two) } else { (&two, &one) };
    own.stop();
    for _ in 0..3 {
        client.send(b"lost").unwrap();
        assert!(is_silent(&client));
    }
    assert_eq!(other.sessions(), 0, "the other knows nothing of this session");
    let _again = Echo::at(own.address, "again ");
    assert_eq!(insist(&client, "x").0, "again x");
}

#[test]
fn with_one_response_a_session_ends_with_its_answer() {
    let server = Echo::start("");
    let proxy = Proxy::start(&passing(&[server.address], "", "udp = { idle = \"1h\", responses = 1 }"));
    let client = connected(&proxy);
    assert_eq!(ask(&client, "first"), "first");
    let line = logged(&proxy, 1).remove(0);
    assert_eq!((line["ended_by"].as_str(), line["datagrams_out"].as_u64()), (Some("responses"), Some(1)));
    assert_eq!(ask(&client, "second"), "second");
    assert_eq!((logged(&proxy, 2).len(), server.sessions()), (2, 2));
}

#[test]
fn a_full_table_makes_room_by_who_is_silent() {
    let server = Echo::start("");
    let proxy = Proxy::start(&passing(&[server.address], "", "udp = { idle = \"1h\", max_sessions = 2 }"));
    let (first, second, third) = (connected(&proxy), connected(&proxy), connected(&proxy));
    assert_eq!((ask(&first, "1"), ask(&second, "2")), ("1".into(), "2".into()));
    third.send(b"3").unwrap();
    eventually("it is dropped", || dropped(&proxy, "max_sessions") == 1);
    let begun = Instant::now();
    // The second goes on, the first does not.
    while begun.elapsed() < Duration::from_millis(1100) {
        assert_eq!(ask(&second, "2"), "2");
    }
    assert_eq!(ask(&third, "3"), "3");
    let line = logged(&proxy, 1).remove(0);
    assert_eq!((line["ended_by"].as_str(), line["bytes_in"].as_u64()), (Some("max_sessions"), Some(1)));
    assert_eq!(ask(&second, "still"), "still");
    assert_eq!(server.sessions(), 3);
}

#[test]
fn a_datagram_goes_whole_or_not_at_all() {
    let server = Echo::start("");
    let proxy =
        Proxy::start(&passing(&[server.address], "", "").replace("\"127.0.0.1:0\"\n\n", "\"[::]:0\"\n\n"));
    let socket = client();
    socket.connect(("127.0.0.1", proxy.address("web").port())).unwrap();
    let sent: Vec<u8> = (0..65_507_u32).map(|at| (at % 251) as u8).collect();
    socket.send(&sent).unwrap();
    let mut bytes = vec![0; 65_536];
    let length = socket.recv(&mut bytes).unwrap();
    assert!(bytes[..length] == sent, "{length} bytes");
    // Over IPv6 twenty bytes more fit into a datagram than go on over IPv4.
    let socket = UdpSocket::bind("[::1]:0").unwrap();
    socket.connect(("::1", proxy.address("web").port())).unwrap();
    socket.send(&vec![7; 65_527]).unwrap();
    eventually("it is dropped", || dropped(&proxy, "too_large") == 1);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(ask(&socket, "small"), "small");
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let server = Echo::start("");
    for wildcard in ["0.0.0.0:0", "[::]:0"] {
        let config = passing(&[server.address], "", "");
        let proxy = Proxy::start(&config.replace("\"127.0.0.1:0\"\n\n", &format!("\"{wildcard}\"\n\n")));
        let port = proxy.address("web").port();
        for asked in ["127.0.0.2", "127.0.0.1", "127.8.9.10"] {
            let socket = client();
            // It takes answers from there only.
            socket.connect((asked, port)).unwrap();
            assert_eq!(ask(&socket, asked), asked, "{wildcard}");
        }
        // One socket that asks two of them hears each.
        let socket = client();
        for asked in ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"] {
            let mut asked: SocketAddr = asked.parse().unwrap();
            asked.set_port(port);
            socket.send_to(b"who", asked).unwrap();
            assert_eq!(socket.recv_from(&mut [0; 10]).unwrap(), (3, asked), "{wildcard}");
        }
        if wildcard.starts_with('[') {
            let socket = UdpSocket::bind("[::1]:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(("::1", port)).unwrap();
            assert_eq!(ask(&socket, "six"), "six");
        }
    }
}

#[test]
fn clients_are_let_in_by_networks_and_by_number() {
    let server = Echo::start("");
    let proxy = Proxy::start(&passing(
        &[server.address],
        "deny = [\"127.0.0.9/32\"]\nmax_connections_per_address = 2",
        "",
    ));
    let denied = UdpSocket::bind("127.0.0.9:0").unwrap();
    denied.send_to(b"x", proxy.address("web")).unwrap();
    eventually("it is dropped", || dropped(&proxy, "denied") == 1);
    let clients: Vec<UdpSocket> = (0..3).map(|_| connected(&proxy)).collect();
    assert_eq!((ask(&clients[0], "a"), ask(&clients[1], "b")), ("a".into(), "b".into()));
    clients[2].send(b"c").unwrap();
    eventually("it is dropped", || dropped(&proxy, "client_limit") == 1);
    assert_eq!(ask(&clients[0], "still"), "still");
    assert_eq!(server.sessions(), 2);
    assert_eq!(metric(&proxy, "pointsman_connections_refused_total{listener=\"web\"}"), 2);
}

#[test]
fn places_at_a_backend_are_honoured() {
    let (one, two) = (Echo::start("1"), Echo::start("2"));
    let config = passing(&[one.address, two.address], "", "") + "max_connections = 1\n";
    let proxy = Proxy::start(&config.replacen(
        "[[upstream.backend]]\nname = \"b1\"",
        "max_connections = 1\n[[upstream.backend]]\nname = \"b1\"",
        1,
    ));
    let clients: Vec<UdpSocket> = (0..3).map(|_| connected(&proxy)).collect();
    let names: HashSet<String> = clients[..2].iter().map(|client| ask(client, "")).collect();
    assert_eq!(names.len(), 2);
    clients[2].send(b"x").unwrap();
    eventually("it is dropped", || dropped(&proxy, "no_backend") == 1);
}

#[test]
fn policies_pick_by_client_and_by_sessions() {
    let (one, two) = (Echo::start("1"), Echo::start("2"));
    let both = [one.address, two.address];
    let proxy = Proxy::start(&passing(&both, "", "balance = \"ip-hash\""));
    let names: HashSet<String> = (0..6).map(|_| ask(&connected(&proxy), "")).collect();
    assert_eq!(names.len(), 1);
    let proxy = Proxy::start(&passing(&both, "", "balance = \"least-connections\""));
    let clients: Vec<UdpSocket> = (0..6).map(|_| connected(&proxy)).collect();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for client in &clients {
        *counts.entry(ask(client, "")).or_default() += 1;
    }
    assert_eq!(counts, HashMap::from([("1".to_owned(), 3), ("2".to_owned(), 3)]));
}

#[test]
fn tcp_and_udp_share_a_port_and_an_upstream() {
    let address = crate::support::free();
    let server = Echo::at(address, "udp ");
    let listener = std::net::TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"tcp ");
        }
    });
    let free = crate::support::free();
    let config =
        passing(&[server.address], "", "").replace("\"127.0.0.1:0\"\n\n", &format!("\"{free}\"\n\n"));
    let tcp = format!("[[listener]]\nname = \"tcp\"\nprotocol = \"tcp\"\naddress = \"{free}\"\n");
    let config = config.replace("[[route]]", &format!("{tcp}[[route]]"));
    let proxy = Proxy::start(&config.replace("listeners = [\"web\"]", "listeners = [\"web\", \"tcp\"]"));
    assert_eq!(ask(&connected(&proxy), "x"), "udp x");
    let mut answer = String::new();
    let mut stream = std::net::TcpStream::connect(proxy.address("tcp")).unwrap();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert_eq!(answer, "tcp ");
}

#[test]
fn a_stop_lets_answers_through_and_ends_sessions() {
    assert!((0..5).any(|_| lets_answers_through()), "it was always late");
}

/// False where this was late: a session ends with a second of silence, once the program stops.
fn lets_answers_through() -> bool {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut proxy = Proxy::start(&passing(&[server.local_addr().unwrap()], "", "udp = { idle = \"1h\" }"));
    let client = connected(&proxy);
    client.send(b"slow").unwrap();
    let mut bytes = [0; 100];
    let (_, from) = server.recv_from(&mut bytes).unwrap();
    let begun = Instant::now();
    proxy.signal("TERM");
    proxy.until_logged("draining", 1);
    server.send_to(b"in time", from).unwrap();
    if begun.elapsed() >= Duration::from_millis(500) {
        return false;
    }
    assert_eq!(heard(&client), "in time");
    assert!(proxy.wait().success());
    assert_eq!(logged(&proxy, 1)[0]["datagrams_out"], 1);
    true
}

#[test]
fn a_listener_that_is_removed_reads_no_more() {
    let server = Echo::start("");
    let config = passing(&[server.address], "", "udp = { idle = \"1h\" }");
    let proxy = Proxy::start(&config);
    let client = connected(&proxy);
    assert_eq!(ask(&client, "a"), "a");
    let other = config.replace("name = \"web\"", "name = \"else\"").replace("[\"web\"]", "[\"else\"]");
    let moved = nobody();
    proxy.edit(&other.replace("\"127.0.0.1:0\"\n\n", &format!("\"{moved}\"\n\n")));
    proxy.until_logged("no longer listening", 1);
    let line = logged(&proxy, 1).remove(0);
    assert_eq!((line["listener"].as_str(), line["bytes_in"].as_u64()), (Some("web"), Some(1)));
    let there = client_of(moved);
    assert_eq!(insist(&there, "b").0, "b");
}

fn client_of(address: SocketAddr) -> UdpSocket {
    let socket = client();
    socket.connect(address).unwrap();
    socket
}

#[test]
fn a_check_by_datagram_takes_a_backend_out_and_back() {
    // At ports that nobody is given while they are away.
    let (one, two) = (Echo::at(nobody(), "one "), Echo::at(nobody(), "two "));
    let check = "health_check = { kind = \"udp\", send = \"\\u0001hi\", expect = \"\\u0001hi\", interval = \"50ms\", fall = 2 }";
    let proxy = Proxy::start(&passing(&[one.address, two.address], "", check));
    one.stop();
    proxy.until_logged("backend is down", 1);
    assert!(proxy.log().iter().any(|line| line.contains("checks in a row failed: connection refused")));
    for _ in 0..4 {
        assert_eq!(ask(&connected(&proxy), "x"), "two x");
    }
    let _again = Echo::at(one.address, "one ");
    proxy.until_logged("backend is up", 1);
    let names: HashSet<String> = (0..2).map(|_| ask(&connected(&proxy), "x")).collect();
    assert_eq!(names.len(), 2);
}

/// `POINTSMAN_UPGRADES` of them, or three: each client asks again and again, and an answer that does not come is a
/// datagram that was lost.
#[test]
fn sessions_go_on_over_upgrades_and_lose_nothing() {
    let upgrades = std::env::var("POINTSMAN_UPGRADES").map_or(3, |count| count.parse().unwrap());
    let server = Echo::start("");
    let config =
        passing(&[server.address], "", "udp = { idle = \"1h\" }").replace("workers = 1", "workers = 2");
    let proxy = Proxy::start(&config);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..20)
        .map(|number| {
            let (client, stop) = (connected(&proxy), stop.clone());
            thread::spawn(move || {
                let (mut asked, mut lost) = (0_u64, 0_u64);
                while !stop.load(Relaxed) {
                    let question = format!("{number} {asked}");
                    client.send(question.as_bytes()).unwrap();
                    let mut bytes = [0; 100];
                    match client.recv(&mut bytes) {
                        Ok(length) => assert_eq!(&bytes[..length], question.as_bytes()),
                        Err(_) => lost += 1,
                    }
                    asked += 1;
                    thread::sleep(Duration::from_micros(500));
                }
                (asked, lost)
            })
        })
        .collect();
    eventually("all have a session", || metric(&proxy, "pointsman_connections{listener=\"web\"}") == 20);
    for round in 1..=upgrades {
        proxy.signal("USR2");
        proxy.until_upgraded(round);
        proxy.until_logged("datagram sessions handed over", round);
    }
    stop.store(true, Relaxed);
    let counts = clients.into_iter().map(|client| client.join().unwrap());
    let (asked, lost) = counts.fold((0, 0), |(all, none), (asked, lost)| (all + asked, none + lost));
    println!("{upgrades} upgrades: of {asked} datagrams {lost} lost");
    assert!(lost * 100_000 <= asked, "{lost} of {asked}");
    assert_eq!(server.sessions(), 20, "each has the socket to its backend that it began with");
    assert_eq!(proxy.count_logged("\"ended_by\""), 0);
    assert_eq!(metric(&proxy, "pointsman_connections{listener=\"web\"}"), 20);
}

#[test]
fn a_session_that_went_over_ends_as_one() {
    let server = Echo::start("");
    // Longer than handing over takes on a busy machine. No question is under way meanwhile: an answer that the program
    // before still passes on may be in no line.
    let proxy = Proxy::start(&passing(&[server.address], "", "udp = { idle = \"10s\" }"));
    let client = connected(&proxy);
    assert_eq!(ask(&client, "a"), "a");
    proxy.signal("USR2");
    proxy.until_upgraded(1);
    proxy.until_logged("datagram sessions handed over", 1);
    assert_eq!(ask(&client, "b"), "b");
    let line = logged(&proxy, 1).remove(0);
    let counts = ["datagrams_in", "datagrams_out"].map(|field| line[field].as_u64());
    assert_eq!((counts, line["ended_by"].as_str()), ([Some(2), Some(2)], Some("idle")), "{line}");
    // Two seconds of them before the next program had it.
    assert!(line["duration_ms"].as_f64().unwrap() > 12_000.0, "{line}");
    assert_eq!(lines(&proxy).len(), 1, "the program before said nothing of it");
}

/// Sends datagrams of a hundred bytes and a shorter one, as one for the kernel to take apart (UDP_SEGMENT).
fn send_joined(socket: &UdpSocket, to: SocketAddr, number: u8) {
    let contents: Vec<u8> =
        (0..20_u8).flat_map(|part| [number, part].repeat(50)).chain([number, 20]).collect();
    // Of another socket: one for which this is asked reads joined, too.
    let state = quinn_udp::UdpSocketState::new((&client()).into()).unwrap();
    let transmit = quinn_udp::Transmit {
        destination: to,
        ecn: None,
        contents: &contents,
        segment_size: Some(100),
        src_ip: None,
    };
    state.try_send(socket.into(), &transmit).unwrap();
}

fn assert_joined_came(socket: &UdpSocket, number: u8) {
    for part in 0..=20 {
        let mut bytes = [0; 2000];
        let length = socket.recv(&mut bytes).unwrap();
        assert_eq!(
            (length, &bytes[..2]),
            (if part < 20 { 100 } else { 2 }, &[number, part][..]),
            "{number} {part}"
        );
    }
}

#[test]
fn datagrams_that_come_joined_go_on_each_for_itself() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let proxy = Proxy::start(&passing(&[server.local_addr().unwrap()], "", ""));
    let client = connected(&proxy);
    client.send(b"hello").unwrap();
    let (_, from) = server.recv_from(&mut [0; 10]).unwrap();
    for number in 0..30 {
        send_joined(&client, proxy.address("web"), number);
        assert_joined_came(&server, number);
        // The later ones are read joined: after some hundred answers that is worth asking the kernel for.
        send_joined(&server, from, number);
        assert_joined_came(&client, number);
    }
    drop(proxy);
}
