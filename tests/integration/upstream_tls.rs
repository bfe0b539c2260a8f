//! TLS towards backends: whom the proxy believes, what it shows, and connections that are kept.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider,
    pki_types::{PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

use crate::support::{
    PATIENCE, Proxy, eventually,
    proxy::config_of,
    tls::{self, Authority, certificate},
};

/// What a backend has seen.
#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    /// Handshakes that came to their end, with the name that was asked for.
    names: Vec<Option<String>>,
    failures: usize,
    /// The heads of requests.
    heads: Vec<String>,
    /// How many clients showed a certificate.
    certificates: usize,
}

/// How a backend speaks TLS.
struct Manner<'a> {
    /// Its certificate and key, without their endings.
    certificate: &'a str,
    /// The authority that clients need a certificate of.
    clients_ca: Option<&'a str>,
    version: &'static SupportedProtocolVersion,
    /// How long it waits before a handshake.
    pause: Duration,
}

impl Default for Manner<'_> {
    fn default() -> Self {
        Self { certificate: "demo", clients_ca: None, version: &TLS13, pause: Duration::ZERO }
    }
}

/// A backend that speaks HTTP/1.1 over TLS and says hello to everything, a thread per connection.
struct Backend {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    /// Connections on which something was answered; the test may have them say something unasked.
    speakers: Arc<Mutex<Vec<mpsc::Sender<mpsc::Sender<()>>>>>,
}

impl Backend {
    fn start(folder: &Path, manner: &Manner) -> Self {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[manner.version])
            .unwrap();
        let builder = match manner.clients_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add(certificate(&folder.join(ca))).unwrap();
                let provider = Arc::new(default_provider());
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_file(folder.join(format!("{}.key", manner.certificate))).unwrap();
        let chain = vec![certificate(&folder.join(format!("{}.pem", manner.certificate)))];
        let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let backend = Self { address, seen: Arc::default(), speakers: Arc::default() };
        let (seen, speakers) = (backend.seen.clone(), backend.speakers.clone());
        let pause = manner.pause;
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, seen, speakers) = (config.clone(), seen.clone(), speakers.clone());
                std::thread::spawn(move || {
                    std::thread::sleep(pause);
                    serve(stream.unwrap(), &config, &seen, &speakers);
                });
            }
        });
        backend
    }

    fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    fn requests(&self) -> usize {
        self.seen(|seen| seen.heads.len())
    }

    /// Has every connection send a message that is no data, and waits until it is sent.
    fn speak_unasked(&self) -> usize {
        let speakers = std::mem::take(&mut *self.speakers.lock().unwrap());
        let (told, is_told) = mpsc::channel();
        for speaker in &speakers {
            speaker.send(told.clone()).unwrap();
            is_told.recv_timeout(PATIENCE).unwrap();
        }
        speakers.len()
    }

    /// A proxy in front of it, with these lines of `[upstream.tls]`.
    fn proxied(&self, folder: PathBuf, tls: &str) -> Proxy {
        self.proxied_as(&self.address.to_string(), folder, tls)
    }

    fn proxied_as(&self, address: &str, folder: PathBuf, tls: &str) -> Proxy {
        let text = config_of(&[address.to_owned()], "", &format!("{LENIENT}[upstream.tls]\n{tls}"));
        // One worker has one pool, so that connections can be counted.
        Proxy::start_in(folder, &text.replace("workers = 2", "workers = 1"))
    }
}

/// Never ejects, so that each request meets the backend.
const LENIENT: &str = "[upstream.outlier]\nconsecutive_failures = 100000\nfailure_percent = 0\n";

type Speakers = Mutex<Vec<mpsc::Sender<mpsc::Sender<()>>>>;

