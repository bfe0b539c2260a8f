//! TLS at the edge: versions, ALPN, certificates by name, clients' certificates, resumption, timeouts.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use rustls::{
    ProtocolVersion,
    version::{TLS12, TLS13},
};

use crate::support::{
    Client, Origin, Proxy,
    h2::{self, Http2},
    proxy::config_of,
    tls::{self, Authority, Manner, SECURE, TlsClient, certificate},
};

fn secured_in(folder: PathBuf, listener: &str, more: &str) -> (Origin, Proxy) {
    let origin = Origin::named("hello");
    let proxy = Proxy::start_in(folder, &config_of(&[origin.address().to_string()], listener, more));
    (origin, proxy)
}

fn secured(options: &str) -> (Origin, Proxy) {
    secured_in(tls::folder(), &(SECURE.to_owned() + options), "")
}

impl Proxy {
    fn tls(&self, manner: &Manner) -> std::io::Result<TlsClient> {
        TlsClient::connect(self.address("web"), "localhost", &manner.config(self.folder()))
    }
}

#[test]
fn curl_verifies_the_certificate_and_the_backend_learns_of_https() {
    let (origin, proxy) = secured("");
    let curl = |options: &[&str]| {
        let url = format!("https://localhost:{}/curl", proxy.address("web").port());
        let resolve = format!("localhost:{}:127.0.0.1", proxy.address("web").port());
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"]);
        let output = command.args(["--resolve", &resolve]).args(options).arg(url).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    if Command::new("curl").arg("--version").output().is_err() {
        crate::support::skipped("curl");
        return;
    }
    let ca = proxy.folder().join("ca.pem");
    let ca = ca.to_str().unwrap();
    assert_eq!(curl(&["--cacert", ca, "--http1.1"]).unwrap(), "200 1.1");
    assert_eq!(curl(&["--cacert", ca, "--http2"]).unwrap(), "200 2");
    for request in origin.requests() {
        assert_eq!(request.header("x-forwarded-proto"), Some("https"));
        assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    }
    let before = origin.requests().len();
    assert!(curl(&[]).unwrap().starts_with("000"), "the authority is not one of the system's");
    assert_eq!(origin.requests().len(), before);
}

#[test]
fn tls_versions_and_http_protocols_are_negotiated() {
    let (_origin, proxy) = secured("");
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let mut client = proxy.tls(&Manner { versions: &[version], ..Manner::default() }).unwrap();
        assert_eq!((client.version(), client.alpn()), (name, None));
        assert!(client.get("localhost", "/").unwrap().ends_with("hello"));
    }
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], "h2"),
        (&["http/1.1", "h2"], "h2"),
        (&["http/1.1"], "http/1.1"),
        (&["h2"], "h2"),
        (&["http/1.1", "spdy/1"], "http/1.1"),
    ] {
        let client = proxy.tls(&Manner { alpn: offered, ..Manner::default() }).unwrap();
        assert_eq!(client.alpn(), Some(agreed), "{offered:?}");
    }
    // RFC 7301 §3.2: nothing in common is fatal, rather than a protocol that the client did not offer.
    assert!(proxy.tls(&Manner { alpn: &["spdy/1"], ..Manner::default() }).is_err());
}

/// A proxy with three certificates: exact names (the default), another exact name, and a wildcard.
fn with_names() -> (Origin, Proxy) {
    let folder = crate::support::proxy::folder();
    let authority = Authority::new(&folder);
    authority.issue(&folder, "default", &["a.test", "b.test"]);
    authority.issue(&folder, "exact", &["own.c.test"]);
    authority.issue(&folder, "wildcard", &["*.c.test"]);
    let files = ["default", "exact", "wildcard"];
    let tables =
        files.map(|file| format!("[[listener.certificate]]\nchain = \"{file}.pem\"\nkey = \"{file}.key\"\n"));
    secured_in(folder, &format!("protocol = \"https\"\n{}", tables.concat()), "")
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let (_origin, proxy) = with_names();
    let config = Manner { ca: "own-ca.pem", ..Manner::default() }.config(proxy.folder());
    for (name, file) in [
        ("a.test", "default"),
        ("b.test", "default"),
        ("B.Test", "default"),
        ("own.c.test", "exact"),
        ("other.c.test", "wildcard"),
    ] {
        let mut client = TlsClient::connect(proxy.address("web"), name, &config).unwrap();
        assert_eq!(client.shown(), certificate(&proxy.folder().join(format!("{file}.pem"))), "{name}");
        assert_eq!(client.status(name, "/"), 200, "{name}");
    }
    // The default is shown, which is not good for these: one label for a wildcard, and not none.
    for name in ["deep.other.c.test", "c.test", "unknown.test", "127.0.0.1"] {
        assert!(TlsClient::connect(proxy.address("web"), name, &config).is_err(), "{name}");
    }
}

