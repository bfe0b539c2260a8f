use std::path::Path;

use super::*;
use crate::{
    config,
    moment::Moment,
    runtime::{build, registry::Registry},
    tls::{demo::demo_certificates, tickets::Tickets},
};

const CONFIG: &str = r#"
[[listener]]
name = "web"
address = "127.0.0.1:8080"
deny = ["10.9.0.0/16"]

[[route]]
name = "api"
hosts = ["api.example.com"]
paths = ["/v1/*"]
methods = ["GET"]
upstream = "api"
rewrite = { strip_prefix = "/v1" }
request_headers = { set = { x-env = "test" }, remove = ["x-secret"] }

[[route]]
name = "old"
paths = ["/old"]
redirect = { to = "https://{host}/new", status = 301 }

[[upstream]]
name = "api"
balance = "ip-hash"

[[upstream.backend]]
name = "a"
address = "127.0.0.1:8081"

[[upstream.backend]]
name = "b"
address = "127.0.0.1:8082"
weight = 0

[[upstream.backend]]
name = "c"
address = "127.0.0.1:8083"
backup = true
"#;

fn ask(method: &str, url: &str, fields: &[(&str, &str)], from: &str) -> Answer {
    ask_by(CONFIG, method, url, fields, from)
}

fn ask_by(text: &str, method: &str, url: &str, fields: &[(&str, &str)], from: &str) -> Answer {
    let config = config::parse(text, Path::new("test.toml")).unwrap();
    let tickets = Tickets::new(Moment::now()).unwrap();
    let snapshot = build::build(config, 1, &Registry::new(1), &tickets).unwrap();
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let question = Question {
        method: method.into(),
        url: url.into(),
        fields,
        from: from.parse().unwrap(),
        is_http2: false,
        is_running: false,
    };
    explain(&snapshot, &question).unwrap().remove(0)
}

#[test]
fn a_request_is_followed_to_its_backend() {
    let answer = ask("GET", "http://API.example.com/v1/x/../users?a=b", &[("X-Secret", "1")], "192.0.2.7");
    assert_eq!(answer.considered[0], ("api".into(), "matches".into()));
    assert_eq!(answer.considered[1], ("old".into(), "the path does not match".into()));
    let Outcome::Routed(routed) = answer.outcome else { panic!("no route") };
    let Decision::Forward { head, destinations, .. } = routed.action else { panic!("not forwarded") };
    assert_eq!(head[0], "GET /users?a=b HTTP/1.1");
    assert_eq!(head[1], "host: api.example.com");
    assert!(
        head.contains(&"x-env: test".to_owned()) && head.contains(&"x-forwarded-for: 192.0.2.7".to_owned())
    );
    assert!(!head.iter().any(|line| line.to_ascii_lowercase().starts_with("x-secret")));
    let states: Vec<_> =
        destinations[0].backends.iter().map(|it| (it.is_candidate, it.why.as_str())).collect();
    assert!(states[0].0);
    assert_eq!(states[1], (false, "its weight is 0"));
    assert_eq!(states[2], (false, "a backup, and another backend is usable"));
    assert_eq!(destinations[0].pick.as_ref().unwrap().backend, "a");
}

#[test]
fn targets_that_clients_send_are_explained() {
    for url in [
        "http://api.example.com/v1/query?query=up{job=\"x\"}|a<b>",
        "http://API.example.com:8080/v1/a%2Fb",
        "https://api.example.com?x",
        "/v1/users",
    ] {
        assert!(Target::of(&question("GET", url, "::1")).is_ok(), "{url}");
    }
    let answer = ask("GET", "http://api.example.com/v1/query?query=up{job=\"x\"}", &[], "::1");
    assert!(matches!(answer.outcome, Outcome::Routed(_)), "{:?}", answer.outcome);
    for url in ["", "http://a/ b", "http://a/\r\nx: y", "ftp://a/", "http:///x"] {
        assert!(Target::of(&question("GET", url, "::1")).is_err(), "{url:?}");
    }
}

