//! What passes and what does not, each with its reason; when checks are sent; that none overlaps itself.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tokio::{
    net::{TcpListener, UdpSocket, UnixListener},
    time::{sleep, timeout},
};

use super::*;
use crate::{
    backend::{Backend, Shared},
    health::{Condition, conf::StatusRange},
    tls::conf::Starttls,
};

fn conf(kind: CheckKind) -> HealthCheckConf {
    HealthCheckConf {
        kind,
        path: "/healthz".into(),
        host: String::new(),
        headers: Vec::new(),
        port: None,
        expect_status: vec![StatusRange { first: 200, last: 399 }],
        send: String::new(),
        expect: String::new(),
        service: String::new(),
        interval: Duration::from_millis(10),
        timeout: Duration::from_secs(5),
        rise: 2,
        fall: 3,
        initial: InitialState::Up,
    }
}

fn probe_of(address: Address, conf: HealthCheckConf) -> Probe {
    let backend = Backend {
        name: "a".into(),
        address,
        weight: 1,
        max_connections: 0,
        backup: false,
        slow_start: Duration::ZERO,
        shared: Arc::new(Shared { is_looked_up: true.into(), ..Shared::default() }),
    };
    Probe {
        conf,
        backend: Arc::new(backend),
        index: 7,
        tls: None,
        version: CheckVersion::Http1,
        first: Vec::new(),
        limits: HeadLimits { bytes: 64 * 1024, fields: 200, target: 0 },
    }
}

fn tcp_probe(port: u16, conf: HealthCheckConf) -> Probe {
    let probe = probe_of(Address::Host { host: "127.0.0.1".into(), port }, conf);
    probe.backend.shared.resolved.store(Arc::new(vec![([127, 0, 0, 1], port).into()]));
    probe
}

/// A server that gives each connection this answer and closes; returns its port and what it was sent.
async fn server(answer: &'static [u8]) -> (u16, Rc<RefCell<Vec<u8>>>, impl Future<Output = ()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let got = Rc::new(RefCell::new(Vec::new()));
    let seen = got.clone();
    let serve = async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            let length = stream.read(&mut bytes).await.unwrap();
            bytes.truncate(length);
            seen.replace(bytes);
            // The probe may have left.
            drop(stream.write_all(answer).await);
        }
    };
    (port, got, serve)
}

async fn verdict(answer: &'static [u8], conf: HealthCheckConf) -> (Result<(), Fault>, Vec<u8>) {
    let (port, got, serve) = server(answer).await;
    let probe = tcp_probe(port, conf);
    let result = tokio::select! {
        result = send(&probe) => result,
        () = serve => unreachable!(),
    };
    (result, got.take())
}

#[tokio::test]
async fn the_status_decides() {
    let http = || conf(CheckKind::Http);
    let (result, sent) = verdict(b"HTTP/1.1 204 No Content\r\n\r\n", http()).await;
    assert_eq!(result, Ok(()));
    let sent = String::from_utf8(sent).unwrap();
    assert!(sent.starts_with("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1:"), "{sent}");
    assert!(sent.contains("user-agent: pointsman-health-check\r\n"), "{sent}");
    let (_, sent) = verdict(b"", HealthCheckConf { host: "api.test".into(), ..http() }).await;
    assert!(String::from_utf8(sent).unwrap().contains("host: api.test\r\n"));
    let cases: [(&'static [u8], &str); 5] = [
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno", "status 500"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "status 404"),
        (b"", "the connection was closed without an answer"),
        (b"HTTP/1.1 20", "the connection was closed without an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "the answer is not HTTP"),
    ];
    for (answer, reason) in cases {
        assert_eq!(verdict(answer, http()).await.0, Err(reason.into()), "{answer:?}");
    }
    let teapot = vec![StatusRange { first: 200, last: 204 }, StatusRange { first: 418, last: 418 }];
    let (result, _) =
        verdict(b"HTTP/1.1 418 Pot\r\n\r\n", HealthCheckConf { expect_status: teapot, ..http() }).await;
    assert_eq!(result, Ok(()));
}

/// As many as responses to requests may have.
#[tokio::test]
async fn head_of_an_answer_may_be_as_large_as_others() {
    let answer = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count)).leak().as_bytes();
    assert_eq!(verdict(answer(150), conf(CheckKind::Http)).await.0, Ok(()));
    let too_large = "the response head is larger, or has more fields, than the upstream's `limits` allow";
    assert_eq!(verdict(answer(250), conf(CheckKind::Http)).await.0, Err(too_large.into()));
}