#[test]
fn a_request_for_a_host_of_another_certificate_is_misdirected() {
    let (origin, proxy) = with_names();
    let config = Manner { ca: "own-ca.pem", ..Manner::default() }.config(proxy.folder());
    for (name, host, status) in [
        ("a.test", "b.test", 200),
        ("a.test", "A.TEST:8443", 200),
        ("x.c.test", "y.c.test", 200),
        ("a.test", "x.c.test", 421),
        ("x.c.test", "a.test", 421),
        ("x.c.test", "own.c.test", 421),
        ("own.c.test", "x.c.test", 421),
        // Served by the default, as its own handshake would show.
        ("a.test", "unknown.test", 200),
        ("x.c.test", "unknown.test", 421),
    ] {
        let before = origin.requests().len();
        let mut client = TlsClient::connect(proxy.address("web"), name, &config).unwrap();
        assert_eq!(client.status(host, "/"), status, "{name}, then {host}");
        assert_eq!(origin.requests().len() - before, usize::from(status == 200), "{name}, then {host}");
        assert_eq!(client.status(name, "/"), 200, "the connection goes on: {name}, then {host}");
    }
}

#[test]
fn a_required_client_certificate_must_be_shown_and_be_good() {
    let options = "[listener.client_auth]\nmode = \"require\"\nca = \"clients-ca.pem\"\n";
    let (origin, proxy) = secured(options);
    let strange = crate::support::proxy::folder();
    Authority::new(&strange).issue(&strange, "strange", &["client"]);
    for file in ["strange.pem", "strange.key"] {
        std::fs::copy(strange.join(file), proxy.folder().join(file)).unwrap();
    }
    std::fs::remove_dir_all(strange).unwrap();
    for versions in [&[&TLS12][..], &[&TLS13]] {
        for certificate in [None, Some("strange"), Some("demo")] {
            let client = proxy.tls(&Manner { certificate, versions, ..Manner::default() });
            // With TLS 1.3 the client is done before the server has seen its certificate.
            let result = client.and_then(|mut client| client.get("localhost", "/"));
            assert!(result.is_err(), "{certificate:?}: {result:?}");
        }
        assert!(origin.requests().is_empty(), "nothing goes on without a certificate");
    }
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let mut client =
            proxy.tls(&Manner { certificate: Some("client"), versions, ..Manner::default() }).unwrap();
        assert_eq!(client.status("localhost", "/"), 200);
    }
}

#[test]
fn an_optional_client_certificate_may_be_absent_not_bad() {
    let (origin, proxy) = secured("[listener.client_auth]\nmode = \"request\"\nca = \"clients-ca.pem\"\n");
    for certificate in [None, Some("client")] {
        let mut client = proxy.tls(&Manner { certificate, ..Manner::default() }).unwrap();
        assert_eq!(client.status("localhost", "/"), 200, "{certificate:?}");
    }
    // A server's certificate is not one for clients.
    let client = proxy.tls(&Manner { certificate: Some("demo"), ..Manner::default() });
    assert!(client.and_then(|mut client| client.get("localhost", "/")).is_err());
    assert_eq!(origin.requests().len(), 2);
}