fn question(method: &str, url: &str, from: &str) -> Question {
    Question {
        method: method.into(),
        url: url.into(),
        fields: Vec::new(),
        from: from.parse().unwrap(),
        is_http2: false,
        is_running: false,
    }
}

#[test]
fn what_is_not_routed_says_why() {
    let answer = ask("POST", "http://api.example.com/v1/users", &[], "192.0.2.7");
    assert!(matches!(answer.outcome, Outcome::NoRoute));
    assert_eq!(answer.considered[0], ("api".into(), "the method does not match".into()));
    assert!(matches!(ask("GET", "/v1/", &[], "10.9.0.1").outcome, Outcome::NotAdmitted));
    let twice = ask("GET", "/old", &[("Host", "a"), ("Host", "b")], "::1");
    assert!(matches!(twice.outcome, Outcome::Refused(400, _)));
    let Outcome::Routed(routed) = ask("GET", "http://a/old", &[], "::1").outcome else { panic!("no route") };
    assert!(
        matches!(routed.action, Decision::Redirect { status: 301, location } if location == "https://a/new")
    );
}

#[test]
fn tunnels_are_asked_for_where_the_proxy_would() {
    let fields = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "x")];
    let answer = ask("GET", "http://api.example.com/v1/", &fields, "::1");
    let Outcome::Routed(routed) = answer.outcome else { panic!("no route") };
    let Decision::Forward { head, .. } = routed.action else { panic!("not forwarded") };
    assert!(head.contains(&"connection: upgrade".to_owned()), "{head:?}");
}

/// With a cache, or collapsing, on the route `api`.
fn cache_of(more: &str, tables: &str, method: &str, fields: &[(&str, &str)]) -> Option<CacheAnswer> {
    let text = CONFIG.replace("rewrite =", &format!("{more}\nrewrite =")) + tables;
    let text = text.replace("methods = [\"GET\"]\n", "");
    let answer = ask_by(&text, method, "http://API.example.com:80/v1/%61?x=1", fields, "::1");
    let Outcome::Routed(routed) = answer.outcome else { panic!("no route") };
    let Decision::Forward { cache, .. } = routed.action else { panic!("not forwarded") };
    cache.map(|cache| *cache)
}

#[test]
fn a_cache_explains_its_use_and_its_key() {
    let pages = "[[cache]]\nname = \"pages\"\nkey = { headers = [\"x-tenant\"] }\n";
    let ask =
        |method: &str, fields: &[(&str, &str)]| cache_of("cache = \"pages\"", pages, method, fields).unwrap();
    let read = ask("GET", &[("X-Tenant", "one")]);
    assert_eq!((read.name.as_str(), read.is_storing, read.usage), ("pages", true, "read-and-store"));
    assert_eq!(read.key.as_deref(), Some("http://api.example.com/v1/a?x=1\nx-tenant:3:one"));
    assert_eq!((read.apart, read.stored), (None, None), "what is stored is known of a running proxy only");
    assert_eq!(ask("HEAD", &[]).usage, "read");
    for (method, fields, usage) in [
        ("POST", &[][..], "invalidate"),
        ("OPTIONS", &[], "pass"),
        ("GET", &[("If-Match", "\"a\"")], "pass"),
        ("GET", &[("Authorization", "NTLM TlRM")], "pass"),
        ("HEAD", &[("Authorization", "Negotiate YII=")], "pass"),
        ("GET", &[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "x")], "tunnel"),
    ] {
        let answer = ask(method, fields);
        assert_eq!((answer.usage, answer.key), (usage, None), "{method} {fields:?}");
    }
    let login = ask("GET", &[("Authorization", "NTLM TlRM")]);
    assert_eq!(login.why, "not cached: it logs its connection in (NTLM, Negotiate)");
    assert_eq!(ask("GET", &[("Authorization", "Basic YTpi")]).usage, "read-and-store");
    for (field, value, why) in [
        ("Cookie", "a=1", "it has Authorization or Cookie"),
        ("Cache-Control", "no-store", "it has no-store"),
    ] {
        assert_eq!(ask("GET", &[(field, value)]).apart, Some(why));
    }
    let collapsing = cache_of("collapse = true", "", "GET", &[]).unwrap();
    assert_eq!((collapsing.name.as_str(), collapsing.is_storing), ("api", false));
    assert!(cache_of("", "", "GET", &[]).is_none());
}

