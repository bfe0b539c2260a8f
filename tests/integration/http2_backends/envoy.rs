//! Envoy as a backend, without TLS and with it: what it takes at once, and how it drains.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::real::{TLS, has_it_whole, large};
use crate::support::{
    Client, Origin, PATIENCE, Proxy, Reply, eventually, eventually_within, free, proxy::config, python_tool,
    tls,
};

/// Streams that it takes at once on a connection.
const STREAMS: usize = 4;

/// A running Envoy; it is killed when this is dropped.
struct Envoy {
    child: Child,
    /// HTTP/2 with prior knowledge.
    plain: SocketAddr,
    /// HTTP/2 and HTTP/1.1 by ALPN.
    secure: SocketAddr,
    admin: SocketAddr,
}

fn address(of: SocketAddr) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": of.port() } })
}

/// A listener that passes everything on to the cluster `backend`.
fn listener(name: &str, at: SocketAddr, codec: &str, tls: Option<Value>) -> Value {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": codec,
        "drain_timeout": "0.2s",
        "http2_protocol_options": { "max_concurrent_streams": STREAMS },
        "route_config": { "virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "backend" } }]
        }] },
        "http_filters": [{
            "name": "router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" }
        }]
    });
    let mut chain = json!({ "filters": [{ "name": "http", "typed_config": manager }] });
    if let Some(tls) = tls {
        chain["transport_socket"] = json!({ "name": "tls", "typed_config": tls });
    }
    json!({ "name": name, "address": address(at), "filter_chains": [chain] })
}

impl Envoy {
    fn start(folder: &Path, backend: SocketAddr) -> Option<Self> {
        let program = python_tool("envoy")?;
        let [plain, secure, admin] = [(); 3].map(|()| free());
        let file = |name: &str| json!({ "filename": folder.join(name) });
        let context = json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_certificates": [{ "certificate_chain": file("demo.pem"), "private_key": file("demo.key") }],
                "alpn_protocols": ["h2", "http/1.1"]
            }
        });
        let endpoint = json!({ "endpoint": { "address": address(backend) } });
        let bootstrap = json!({
            "admin": { "address": address(admin) },
            "static_resources": {
                "listeners": [
                    listener("plain", plain, "HTTP2", None),
                    listener("secure", secure, "AUTO", Some(context))
                ],
                "clusters": [{
                    "name": "backend",
                    "connect_timeout": "5s",
                    "load_assignment": { "cluster_name": "backend", "endpoints": [{ "lb_endpoints": [endpoint] }] }
                }]
            }
        });
        let file = folder.join(format!("envoy-{}.json", plain.port()));
        fs::write(&file, bootstrap.to_string()).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(file).args(["--concurrency", "1", "--log-level", "error"]);
        command.args(["--disable-hot-restart", "--drain-time-s", "2", "--drain-strategy", "immediate"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let envoy = Self { child, plain, secure, admin };
        eventually_within(3 * PATIENCE, "Envoy listens", || {
            [plain, secure, admin].iter().all(|it| TcpStream::connect(it).is_ok())
        });
        Some(envoy)
    }

    /// Asks it, over HTTP/1.1, to drain: GOAWAY on connections, and then no others.
    fn drain(&self) {
        let mut client = Client::connect(self.admin);
        client.send("POST /drain_listeners?graceful HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response("POST").status, 200);
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is behind it: a large file, what was uploaded, and answers that take a moment.
fn origin(at_once: &'static AtomicUsize) -> Origin {
    Origin::start(move |request| {
        let answer = |body: &[u8]| {
            [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
        };
        match &*request.target {
            "/large" => Reply::Bytes(answer(&large())),
            "/up" => {
                let mut request = request.clone();
                Reply::Take(Box::new(move |connection| {
                    assert!(connection.read_body(&mut request));
                    connection.send(answer(&request.body));
                }))
            }
            _ => {
                at_once.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(20)); // a backend that takes its time
                Reply::Text(200, request.target.clone())
            }
        }
    })
}

#[test]
fn large_bodies_pass_through_envoy_both_ways() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let (files, origin) = (tls::folder(), origin(&ASKED));
    let Some(envoy) = Envoy::start(&files, origin.address()) else { return };
    has_it_whole(&Proxy::start(&config(&[envoy.plain], "protocol = \"h2\"\n---\n")));
    for protocol in ["h2", "auto"] {
        let options = format!("protocol = \"{protocol}\"\n{TLS}");
        let proxy = Proxy::start_in(tls::folder_like(&files), &config(&[envoy.secure], &options));
        has_it_whole(&proxy);
        assert_eq!(proxy.logged("/large")["upstream_protocol"], "HTTP/2.0", "{protocol}");
    }
}

/// Clients that ask until they are told to stop, each of which must be answered; how many answers that were.
fn load(proxy: &Proxy, clients: usize, work: impl FnOnce()) -> usize {
    let (is_over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for client in 0..clients {
            let (is_over, answers) = (&is_over, &answers);
            scope.spawn(move || {
                let mut connection = proxy.connect();
                for number in 0.. {
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let target = format!("/{client}/{number}");
                    let response = connection.get(&target);
                    assert_eq!((response.status, response.text()), (200, target));
                    answers.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        work();
        is_over.store(true, Ordering::SeqCst);
    });
    answers.into_inner()
}

#[test]
fn envoy_gets_no_more_streams_than_it_takes() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let origin = origin(&ASKED);
    let Some(envoy) = Envoy::start(&tls::folder(), origin.address()) else { return };
    let options = "protocol = \"h2\"\n---\n[admin]\naddress = \"127.0.0.1:0\"\n";
    let proxy = Proxy::start(&config(&[envoy.plain], options).replace("workers = 2", "workers = 1"));
    let mut connections = 0;
    let answers = load(&proxy, 5 * STREAMS, || {
        eventually("all are answered at the same time", || ASKED.load(Ordering::SeqCst) > 400);
        let metrics = Client::connect(proxy.address("admin")).get("/metrics").text();
        let line = metrics.lines().find(|line| line.starts_with("pointsman_backend_http2_connections{"));
        connections = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap();
        let mut resets = metrics.lines().filter(|it| it.starts_with("pointsman_backend_http2_resets_total{"));
        assert!(resets.all(|line| line.ends_with(" 0")), "none was refused");
    });
    assert!(answers >= 400);
    // 20 exchanges at once, of which a connection takes four.
    assert!((5..=10).contains(&connections), "{connections}");
    assert_eq!(proxy.count_logged("\"error\":"), 0);
}

#[test]
fn envoy_that_drains_loses_no_request() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let (files, origin) = (tls::folder(), origin(&ASKED));
    let (Some(one), Some(two)) =
        (Envoy::start(&files, origin.address()), Envoy::start(&files, origin.address()))
    else {
        return;
    };
    let options = format!("protocol = \"h2\"\n{TLS}").replace("attempts = 1", "attempts = 2");
    let text = config(&[one.secure, two.secure], &options);
    let proxy = Proxy::start_in(tls::folder_like(&files), &text);
    let of = |backend: &str| format!("\"backend\":\"{backend}\"");
    load(&proxy, 8, || {
        proxy.until_logged(&of("b0"), 50);
        one.drain();
        eventually("it takes no connections", || TcpStream::connect(one.secure).is_err());
        let before = proxy.count_logged(&of("b1"));
        proxy.until_logged(&of("b1"), before + 200);
    });
    let failed =
        proxy.log().into_iter().find(|line| line.contains("\"target\":\"/") && line.contains("\"error\":"));
    assert_eq!(failed, None);
}
