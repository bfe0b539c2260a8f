use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::LocalRuntime,
};

use super::{
    access::{Access, Scope},
    *,
};
use crate::{
    config,
    config::admin::AdminConf,
    listen::mailbox::Mailboxes,
    moment::Moment,
    reload::Reloader,
    runtime::{
        build,
        changes::Maker,
        drain::{Drain, Stage},
        registry::Registry,
        worker::Shared,
    },
    tls::tickets::Tickets,
};

/// A configuration with two upstreams, of which one has the backends `a` and `b`.
pub(crate) const CONFIG: &str = r#"
[runtime]
workers = 2
[admin]
address = "127.0.0.1:0"
[[listener]]
name = "web"
address = "127.0.0.1:0"
[[route]]
name = "all"
upstream = "app"
[[upstream]]
name = "app"
balance = "least-connections"
backend = [{ name = "a", address = "127.0.0.1:1", weight = 3 }, { name = "b", address = "127.0.0.1:2" }]
[[upstream]]
name = "größer"
backend = [{ address = "unix:/run/app.sock" }]
"#;

/// What two workers that do not run share of a snapshot of `text`.
pub(crate) fn shared(text: &str) -> Arc<Shared> {
    let config = config::parse(text, Path::new("test.toml")).unwrap();
    let registry = Registry::new(2);
    let tickets = Tickets::new(Moment::now()).unwrap();
    let snapshot = build::build(config, 1, &registry, &tickets).unwrap();
    let snapshot = ArcSwap::from_pointee(snapshot);
    Arc::new(Shared { snapshot, registry, drain: Drain::default(), flows: Arc::default() })
}

/// An admin endpoint over them.
pub(super) fn admin(text: &str, access: Access) -> Arc<Admin> {
    let shared = shared(text);
    let addresses = [(shared.snapshot.load().listeners[0].slot, "127.0.0.1:4711".into())];
    let reloader = Reloader::without_engine(text, addresses.into());
    Arc::new(Admin::new(shared, access, reloader, Mailboxes::new(Vec::new())))
}

fn conf(text: &str) -> AdminConf {
    config::parse(text, Path::new("test.toml")).unwrap().admin.unwrap()
}

/// Sends `request` as it is and gives the whole answer; the server is at `port`.
async fn talk(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that refuses a body may reset the connection after its answer.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8(answer).unwrap()
}

async fn get(port: u16, path: &str, fields: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{fields}\r\n");
    let answer = talk(port, &request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// Runs `test` against a server of `admin` on a port of its own.
fn serve<F: Future<Output = ()>>(admin: Arc<Admin>, test: impl FnOnce(u16) -> F) {
    serve_scope(admin, Scope::Everything, test);
}

fn serve_scope<F: Future<Output = ()>>(admin: Arc<Admin>, scope: Scope, test: impl FnOnce(u16) -> F) {
    let runtime = LocalRuntime::new().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::task::spawn_local(server::run(admin, server::Listener::Tcp(listener), scope));
        test(port).await;
    });
}

fn token() -> Access {
    let path = std::env::temp_dir().join(format!("pointsman-token-{}", std::process::id()));
    std::fs::write(&path, "s3cret\n").unwrap();
    let file = format!("127.0.0.1:0\"\ntoken_file = \"{}\"", path.display());
    Access::new(&conf(&CONFIG.replacen("127.0.0.1:0\"", &file, 1)), "").unwrap()
}

/// A path of the endpoint with what it needs.
fn at(endpoint: &Endpoint) -> String {
    let query = if endpoint.path.ends_with("/explain") { "?url=/" } else { "" };
    endpoint.path.replace("{upstream}", "app").replace("{backend}", "a") + query
}

#[test]
fn every_endpoint_of_the_table_answers() {
    serve(admin(CONFIG, Access::Anyone), async |port| {
        for endpoint in ENDPOINTS.iter().filter(|it| it.method == "GET") {
            let path = at(endpoint);
            let (status, body) = get(port, &path, "").await;
            assert_eq!(status, 200, "{path}");
            assert!(!body.is_empty(), "{path}");
            assert!(!endpoint.summary.is_empty());
            let (_, index) = get(port, "/api/v1", "").await;
            assert!(index.contains(endpoint.path), "{path}");
            let head = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let answer = talk(port, &head).await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        }
    });
}