fn serve(mut tcp: TcpStream, config: &Arc<ServerConfig>, seen: &Mutex<Seen>, speakers: &Speakers) {
    tcp.set_nodelay(true).unwrap();
    seen.lock().unwrap().connections += 1;
    let mut session = ServerConnection::new(config.clone()).unwrap();
    while session.is_handshaking() {
        if session.complete_io(&mut tcp).is_err() {
            // The alert that says why.
            let _ = session.write_tls(&mut tcp);
            seen.lock().unwrap().failures += 1;
            return;
        }
    }
    {
        let mut seen = seen.lock().unwrap();
        seen.names.push(session.server_name().map(str::to_owned));
        seen.certificates += usize::from(session.peer_certificates().is_some());
    }
    let mut stream = StreamOwned::new(session, tcp);
    while let Some(head) = read_head(&mut stream) {
        let closes = head.to_ascii_lowercase().contains("connection: close");
        seen.lock().unwrap().heads.push(head);
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").is_err() || closes {
            return;
        }
        stream.flush().unwrap();
        let (speaker, said) = mpsc::channel::<mpsc::Sender<()>>();
        speakers.lock().unwrap().push(speaker);
        // Speaks when it is to, and goes on when another request comes.
        stream.sock.set_read_timeout(Some(std::time::Duration::from_millis(5))).unwrap();
        let mut byte = [0];
        while stream.sock.peek(&mut byte).is_err() {
            if let Ok(told) = said.try_recv() {
                stream.conn.refresh_traffic_keys().unwrap();
                stream.flush().unwrap();
                told.send(()).unwrap();
            }
        }
        stream.sock.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

fn read_head(stream: &mut impl Read) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.extend_from_slice(&byte);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Asks for `/refused` and looks at how the proxy says that the handshake failed.
fn is_refused(proxy: &Proxy) {
    let response = proxy.get("/refused");
    assert_eq!(response.status, 502);
    let status = response.header("proxy-status").unwrap();
    assert!(status.contains("tls_protocol_error"), "{status}");
    assert!(!response.text().contains("hello"));
    assert_eq!(proxy.logged("/refused")["error"], "upstream_tls");
}

#[test]
fn a_verified_backend_is_asked_and_its_connection_is_kept() {
    for version in [&TLS12, &TLS13] {
        let folder = tls::folder();
        let backend = Backend::start(&folder, &Manner { version, ..Manner::default() });
        let proxy = backend.proxied(folder, "ca = \"ca.pem\"\nserver_name = \"example.com\"\n");
        for _ in 0..20 {
            assert_eq!(proxy.get("/a?b").text(), "hello");
        }
        backend.seen(|seen| {
            assert_eq!((seen.connections, seen.failures), (1, 0), "one handshake for all");
            assert_eq!(seen.names, [Some("example.com".to_owned())]);
            assert_eq!((seen.heads.len(), seen.certificates), (20, 0));
            let head = seen.heads[0].to_ascii_lowercase();
            assert!(head.starts_with("get /a?b http/1.1\r\n"));
            assert!(head.contains("host: test\r\n"), "the name for TLS is not the Host: {head}");
            assert!(head.contains("x-forwarded-proto: http\r\n"), "the client came without TLS: {head}");
        });
    }
}

#[test]
fn a_certificate_of_another_authority_is_refused_before_sending() {
    let folder = tls::folder();
    Authority::new(&folder);
    let backend = Backend::start(&folder, &Manner::default());
    let proxy = backend.proxied(folder, "ca = \"own-ca.pem\"\nserver_name = \"example.com\"\n");
    is_refused(&proxy);
    eventually("the backend learns of it", || backend.seen(|seen| seen.failures > 0));
    assert_eq!(backend.seen(|seen| (seen.names.len(), seen.heads.len())), (0, 0));
    // A body is not sent there either.
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nsecret");
    assert_eq!(client.response("POST").status, 502);
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_certificate_of_another_name_is_refused() {
    let folder = tls::folder();
    let backend = Backend::start(&folder, &Manner::default());
    let proxy = backend.proxied(folder, "ca = \"ca.pem\"\nserver_name = \"other.test\"\n");
    is_refused(&proxy);
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_backend_without_tls_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (heard, is_heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut bytes) = (stream.unwrap(), [0; 16 * 1024]);
            let length = stream.read(&mut bytes).unwrap();
            heard.send(bytes[..length].to_vec()).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    is_refused(&Proxy::start(&config_of(&[address], "", "[upstream.tls]\nverify = false\n")));
    let heard: Vec<u8> = is_heard.try_iter().flatten().collect();
    assert!(!heard.is_empty() && memchr::memmem::find(&heard, b"/refused").is_none(), "never in the clear");
}

#[test]
fn without_verification_whoever_answers_is_believed() {
    let folder = tls::folder();
    Authority::new(&folder).issue(&folder, "stranger", &["stranger.test"]);
    let backend = Backend::start(&folder, &Manner { certificate: "stranger", ..Manner::default() });
    let proxy = backend.proxied(folder, "verify = false\n");
    assert_eq!(proxy.get("/").text(), "hello");
    assert_eq!(backend.seen(|seen| seen.failures), 0);
}

#[test]
fn a_backend_gets_the_configured_client_certificate() {
    for version in [&TLS12, &TLS13] {
        let folder = tls::folder();
        let manner = Manner { clients_ca: Some("clients-ca.pem"), version, ..Manner::default() };
        let backend = Backend::start(&folder, &manner);
        let certificate = "certificate = { chain = \"client.pem\", key = \"client.key\" }\n";
        let proxy = backend.proxied(folder, &format!("ca = \"ca.pem\"\n{certificate}"));
        for _ in 0..5 {
            assert_eq!(proxy.get("/").text(), "hello");
        }
        assert_eq!(backend.seen(|seen| (seen.certificates, seen.connections, seen.failures)), (1, 1, 0));
    }
}

#[test]
fn a_backend_that_misses_a_certificate_is_no_reset() {
    for version in [&TLS12, &TLS13] {
        let folder = tls::folder();
        let manner = Manner { clients_ca: Some("clients-ca.pem"), version, ..Manner::default() };
        let backend = Backend::start(&folder, &manner);
        let proxy = backend.proxied(folder, "ca = \"ca.pem\"\n");
        // With TLS 1.3 the alert comes after the request has left: the handshake is over for the client.
        is_refused(&proxy);
        assert_eq!(backend.requests(), 0, "what came with the handshake was not served");
    }
}

#[test]
fn a_refused_handshake_is_retried_elsewhere_once() {
    let folder = tls::folder();
    let strict = Manner { clients_ca: Some("clients-ca.pem"), ..Manner::default() };
    let (strict, open) = (Backend::start(&folder, &strict), Backend::start(&folder, &Manner::default()));
    let addresses = [strict.address.to_string(), open.address.to_string()];
    let text = config_of(&addresses, "", &format!("{LENIENT}[upstream.tls]\nca = \"ca.pem\"\n"));
    let proxy = Proxy::start_in(folder, &text);
    for _ in 0..10 {
        let mut client = proxy.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response("POST").text(), "hello");
    }
    assert!(strict.seen(|seen| seen.failures) > 0, "some went there first");
    assert_eq!((strict.requests(), open.requests()), (0, 10));
}

#[test]
fn without_a_name_the_backends_host_is_asked_for() {
    let folder = tls::folder();
    Authority::new(&folder).issue(&folder, "local", &["localhost"]);
    let backend = Backend::start(&folder, &Manner { certificate: "local", ..Manner::default() });
    let address = format!("localhost:{}", backend.address.port());
    let proxy = backend.proxied_as(&address, folder, "ca = \"own-ca.pem\"\n");
    eventually("the name has an address", || !proxy.get("/").text().contains("no address"));
    assert_eq!(proxy.get("/").text(), "hello");
    assert_eq!(backend.seen(|seen| seen.names.clone()), [Some("localhost".to_owned())]);

    // The same backend by its address, for which the certificate is not good.
    let folder = tls::folder();
    fs::copy(proxy.folder().join("own-ca.pem"), folder.join("own-ca.pem")).unwrap();
    let before = backend.requests();
    is_refused(&backend.proxied(folder, "ca = \"own-ca.pem\"\n"));
    assert_eq!(backend.requests(), before);
}

/// That it speaks HTTP/1.1 is learned by connecting, which has a limit of its own.
#[test]
fn time_to_connect_is_not_of_the_answer() {
    let folder = tls::folder();
    let backend = Backend::start(&folder, &Manner { pause: Duration::from_secs(4), ..Manner::default() });
    let conf = "protocol = \"auto\"\nconnect_timeout = \"60s\"\nresponse_timeout = \"3s\"\n---\n";
    let more = format!("{conf}{LENIENT}[upstream.tls]\nca = \"ca.pem\"\nserver_name = \"example.com\"\n");
    let proxy = Proxy::start_in(folder, &config_of(&[backend.address.to_string()], "", &more));
    let mut client = proxy.connect();
    // What is not tried again.
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response("POST").text(), "hello");
}