/// Else a client that keeps its connection busy would keep what a certificate gave it, or go without one, for ever.
#[test]
fn reload_of_client_auth_reaches_connections_that_are_open() {
    let folder = tls::folder();
    Authority::new(&folder);
    let origin = Origin::named("hello");
    let text = |mode: &str, ca: &str, more: &str| {
        let auth = format!("{SECURE}[listener.client_auth]\nmode = \"{mode}\"\nca = \"{ca}\"\n");
        config_of(&[origin.address().to_string()], &auth, more)
    };
    let proxy = Proxy::start_in(folder, &text("request", "clients-ca.pem", ""));
    let edit = |config: &str| {
        let before = proxy.count_logged("configuration in force");
        proxy.edit(config);
        proxy.until_logged("configuration in force", before + 1);
    };
    let is_ended = |mut client: TlsClient| {
        let (answer, before) = (client.get("localhost", "/").unwrap(), origin.requests().len());
        assert!(
            answer.starts_with("HTTP/1.1 421 ") && answer.contains("\r\nconnection: close\r\n"),
            "{answer}"
        );
        assert!(client.get("localhost", "/").is_err());
        assert_eq!(origin.requests().len(), before);
    };
    let known = Manner { certificate: Some("client"), ..Manner::default() };
    let mut unknown = proxy.tls(&Manner::default()).unwrap();
    assert_eq!(unknown.status("localhost", "/"), 200);
    h2::run(async {
        let streams = Http2::connect_tls(&proxy).await;
        assert_eq!(streams.get("/").await.unwrap().0, 200);
        edit(&text("require", "clients-ca.pem", ""));
        assert_eq!(streams.get("/").await.unwrap().0, 421);
        let _however = streams.connection.await.unwrap();
    });
    is_ended(unknown);
    let mut client = proxy.tls(&known).unwrap();
    assert_eq!(client.status("localhost", "/"), 200);
    edit(&text("require", "clients-ca.pem", "# Something else.\nretry = { attempts = 1 }\n---\n"));
    assert_eq!(client.status("localhost", "/"), 200, "nothing that is about it has changed");
    edit(&text("require", "own-ca.pem", ""));
    is_ended(client);
    let again = proxy.tls(&known).and_then(|mut client| client.get("localhost", "/"));
    assert!(again.is_err(), "the authority is not trusted any more: {again:?}");
}