#[tokio::test]
async fn a_status_decides_whether_its_body_ends_or_not() {
    for (status, wanted) in [("200 OK", Ok(())), ("503 Busy", Err("status 503".into()))] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let probe =
            tcp_probe(port, HealthCheckConf { timeout: Duration::from_secs(60), ..conf(CheckKind::Http) });
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: 9\r\n\r\nshort");
            stream.write_all(head.as_bytes()).await.unwrap();
            // Until the check has left.
            while stream.read(&mut [0; 1024]).await.is_ok_and(|length| length > 0) {}
        };
        let begun = Instant::now();
        let (result, ()) = tokio::join!(send(&probe), serve);
        assert_eq!(result, wanted);
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not wait for `timeout`");
    }
    // One that breaks off has said its status too.
    let (result, _) =
        verdict(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", conf(CheckKind::Http)).await;
    assert_eq!(result, Ok(()));
}

#[tokio::test]
async fn fields_and_port_are_those_of_the_check() {
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = vec![pair("Authorization", "Bearer x"), pair("User-Agent", "me")];
    let (result, sent) = verdict(answer, HealthCheckConf { headers, ..conf(CheckKind::Http) }).await;
    assert_eq!(result, Ok(()));
    let sent = String::from_utf8(sent).unwrap().to_ascii_lowercase();
    assert!(sent.contains("\r\nauthorization: bearer x\r\nuser-agent: me\r\n"), "{sent}");
    assert!(!sent.contains("pointsman-health-check"), "{sent}");
    // The backend's own port takes nothing.
    let (port, _, serve) = server(answer).await;
    let probe = tcp_probe(1, HealthCheckConf { port: Some(port), ..conf(CheckKind::Http) });
    let result = tokio::select! {
        result = send(&probe) => result,
        () = serve => unreachable!(),
    };
    assert_eq!(result, Ok(()));
}

#[tokio::test]
async fn an_endless_body_is_left_at_64_kib() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let probe = tcp_probe(listener.local_addr().unwrap().port(), conf(CheckKind::Http));
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // An answer before the request would be another failure.
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
        std::future::pending().await
    };
    let result = tokio::select! {
        result = send(&probe) => result,
        () = serve => unreachable!(),
    };
    assert_eq!(result, Ok(()));
}

#[tokio::test]
async fn tcp_connects_and_may_talk() {
    let talk = |send: &str, expect: &str| HealthCheckConf {
        send: send.into(),
        expect: expect.into(),
        ..conf(CheckKind::Tcp)
    };
    assert_eq!(verdict(b"", talk("", "")).await.0, Ok(()));
    let (result, sent) = verdict(b"+PONG\r\n", talk("PING\r\n", "PONG")).await;
    assert_eq!((result, &sent[..]), (Ok(()), &b"PING\r\n"[..]));
    let reason = "the connection was closed without \"PONG\"";
    assert_eq!(verdict(b"-LOADING\r\n", talk("PING\r\n", "PONG")).await.0, Err(reason.into()));
    let reason = "\"PONG\" is not in the first 64 KiB of the answer";
    assert_eq!(verdict(&[b'x'; 100_000], talk("PING\r\n", "PONG")).await.0, Err(reason.into()));
}

#[tokio::test]
async fn what_is_expected_may_come_byte_by_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let expecting = HealthCheckConf { expect: "aab".into(), ..conf(CheckKind::Tcp) };
    let probe = tcp_probe(listener.local_addr().unwrap().port(), expecting);
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in b"caaab" {
            stream.write_all(&[*byte]).await.unwrap();
            // The check reads it before the next.
            sleep(Duration::from_millis(5)).await;
        }
        stream
    };
    let (result, _) = tokio::join!(send(&probe), serve);
    assert_eq!(result, Ok(()));
}