const CHECKED: &str = "[upstream.health_check]\npath = \"/health\"\ninterval = \"20ms\"\ntimeout = \"10s\"\nrise = 1\ninitial = \"down\"\n";

#[test]
fn checks_go_over_the_same_tls() {
    let folder = tls::folder();
    let manner = Manner { clients_ca: Some("clients-ca.pem"), ..Manner::default() };
    let backend = Backend::start(&folder, &manner);
    let shown = "certificate = { chain = \"client.pem\", key = \"client.key\" }\n";
    let settings = format!("ca = \"ca.pem\"\nserver_name = \"example.com\"\n{shown}{CHECKED}");
    let proxy = backend.proxied(folder, &settings);
    eventually("the backend is up", || proxy.get("/").status == 200);
    backend.seen(|seen| {
        assert!(seen.heads.iter().any(|head| head.starts_with("GET /health HTTP/1.1\r\n")));
        assert!(seen.names.iter().all(|name| name.as_deref() == Some("example.com")));
        assert_eq!(seen.certificates, seen.names.len());
    });
}

#[test]
fn a_check_does_not_believe_a_stranger() {
    let folder = tls::folder();
    Authority::new(&folder);
    let backend = Backend::start(&folder, &Manner::default());
    let proxy = backend.proxied(folder, &format!("ca = \"own-ca.pem\"\n{CHECKED}"));
    eventually("three checks", || backend.seen(|seen| seen.failures >= 3));
    assert_eq!(proxy.get("/").status, 503);
    assert_eq!(backend.requests(), 0);
}

#[test]
fn tls_messages_do_not_end_an_idle_connection() {
    let folder = tls::folder();
    let backend = Backend::start(&folder, &Manner::default());
    let proxy = backend.proxied(folder, "ca = \"ca.pem\"\n");
    for _ in 0..10 {
        assert_eq!(proxy.get("/").text(), "hello");
        // A key update: it comes as session tickets do, after the handshake and without data.
        eventually("an idle connection", || backend.speak_unasked() == 1);
    }
    assert_eq!(backend.seen(|seen| (seen.connections, seen.heads.len())), (1, 10));
}