#[test]
fn unknown_paths_and_methods_are_answered_in_json() {
    serve(admin(CONFIG, Access::Anyone), async |port| {
        for path in
            ["/nothing", "/healthz/", "//", "/api/v1/upstreams/", "/api/v1/upstreams/no", "/metrics/x"]
        {
            let (status, body) = get(port, path, "").await;
            assert_eq!(status, 404, "{path}");
            let error: Value = serde_json::from_str(&body).unwrap();
            for key in ["code", "message", "hint"] {
                assert!(error["error"][key].is_string(), "{path}: {body}");
            }
        }
        for endpoint in ENDPOINTS {
            let path = at(endpoint);
            let request = format!("TRACE {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let answer = talk(port, &request).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{path}: {answer}");
            let allow = answer.lines().find(|line| line.starts_with("allow: ")).unwrap();
            assert!(allow.contains(endpoint.method), "{path}: {allow}");
            assert_eq!(allow.contains("HEAD"), allow.contains("GET"), "{path}: {allow}");
        }
        let big = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}",
            64 * 1024 + 1,
            "x".repeat(64 * 1024 + 1)
        );
        assert!(talk(port, &big).await.starts_with("HTTP/1.1 413 "));
    });
}

#[test]
fn without_the_token_only_the_open_endpoints_answer() {
    serve(admin(CONFIG, token()), async |port| {
        for endpoint in ENDPOINTS {
            let path = at(endpoint);
            let ask = async |fields| {
                let method = endpoint.method;
                let request =
                    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
                talk(port, &request).await[9..12].parse::<u16>().unwrap()
            };
            assert_eq!(ask("").await, if endpoint.is_open { 200 } else { 401 }, "{path}");
            assert_eq!(ask("Authorization: Bearer wrong\r\n").await == 401, !endpoint.is_open, "{path}");
            let status = ask("Authorization: Bearer s3cret\r\n").await;
            assert!(if endpoint.method == "GET" { status == 200 } else { status != 401 }, "{path}: {status}");
        }
        // It does not say either what is not there.
        assert_eq!(get(port, "/nothing", "").await.0, 401);
        assert_eq!(get(port, "/nothing", "Authorization: Bearer s3cret\r\n").await.0, 404);
    });
}

#[test]
fn readiness_ends_when_draining_begins() {
    let admin = admin(CONFIG, Access::Anyone);
    serve(admin.clone(), async |port| {
        assert_eq!(get(port, "/readyz", "").await, (200, "ready\n".to_owned()));
        let of_fleet = |in_force| {
            let mut told = admin.shared.registry.fleet.lock();
            (told.source, told.in_force.revision) = ("etcd://127.0.0.1/config".into(), in_force);
        };
        of_fleet(0);
        let (status, said) = get(port, "/readyz", "").await;
        assert!(status == 200 && said.contains("last good copy"), "{status} {said}");
        of_fleet(7);
        assert_eq!(get(port, "/readyz", "").await, (200, "ready\n".to_owned()));
        for stage in [Stage::Unready, Stage::Draining, Stage::Closing] {
            admin.shared.drain.advance(stage);
            assert_eq!(get(port, "/readyz", "").await.0, 503);
            assert_eq!(get(port, "/healthz", "").await.0, 200);
            let (_, body) = get(port, "/api/v1/status", "").await;
            let status: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(status["draining"], true);
        }
    });
}