#[tokio::test]
async fn what_cannot_be_connected_to_says_why() {
    // Bound, so that nobody else gets the port, and not listening.
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let gone = bound.local_addr().unwrap().as_socket().unwrap().port();
    let probe = tcp_probe(gone, conf(CheckKind::Http));
    assert_eq!(send(&probe).await, Err("connection refused".into()));
    probe.backend.shared.resolved.store(Arc::default());
    assert_eq!(send(&probe).await, Err("the name has no address".into()));
    let probe = probe_of(Address::Unix("/nonexistent/pointsman.sock".into()), conf(CheckKind::Tcp));
    assert_eq!(send(&probe).await, Err("there is no such socket".into()));
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let quick = HealthCheckConf { timeout: Duration::from_millis(20), ..conf(CheckKind::Http) };
    let probe = tcp_probe(silent.local_addr().unwrap().port(), quick);
    assert_eq!(send(&probe).await, Err("no answer within 20ms".into()));
}

#[tokio::test]
async fn a_name_that_could_not_be_asked_for_says_nothing() {
    let address = Address::Host { host: "app.test".into(), port: 80 };
    let probe = probe_of(address, conf(CheckKind::Tcp));
    assert!(matches!(send(&probe).await, Err(Fault::OfBackend(_))), "there is no such name");
    probe.backend.shared.has_no_socket.store(true, Relaxed);
    assert_eq!(send(&probe).await, Err(Fault::NoSocket));
}

#[tokio::test(start_paused = true)]
async fn check_waits_for_the_first_look_up_of_its_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for kind in [CheckKind::Tcp, CheckKind::Udp] {
        let host = Address::Host { host: "app.test".into(), port: address.port() };
        let probe = probe_of(host, conf(kind));
        let shared = &probe.backend.shared;
        shared.is_looked_up.store(false, Relaxed);
        assert_eq!(send(&probe).await, Err(Fault::NotLookedUp), "it says nothing of the backend");
        let look_up = async {
            sleep(Duration::from_secs(2)).await;
            shared.resolved.store(Arc::new(vec![address]));
            shared.is_looked_up.store(true, Relaxed);
        };
        let (result, ()) = tokio::join!(send(&probe), look_up);
        // Nobody listens for datagrams there.
        let wanted = if kind == CheckKind::Tcp { Ok(()) } else { Err("connection refused".into()) };
        assert_eq!(result, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn checks_before_the_first_look_up_change_nothing() {
    for initial in [InitialState::Up, InitialState::Down] {
        let timeout_is = Duration::from_millis(200);
        let conf = HealthCheckConf { initial, fall: 1, timeout: timeout_is, ..conf(CheckKind::Tcp) };
        let probe = Arc::new(probe_of(Address::Host { host: "app.test".into(), port: 1 }, conf));
        probe.backend.shared.is_looked_up.store(false, Relaxed);
        let (_probes, receiver) = watch::channel(Some(probe.clone()));
        let check = run(receiver, |_, change| panic!("it changes: {change:?}"));
        drop(timeout(Duration::from_secs(10), check).await);
        assert_eq!(probe.backend.is_probed_up(), initial == InitialState::Up);
        assert_eq!(probe.backend.shared.health_counts.failed.load(Relaxed), 0);
    }
}

#[tokio::test]
async fn unix_sockets_and_second_addresses_are_checked() {
    let path = std::env::temp_dir().join(format!("pointsman-probe-{}.sock", std::process::id()));
    drop(std::fs::remove_file(&path));
    let listener = UnixListener::bind(&path).unwrap();
    assert_eq!(send(&probe_of(Address::Unix(path.clone()), conf(CheckKind::Tcp))).await, Ok(()));
    drop(listener);
    std::fs::remove_file(path).unwrap();
    // Bound, so that nobody else gets the port, and not listening.
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let gone = bound.local_addr().unwrap().as_socket().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let probe = tcp_probe(1, conf(CheckKind::Tcp));
    probe.backend.shared.resolved.store(Arc::new(vec![gone, listener.local_addr().unwrap()]));
    assert_eq!(send(&probe).await, Ok(()));
}

#[tokio::test]
async fn a_silent_address_hides_no_other_that_answers_datagrams() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addresses = [&silent, &server].map(|socket| socket.local_addr().unwrap());
    let udp = HealthCheckConf {
        send: "ping".into(),
        expect: "pong".into(),
        timeout: Duration::from_secs(60),
        ..conf(CheckKind::Udp)
    };
    let probe = tcp_probe(1, udp);
    let serve = async {
        let mut bytes = [0; 100];
        loop {
            let (length, from) = server.recv_from(&mut bytes).await.unwrap();
            assert_eq!(&bytes[..length], b"ping");
            server.send_to(b"pong", from).await.unwrap();
        }
    };
    let check = async {
        for order in [[0, 1], [1, 0]] {
            let addresses = order.map(|index| addresses[index]);
            probe.backend.shared.resolved.store(Arc::new(addresses.to_vec()));
            assert_eq!(send(&probe).await, Ok(()), "{order:?}");
        }
    };
    tokio::select! {
        () = check => {}
        () = serve => unreachable!(),
    }
}

#[tokio::test]
async fn tls_is_verified_as_configured() {
    let dir = std::env::temp_dir().join(format!("pointsman-probe-tls-{}", std::process::id()));
    crate::tls::demo::demo_certificates(&dir).unwrap();
    let certificate =
        crate::tls::conf::CertificateConf { chain: dir.join("demo.pem"), key: dir.join("demo.key") };
    let tickets = crate::tls::tickets::Tickets::new(Moment(1)).unwrap();
    let off = crate::tls::conf::ClientAuthConf { mode: crate::tls::conf::ClientAuthMode::Off, ca: None };
    let offer = crate::tls::server::Offer { crypto: &crate::tls::crypto::CryptoConf::default(), alpn: &[] };
    let server = crate::tls::server::ServerTls::build("t", &[certificate], &off, offer, &tickets).unwrap();
    let client = crate::tls::conf::UpstreamTlsConf {
        server_name: None,
        ca: Some(dir.join("ca.pem")),
        certificate: None,
        verify: true,
        crypto: crate::tls::crypto::CryptoConf::default(),
    };
    let (client, _) = crate::tls::client::build(&client).unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(server.config.clone());
    let serve = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    };
    let mut probe = tcp_probe(listener.local_addr().unwrap().port(), conf(CheckKind::Http));
    let check = async {
        probe.tls = Some((client.clone(), "localhost".try_into().unwrap(), Starttls::Off));
        assert_eq!(send(&probe).await, Ok(()));
        probe.tls = Some((client.clone(), "wrong.test".try_into().unwrap(), Starttls::Off));
        let Err(Fault::OfBackend(reason)) = send(&probe).await else { panic!("it is up, or was not asked") };
        assert!(reason.starts_with("TLS: ") && reason.contains("wrong.test"), "{reason}");
    };
    tokio::select! {
        () = check => {}
        () = serve => unreachable!(),
    }
}

