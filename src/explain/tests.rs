use std::path::Path;

use super::*;
use crate::{
    config,
    moment::Moment,
    runtime::{build, registry::Registry},
    tls::tickets::Tickets,
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
    let config = config::parse(CONFIG, Path::new("test.toml")).unwrap();
    let tickets = Tickets::new(Moment::now()).unwrap();
    let snapshot = build::build(config, 1, &Registry::new(1), &tickets).unwrap();
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let question = Question { method: method.into(), url: url.into(), fields, from: from.parse().unwrap() };
    explain(&snapshot, &question).unwrap().remove(0)
}

#[test]
fn a_request_is_followed_to_its_backend() {
    let answer = ask("GET", "http://API.example.com/v1/x/../users?a=b", &[("X-Secret", "1")], "192.0.2.7");
    assert_eq!(answer.considered[0], ("api".into(), "matches".into()));
    assert_eq!(answer.considered[1], ("old".into(), "the path does not match".into()));
    let Outcome::Routed(routed) = answer.outcome else { panic!("no route") };
    let Told::Forward { head, destinations } = routed.action else { panic!("not forwarded") };
    assert_eq!(head[0], "GET /users?a=b HTTP/1.1");
    assert_eq!(head[1], "host: API.example.com");
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
fn what_is_not_routed_says_why() {
    let answer = ask("POST", "http://api.example.com/v1/users", &[], "192.0.2.7");
    assert!(matches!(answer.outcome, Outcome::NoRoute));
    assert_eq!(answer.considered[0], ("api".into(), "the method does not match".into()));
    assert!(matches!(ask("GET", "/v1/", &[], "10.9.0.1").outcome, Outcome::NotAdmitted));
    let twice = ask("GET", "/old", &[("Host", "a"), ("Host", "b")], "::1");
    assert!(matches!(twice.outcome, Outcome::Refused(400, _)));
    let Outcome::Routed(routed) = ask("GET", "http://a/old", &[], "::1").outcome else { panic!("no route") };
    assert!(matches!(routed.action, Told::Redirect { status: 301, location } if location == "https://a/new"));
}

#[test]
fn tunnels_are_asked_for_where_the_proxy_would() {
    let fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    let answer = ask("GET", "http://api.example.com/v1/", &fields, "::1");
    let Outcome::Routed(routed) = answer.outcome else { panic!("no route") };
    let Told::Forward { head, .. } = routed.action else { panic!("not forwarded") };
    assert!(head.contains(&"connection: upgrade".to_owned()), "{head:?}");
}

#[test]
fn json_says_the_same() {
    let answer = ask("GET", "http://api.example.com/v1/", &[], "::1").to_json();
    assert_eq!(answer["outcome"], "routed");
    assert_eq!(answer["action"]["forward"]["upstreams"][0]["pick"]["backend"], "a");
}