#[test]
fn status_has_the_contracts_keys() {
    serve(admin(CONFIG, Access::Anyone), async |port| {
        let (_, body) = get(port, "/api/v1/status", "").await;
        let mut status: Value = serde_json::from_str(&body).unwrap();
        assert!(status["uptime_seconds"].is_u64());
        assert_eq!(status["config_hash"].as_str().unwrap().len(), 16);
        assert!(status["last_reload"]["at"].as_str().unwrap().ends_with('Z'));
        for key in ["uptime_seconds", "config_file", "config_hash", "last_reload"] {
            status.as_object_mut().unwrap().remove(key);
        }
        let expected = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "generation": 1,
            "workers": 2,
            "listeners": [{
                "name": "web", "address": "127.0.0.1:4711", "protocol": "http",
                "connections": 0, "accepted": 0, "refused": 0,
            }],
            "draining": false,
            "role": "primary",
            "overrides": [],
            "certificates": [],
            "reloads": {"succeeded": 0, "failed": 0},
        });
        assert_eq!(status, expected);
    });
}

/// What is only asked about was registered once: it took numbers of listeners, and a backend that came later
/// was not new.
#[test]
fn a_check_leaves_no_trace_in_what_runs() {
    let admin = admin(CONFIG, Access::Anyone);
    let asked = CONFIG.replace("127.0.0.1:2", "127.0.0.1:3").replace("\"all\"", "\"other\"")
        + "[[listener]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\n";
    serve(admin.clone(), async |port| {
        let head = "POST /api/v1/config/check HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close";
        let fields = format!("Content-Type: application/toml\r\nContent-Length: {}", asked.len());
        let answer = talk(port, &format!("{head}\r\n{fields}\r\n\r\n{asked}")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    });
    let registry = &admin.shared.registry;
    for worker in registry.workers() {
        assert!(!worker.routes.lock().unwrap().contains_key("other"));
        assert!(worker.backends.lock().unwrap().keys().all(|(_, address)| &**address != "127.0.0.1:3"));
    }
    let (_, is_new) = registry.backend("app", "127.0.0.1:3");
    assert!(is_new);
    let listener = config::parse(&asked, Path::new("test.toml")).unwrap().listener.remove(1);
    assert_eq!(registry.listener(&listener).0, 1, "the second listener has the second number");
}

#[test]
fn upstreams_have_the_contracts_keys() {
    let admin = admin(CONFIG, Access::Anyone);
    let snapshot = admin.shared.snapshot.load_full();
    for (own, requests) in snapshot.upstreams[0].own.iter().zip([2, 3]) {
        let rows = own.iter().map(|own| own.row.clone()).collect();
        let mut balancer = snapshot.upstreams[0].balancer.with_rows(0, rows);
        let now = Moment::now();
        (0..requests).for_each(|_| balancer.on_start(0, now));
    }
    serve(admin, async |port| {
        let (_, body) = get(port, "/api/v1/upstreams", "").await;
        let all: Value = serde_json::from_str(&body).unwrap();
        let (_, body) = get(port, "/api/v1/upstreams/app", "").await;
        let app: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(all["upstreams"][0], app);
        assert_eq!(all["upstreams"].as_array().unwrap().len(), 2);
        assert_eq!((&app["name"], &app["balance"]), (&"app".into(), &"least-connections".into()));
        assert_eq!(app["protocol"], "http1");
        let expected = serde_json::json!({
            "name": "a", "address": "127.0.0.1:1", "weight": 3, "state": "up", "why": "not checked yet",
            "in_flight": 0, "requests": 5, "failures": 0, "ewma_ms": null, "bytes_per_second": 0,
            "latency": {"last_10s": null, "last_60s": null},
            "override": null,
        });
        assert_eq!(app["backends"][0], expected);
        // A name that a path cannot hold as it is.
        let (status, body) = get(port, "/api/v1/upstreams/gr%C3%B6%C3%9Fer", "").await;
        let other: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &other["backends"][0]["address"]), (200, &"unix:/run/app.sock".into()));
    });
}