#[test]
fn writes_are_explained_by_their_policy() {
    let back = "[[cache]]\nname = \"pages\"\nwrite_policy = \"back\"\njournal = { path = \"/nowhere/journal\" }\n\
                write_back = { methods = [\"PUT\"], networks = [\"::1\"], serve = \"writer\" }\n";
    let ask = |method: &str| cache_of("cache = \"pages\"", back, method, &[]).unwrap();
    assert_eq!(ask("PUT").usage, "accept");
    assert_eq!(ask("DELETE").usage, "invalidate", "its method is not accepted");
}

#[test]
fn what_is_refused_on_a_route_is_not_forwarded() {
    let text = CONFIG
        .replace("methods = [\"GET\"]\n", "")
        .replace("deny =", "limits = { body_bytes = 100 }\ndeny =");
    let text = text.replace("balance = \"ip-hash\"", "protocol = \"h2\"");
    let url = "http://api.example.com/v1/";
    let ask = |method: &str, fields: &[(&str, &str)]| ask_by(&text, method, url, fields, "::1").outcome;
    for (fields, status) in [
        ([("Content-Length", "101"), ("X-A", "b")], 413),
        ([("Content-Length", "100"), ("Content-Type", "application/grpc")], 400),
    ] {
        let outcome = ask("POST", &fields);
        assert!(matches!(&outcome, Outcome::Refused(is, _) if *is == status), "{outcome:?}");
    }
    assert!(matches!(ask("POST", &[("Content-Length", "100")]), Outcome::Routed(_)));
    let Outcome::Routed(routed) = ask("OPTIONS", &[("Max-Forwards", "0")]) else { panic!("no route") };
    assert!(matches!(routed.action, Decision::Respond { status: 200, .. }), "{:?}", routed.action);
}