#[tokio::test]
async fn a_server_that_fails_goes_down_and_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let is_ill = Cell::new(true);
    let serve = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer: &[u8] =
                if is_ill.get() { b"HTTP/1.1 503 No\r\n\r\n" } else { b"HTTP/1.1 200 OK\r\n\r\n" };
            drop(stream.read(&mut [0; 1024]).await);
            drop(stream.write_all(answer).await);
        }
    };
    let probe = Arc::new(tcp_probe(listener.local_addr().unwrap().port(), conf(CheckKind::Http)));
    let (probes, receiver) = watch::channel(Some(probe.clone()));
    let changes = RefCell::new(Vec::new());
    let check = run(receiver, |_, change| {
        is_ill.set(change.condition != Condition::Down);
        changes.borrow_mut().push(change);
        if changes.borrow().len() == 3 {
            probes.send(None).unwrap();
        }
    });
    tokio::select! {
        () = check => {}
        () = serve => unreachable!(),
    }
    let changes: Vec<_> =
        changes.borrow().iter().map(|it| (it.index, it.condition, it.reason.to_string())).collect();
    let down = (7, Condition::Down, "3 checks in a row failed: status 503".to_owned());
    let up = (7, Condition::Up, "passed 2 checks in a row".to_owned());
    assert_eq!(changes, [down.clone(), up, down]);
    assert!(probe.backend.is_probed_up(), "no longer checked, it counts as up");
}

/// Runs the schedule on paused time for ten seconds with checks that take `takes`.
async fn sent_within_ten_seconds(takes: Duration) -> u32 {
    let slow = HealthCheckConf { interval: Duration::from_secs(1), ..conf(CheckKind::Tcp) };
    let (_probes, receiver) = watch::channel(Some(Arc::new(tcp_probe(1, slow))));
    let (count, under_way) = (Cell::new(0), Cell::new(false));
    let send = async |_: &Probe| {
        assert!(!under_way.replace(true), "a check overlaps another");
        count.set(count.get() + 1);
        sleep(takes).await;
        under_way.set(false);
        Ok(())
    };
    drop(timeout(Duration::from_secs(10), schedule(receiver, send, |_, _| {})).await);
    count.get()
}