/// Else this node alone would have purged what all have.
#[test]
fn peers_are_told_though_the_client_left() {
    let dir = std::env::temp_dir().join(format!("pointsman-admin-peers-{}", std::process::id()));
    crate::tls::demo::demo_certificates(&dir).unwrap();
    let text = format!(
        "{CONFIG}[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n[cluster.peers]\nlisten = \"127.0.0.1:1\"\n\
         members = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nca = {0:?}\n\
         certificate = {{ chain = {1:?}, key = {2:?} }}\n",
        dir.join("ca.pem"),
        dir.join("demo.pem"),
        dir.join("demo.key")
    );
    let admin = admin(&text, Access::Anyone);
    std::fs::remove_dir_all(&dir).unwrap();
    let request = http::Request::post("/api/v1/caches/pages/purge").body(()).unwrap();
    let (head, ()) = request.into_parts();
    let waiting = || admin.shared.registry.commands.waiting("127.0.0.1:2".parse().unwrap());
    LocalRuntime::new().unwrap().block_on(async {
        let Ok((endpoint, mut question)) = admin.find(&head, Scope::Everything) else {
            panic!("no such endpoint")
        };
        question.body = r#"{"url": "http://a.test/"}"#.into();
        let asked = admin.asked("POST", &head.uri, &question);
        assert!(asked.is_some());
        {
            let mut answer = std::pin::pin!(admin.clone().answer(endpoint, question, asked));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(answer.as_mut().poll(&mut cx).is_pending());
        }
        let told = async {
            while waiting() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), told).await.expect("nobody is told");
    });
    assert_eq!(waiting(), 1);
}

/// They waited for their turn in all the places that there are, and connections for health were closed unanswered.
#[test]
fn who_asks_for_metrics_everywhere_keeps_nobody_from_health() {
    let admin = admin(CONFIG, Access::Nobody);
    admin.metrics_access.store(Arc::new(Access::Anyone));
    let scraping = admin.scraping.clone().try_acquire_owned().unwrap();
    serve_scope(admin, Scope::Metrics, async |port| {
        let mut clients = Vec::new();
        for _ in 0..128 {
            let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            client.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            clients.push(client);
        }
        // Each is read, and waits for its turn or is answered.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(get(port, path, "").await.0, 200, "{path}");
        }
        // Those before get their turn.
        drop(scraping);
        let mut head = [0; 12];
        clients[0].read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
    });
}

/// Of two programs that answer during an upgrade, the one that acknowledged a change may be the one that ends.
#[test]
fn changes_are_made_by_one_program_of_an_upgrade() {
    let admin = admin(&format!("{CONFIG}[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n"), Access::Anyone);
    let changes = &admin.shared.registry.changes;
    let body = r#"{"all": true}"#;
    serve(admin.clone(), async |port| {
        let fields = "Host: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 13";
        let purge = format!("POST /api/v1/caches/pages/purge HTTP/1.1\r\n{fields}\r\n\r\n{body}");
        assert!(talk(port, &purge).await.starts_with("HTTP/1.1 200 "));
        changes.leave_to(Maker::Next);
        let refused = talk(port, &purge).await;
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1"), "{refused}");
        assert_eq!(get(port, "/api/v1/caches", "").await.0, 200, "who only asks is answered");
        // It waits for the program before to let go.
        changes.leave_to(Maker::Before);
        let (answer, ()) = tokio::join!(talk(port, &purge), async {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            changes.leave_to(Maker::Own);
        });
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        changes.leave_to(Maker::Before);
        tokio::time::pause();
        let refused = admin.take_turn().await.unwrap_err();
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()["retry-after"], "1");
        // Of another node too: it asks again.
        let asked = admin.clone().obey("POST", "/api/v1/caches/pages/purge", body).await;
        assert_eq!(asked, 503);
        changes.leave_to(Maker::Own);
        assert_eq!(admin.clone().obey("POST", "/api/v1/caches/pages/purge", body).await, 200);
    });
}

#[test]
fn a_client_that_sends_nothing_is_let_go() {
    let runtime = LocalRuntime::new().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::task::spawn_local(server::run(
            admin(CONFIG, Access::Anyone),
            server::Listener::Tcp(listener),
            Scope::Everything,
        ));
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tokio::time::pause();
        let mut answer = Vec::new();
        let begun = tokio::time::Instant::now();
        drop(stream.read_to_end(&mut answer).await);
        assert!(begun.elapsed().as_secs() <= 11, "{:?}", begun.elapsed());
    });
}