#[test]
fn backends_are_told_what_a_client_showed() {
    let origin = Origin::named("hello");
    let folder = tls::folder();
    let listener = format!("{SECURE}[listener.client_auth]\nmode = \"request\"\nca = \"clients-ca.pem\"\n");
    let headers = "request_headers = { set = { x-subject = '{tls.client.subject}', x-print = '{tls.client.fingerprint}', \
                   x-der = '{tls.client.certificate}', x-tls = '{tls.version} {tls.cipher} {tls.sni}' } }";
    let text = config_of(&[origin.address().to_string()], &listener, "");
    let text = text.replace("upstream = \"u\"\n", &format!("upstream = \"u\"\n{headers}\n"));
    let proxy = Proxy::start_in(folder, &text);
    let manner = Manner { certificate: Some("client"), versions: &[&TLS13], ..Manner::default() };
    let mut client = proxy.tls(&manner).unwrap();
    assert_eq!(client.status("localhost", "/"), 200);
    let request = origin.last();
    assert!(request.header("x-subject").unwrap().contains("CN="), "{:?}", request.header("x-subject"));
    assert_eq!(request.header("x-print").unwrap().len(), 64);
    assert!(request.header("x-der").unwrap().starts_with("MII"));
    let tls = request.header("x-tls").unwrap();
    assert!(tls.starts_with("TLSv1.3 TLS_") && tls.ends_with(" localhost"), "{tls}");
    // Nobody without a certificate has one by saying so.
    let client = proxy.tls(&Manner::default()).unwrap();
    let forged =
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-Subject: CN=admin\r\nX-Print: 0\r\nConnection: close\r\n\r\n";
    assert!(client.last(forged).unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!((origin.last().header("x-subject"), origin.last().header("x-print")), (None, None));
}

#[test]
fn a_session_is_resumed_by_whatever_worker() {
    let (_origin, proxy) = secured("");
    for version in [&TLS12, &TLS13] {
        let config = Manner { versions: &[version], ..Manner::default() }.config(proxy.folder());
        let mut is_first = true;
        // Two workers: the chance that one of them takes all of these is nil.
        for number in 0..40 {
            let mut client = TlsClient::connect(proxy.address("web"), "localhost", &config).unwrap();
            assert_eq!(client.status("localhost", "/"), 200);
            assert_eq!(client.is_resumed(), !is_first, "connection {number} with {version:?}");
            is_first = false;
        }
        let mut stranger = proxy.tls(&Manner { versions: &[version], ..Manner::default() }).unwrap();
        assert_eq!(stranger.status("localhost", "/"), 200);
        assert!(!stranger.is_resumed(), "who has no ticket resumes nothing");
    }
}

#[test]
fn a_ticket_is_refused_where_certificates_are_required() {
    let origin = Origin::named("hello");
    let files = "[[listener.certificate]]\nchain = \"demo.pem\"\nkey = \"demo.key\"\n";
    let second = format!(
        "{SECURE}[[listener]]\nname = \"mutual\"\naddress = \"127.0.0.1:0\"\nprotocol = \"https\"\n{files}\
         [listener.client_auth]\nmode = \"require\"\nca = \"clients-ca.pem\"\n"
    );
    let proxy = Proxy::start_in(tls::folder(), &config_of(&[origin.address().to_string()], &second, ""));
    for version in [&TLS12, &TLS13] {
        let config = Manner { versions: &[version], ..Manner::default() }.config(proxy.folder());
        let mut open = TlsClient::connect(proxy.address("web"), "localhost", &config).unwrap();
        assert_eq!(open.status("localhost", "/"), 200);
        let before = origin.requests().len();
        // CVE-2025-23419.
        let mutual = TlsClient::connect(proxy.address("mutual"), "localhost", &config);
        assert!(mutual.and_then(|mut client| client.get("localhost", "/")).is_err());
        assert_eq!(origin.requests().len(), before);
    }
}

#[test]
fn what_is_not_tls_is_closed_and_others_go_on() {
    let (origin, mut proxy) = secured("");
    let mut kept = proxy.tls(&Manner::default()).unwrap();
    for bytes in [&b"get / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff, 0, 0], &[0; 600]] {
        let mut client = Client::connect(proxy.address("web"));
        client.send(bytes);
        client.shut();
        while client.exactly(1).len() == 1 {}
        assert!(client.is_closed());
    }
    assert!(origin.requests().is_empty(), "nothing was taken for a request");
    assert_eq!(kept.status("localhost", "/"), 200);
    assert!(proxy.is_running());
    assert!(proxy.log().iter().all(|line| !line.contains("panic")));
}

#[test]
fn a_silent_handshake_is_ended() {
    let (_origin, proxy) = secured("[listener.timeouts]\ntls_handshake = \"1s\"\n");
    // The limit is its own too, and a busy machine may be late.
    let mut kept = (0..10).find_map(|_| proxy.tls(&Manner::default()).ok()).expect("a handshake in time");
    let begun = Instant::now();
    let mut silent = Client::connect(proxy.address("web"));
    let mut slow = Client::connect(proxy.address("web"));
    slow.send([0x16, 3, 1, 2, 0, 1]);
    assert!(silent.is_closed());
    assert!(slow.is_closed());
    // The limit is ten seconds where none is given.
    let took = begun.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(9)).contains(&took), "{took:?}");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(kept.status("localhost", "/"), 200, "the limit is the handshake's only");
}

#[test]
fn the_sticky_cookie_is_secure_when_set_over_tls() {
    let plain = "[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n";
    let (_origin, proxy) =
        secured_in(tls::folder(), &(SECURE.to_owned() + plain), "sticky = { cookie = \"node\" }\n---\n");
    let cookie = |response: &str| {
        let lower = response.to_ascii_lowercase();
        lower.lines().find(|line| line.starts_with("set-cookie: node=")).expect("a cookie").to_owned()
    };
    let over_tls = cookie(&proxy.tls(&Manner::default()).unwrap().get("localhost", "/").unwrap());
    assert!(over_tls.contains("; secure") && over_tls.contains("; httponly"), "{over_tls}");
    let response = Client::connect(proxy.address("plain")).get("/");
    let over_tcp = response.header("set-cookie").unwrap();
    assert!(over_tcp.starts_with("node=") && !over_tcp.to_ascii_lowercase().contains("secure"), "{over_tcp}");
}