#[tokio::test(start_paused = true)]
async fn checks_keep_their_interval_and_never_overlap() {
    let quick = sent_within_ten_seconds(Duration::from_millis(1)).await;
    assert!((9..=12).contains(&quick), "{quick}");
    // Counted from the sending: an answer that takes long does not stretch the interval.
    let slow = sent_within_ten_seconds(Duration::from_millis(800)).await;
    assert!((9..=12).contains(&slow), "{slow}");
    let too_slow = sent_within_ten_seconds(Duration::from_millis(2500)).await;
    assert!((3..=4).contains(&too_slow), "{too_slow}");
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_the_settings_and_keeps_the_state() {
    let with = |interval, fall| {
        let interval = Duration::from_secs(interval);
        Arc::new(tcp_probe(1, HealthCheckConf { interval, fall, ..conf(CheckKind::Tcp) }))
    };
    let first = with(1000, 3);
    let mut second = Probe::clone(&with(1, 2));
    second.backend = first.backend.clone();
    second.index = 2;
    let (probes, receiver) = watch::channel(Some(first.clone()));
    let changes = RefCell::new(Vec::new());
    let check = schedule(
        receiver,
        async |_: &Probe| Err("ill".into()),
        |_, change| {
            changes.borrow_mut().push((change.index, change.reason.to_string()));
        },
    );
    let reload = async {
        sleep(Duration::from_secs(1900)).await;
        assert!(changes.borrow().is_empty() && first.backend.is_probed_up());
        probes.send_replace(Some(Arc::new(second)));
        sleep(Duration::from_secs(5)).await;
        assert!(!first.backend.is_probed_up());
        drop(probes);
    };
    tokio::join!(check, reload);
    let [(index, reason)] = &changes.take()[..] else { panic!() };
    assert_eq!(*index, 2);
    assert!(reason.ends_with("checks in a row failed: ill"), "{reason}");
    assert!(first.backend.is_probed_up(), "retired");
}

#[tokio::test(start_paused = true)]
async fn reload_that_mends_a_check_reaches_one_under_way() {
    let long = Duration::from_secs(3600);
    let of = |expect: &str| HealthCheckConf {
        expect: expect.into(),
        interval: long,
        rise: 1,
        initial: InitialState::Down,
        ..conf(CheckKind::Tcp)
    };
    let first = Arc::new(tcp_probe(1, of("hi")));
    let again = |conf: HealthCheckConf| Some(Arc::new(Probe { conf, ..Probe::clone(&first) }));
    let (probes, receiver) = watch::channel(Some(first.clone()));
    let asked = Cell::new(0);
    let send = async |probe: &Probe| {
        asked.set(asked.get() + 1);
        if probe.conf.expect == "hi" { std::future::pending().await } else { Ok(()) }
    };
    let check = schedule(receiver, send, |_, _| {});
    let reload = async {
        sleep(Duration::from_secs(1)).await;
        probes.send_replace(again(HealthCheckConf { fall: 5, ..of("hi") }));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(asked.get(), 1, "it asks as before");
        assert!(!first.backend.is_probed_up());
        probes.send_replace(again(of("")));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(asked.get(), 2);
        assert!(first.backend.is_probed_up());
        drop(probes);
    };
    tokio::join!(check, reload);
}

#[tokio::test(start_paused = true)]
async fn a_removed_backend_is_released_during_a_check() {
    let down = HealthCheckConf { initial: InitialState::Down, ..conf(CheckKind::Tcp) };
    let probe = Arc::new(tcp_probe(1, down));
    let (probes, receiver) = watch::channel(Some(probe.clone()));
    let send = async |_: &Probe| std::future::pending().await;
    let check = schedule(receiver, send, |_, _| panic!("nothing changed"));
    let remove = async {
        sleep(Duration::from_secs(1)).await;
        assert!(!probe.backend.is_probed_up());
        probes.send_replace(None);
    };
    timeout(Duration::from_secs(2), async { tokio::join!(check, remove) }).await.unwrap();
    assert!(probe.backend.is_probed_up());
}