#[test]
fn requests_wait_where_all_are_full() {
    let text = CONFIG
        .replace("name = \"a\"", "name = \"a\"\nmax_connections = 1")
        .replace("name = \"c\"", "name = \"c\"\nmax_connections = 1")
        .replace("methods = [\"GET\"]\n", "");
    let full = |more: &str| {
        let text = text.replace("balance = \"ip-hash\"", more);
        let config = config::parse(&text, Path::new("test.toml")).unwrap();
        let snapshot =
            build::build(config, 1, &Registry::new(1), &Tickets::new(Moment::now()).unwrap()).unwrap();
        let upstream = &snapshot.upstreams[0];
        for backend in &upstream.backends {
            backend.shared.in_flight.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        destination::explain(upstream, 100.0, 0, None)
    };
    let waits = full("queue = { size = 1 }");
    assert!(waits.pick.is_none() && waits.is_queued);
    assert!(!full("").is_queued);
}

/// A folder with certificates, which is gone when this is dropped.
struct Certificates(std::path::PathBuf);

impl Certificates {
    fn make() -> Self {
        let folder = std::env::temp_dir().join(format!("pointsman-explain-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        demo_certificates(&folder).unwrap();
        let other = rcgen::generate_simple_self_signed(["b.example".to_owned()]).unwrap();
        std::fs::write(folder.join("b.pem"), other.cert.pem()).unwrap();
        std::fs::write(folder.join("b.key"), other.signing_key.serialize_pem()).unwrap();
        Self(folder)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn names_of_other_certificates_and_peers_are_told_apart() {
    let folder = Certificates::make();
    let text = CONFIG.replace(
        "deny =",
        "protocol = \"https\"\ncertificate = [\n{ chain = \"demo.pem\", key = \"demo.key\" },\n\
         { chain = \"b.pem\", key = \"b.key\" }]\ndeny =",
    ) + "[cluster.peers]\nlisten = \"127.0.0.1:1\"\nmembers = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nca = \"ca.pem\"\n\
         certificate = { chain = \"demo.pem\", key = \"demo.key\" }\n";
    let config = config::parse(&text, &folder.0.join("test.toml")).unwrap();
    let tickets = Tickets::new(Moment::now()).unwrap();
    let snapshot = build::build(config, 1, &Registry::new(1), &tickets).unwrap();
    let ask = |url: &str, host: &str| {
        let fields = vec![("Host".to_owned(), host.to_owned())];
        explain(&snapshot, &Question { fields, ..question("GET", url, "::1") }).unwrap()
    };
    let answers = ask("https://localhost/old", "b.example");
    assert!(matches!(answers[0].outcome, Outcome::Refused(421, _)), "{:?}", answers[0].outcome);
    let answers = ask("https://b.example/old", "b.example");
    assert!(answers[0].has_route(), "{:?}", answers[0].outcome);
    assert_eq!(answers.len(), 1, "peers are asked by peers alone");
    assert_eq!(ask("/old", "b.example").len(), 1);
}

#[test]
fn json_says_the_same() {
    let answer = ask("GET", "http://api.example.com/v1/", &[], "::1").to_json();
    assert_eq!(answer["outcome"], "routed");
    assert_eq!(answer["action"]["forward"]["upstreams"][0]["pick"]["backend"], "a");
}

const PASSED: &str = r#"
[[listener]]
name = "db"
address = "127.0.0.1:5432"
protocol = "tcp"

[[listener]]
name = "names"
address = "127.0.0.1:8443"
protocol = "tls"
deny = ["10.9.0.0/16"]

[[listener]]
name = "web"
address = "127.0.0.1:8080"

[[route]]
name = "db"
listeners = ["db"]
upstream = "u"

[[route]]
name = "mail"
listeners = ["names"]
server_names = ["mail.test"]
alpn = ["imap"]
upstream = "u"

[[route]]
name = "any-mail"
listeners = ["names"]
server_names = ["*.test", "mail.test"]
upstream = "u"

[[route]]
name = "all"
upstream = "u"

[[upstream]]
name = "u"
[[upstream.backend]]
name = "a"
address = "127.0.0.1:8081"
"#;

#[test]
fn connections_that_are_passed_on_are_explained() {
    let taken = |url: &str, fields: &[(&str, &str)]| {
        let answer = ask_by(PASSED, "GET", url, fields, "192.0.2.1");
        match answer.outcome {
            Outcome::Routed(routed) => {
                let Decision::Pass { destinations } = routed.action else { panic!("it is no request") };
                format!("{} {}", routed.route, destinations[0].pick.as_ref().unwrap().backend)
            }
            other => format!("{other:?}"),
        }
    };
    assert_eq!(taken("tcp://any.test:5432", &[]), "db a");
    assert_eq!(taken("tls://MAIL.test.", &[]), "any-mail a");
    assert_eq!(taken("tls://mail.test:8443", &[("alpn", "h2, imap")]), "mail a");
    assert!(taken("tls://other.example", &[]).contains("unrecognized_name"));
    let answer = ask_by(PASSED, "GET", "tls://mail.test", &[("alpn", "imap")], "192.0.2.1");
    assert_eq!(
        answer.considered[1],
        ("any-mail".into(), "matches, but a more specific route comes first".into())
    );
    let answer = ask_by(PASSED, "GET", "tls://mail.test", &[], "10.9.1.1");
    assert!(matches!(answer.outcome, Outcome::NotAdmitted));
    // Requests are asked of listeners that serve them only.
    let answer = ask_by(PASSED, "GET", "/x", &[], "192.0.2.1");
    assert_eq!(answer.listener, "web");
}
