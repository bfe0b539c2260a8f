//! Changes through the admin API: what they do to traffic, to the file, and to what comes after them; and
//! everything that they must not do.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    sync::{Mutex, mpsc},
};

use serde_json::{Value, json};

use crate::support::{
    Client, Origin, Proxy, Reply,
    client::Response,
    eventually,
    proxy::{config, folder},
};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";
const JSON: &str = "Content-Type: application/json\r\n";
const TOML: &str = "Content-Type: application/toml\r\n";
const BACKENDS: &str = "/api/v1/upstreams/u/backends";

/// Asks the admin API.
fn send(proxy: &Proxy, method: &str, target: &str, fields: &str, body: &str) -> Response {
    let mut client = Client::connect(proxy.address("admin"));
    let length = body.len();
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{fields}\r\n");
    client.send(head + body);
    client.response(method)
}

/// The same, for what gives JSON: status and body.
fn ask(proxy: &Proxy, method: &str, target: &str, body: &str) -> (u16, Value) {
    let is_config = target.contains("/config");
    let response = send(proxy, method, target, if is_config { TOML } else { JSON }, body);
    assert_eq!(response.header("content-type"), Some("application/json"), "{method} {target}");
    (response.status, serde_json::from_slice(&response.body).unwrap())
}

fn good(proxy: &Proxy, method: &str, target: &str, body: &str) -> Value {
    let (status, value) = ask(proxy, method, target, body);
    assert!([200, 201].contains(&status), "{method} {target}: {status} {value}");
    value
}

fn code(proxy: &Proxy, method: &str, target: &str, body: &str) -> (u16, String) {
    let (status, value) = ask(proxy, method, target, body);
    assert!(value["error"]["message"].is_string() && value["error"]["hint"].is_string(), "{value}");
    (status, value["error"]["code"].as_str().unwrap().to_owned())
}

fn generation(proxy: &Proxy) -> u64 {
    good(proxy, "GET", "/api/v1/status", "")["generation"].as_u64().unwrap()
}

fn file(proxy: &Proxy) -> String {
    fs::read_to_string(proxy.folder().join("pointsman.toml")).unwrap()
}

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(Origin::address).collect()
}

fn counts(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(|origin| origin.requests().len()).collect()
}

#[test]
fn a_drained_backend_gets_nothing_new_and_what_is_under_way_on_it_ends() {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(Some(held));
    let drained = Origin::start(move |request| match request.target.as_str() {
        "/slow" => {
            let held = held.lock().unwrap().take().unwrap();
            Reply::Take(Box::new(move |connection| {
                held.recv().unwrap();
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow");
            }))
        }
        "/ws" => Reply::Take(Box::new(|connection| {
            connection.send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            );
            let mut bytes = [0; 64];
            while let Ok(length @ 1..) = connection.stream.read(&mut bytes) {
                connection.send(&bytes[..length]);
            }
        })),
        _ => Reply::Text(200, "drained".into()),
    });
    let other = Origin::named("other");
    let text = config(&[drained.address()], ADMIN);
    let proxy = Proxy::start(&text);
    let mut slow = proxy.connect();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut tunnel = proxy.connect();
    tunnel.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(tunnel.response("GET").status, 101);
    eventually("both are under way", || drained.requests().len() == 2);
    let body = format!("{{\"address\": \"{}\", \"name\": \"other\"}}", other.address());
    good(&proxy, "POST", BACKENDS, &body);
    let told = good(&proxy, "POST", &format!("{BACKENDS}/b0/drain"), "");
    assert_eq!((&told["state"], &told["name"]), (&"draining".into(), &"b0".into()));
    assert_eq!(told["override"], json!({"state": {"base": "enabled", "value": "draining"}}));
    assert_eq!(told["generation"], generation(&proxy));
    for _ in 0..20 {
        assert_eq!(proxy.get("/").text(), "other");
    }
    assert_eq!(drained.requests().len(), 2, "nothing new came");
    tunnel.send("still here");
    assert_eq!(tunnel.exactly(10), b"still here");
    release.send(()).unwrap();
    assert_eq!(slow.response("GET").text(), "slow");
    // By its address, percent-encoded: the same backend. It takes part again at once.
    let address = drained.address().to_string().replace(':', "%3A");
    let told = good(&proxy, "POST", &format!("{BACKENDS}/{address}/enable"), "");
    assert_eq!((&told["state"], &told["override"]), (&"up".into(), &Value::Null));
    let mut client = proxy.connect();
    eventually("it gets requests again", || client.get("/").text() == "drained");
    assert_eq!(good(&proxy, "POST", &format!("{BACKENDS}/b0/disable"), "")["state"], "disabled");
    let before = drained.requests().len();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "other");
    }
    assert_eq!(drained.requests().len(), before);
    tunnel.send("x");
    assert_eq!(tunnel.exactly(1), b"x", "a tunnel is under way for as long as its ends like");
    assert_eq!(good(&proxy, "GET", "/api/v1/upstreams/u", "")["backends"][0]["state"], "disabled");
}

#[test]
fn a_weight_takes_effect_with_every_policy() {
    for policy in [
        "round-robin",
        "weighted-round-robin",
        "least-connections",
        "least-response-time",
        "least-bandwidth",
        "ip-hash",
        "consistent-hash",
        "maglev",
        "random",
        "power-of-two",
    ] {
        let origins: Vec<Origin> = (0..3).map(|_| Origin::named("x")).collect();
        let mut options = format!("balance = \"{policy}\"\n");
        if ["consistent-hash", "maglev"].contains(&policy) {
            options += "hash_on = \"query:k\"\n";
        }
        let proxy = Proxy::start(&config(&addresses(&origins), &format!("{options}---\n{ADMIN}")));
        let spread = |count: usize| {
            let before = counts(&origins);
            for number in 0..count {
                let from: IpAddr = format!("127.0.0.{}", number % 100 + 1).parse().unwrap();
                let mut client = Client::connect_from(from, proxy.address("web"));
                assert_eq!(client.get(&format!("/?k={number}")).status, 200, "{policy}");
            }
            let now = counts(&origins);
            now.iter().zip(before).map(|(now, before)| now - before).collect::<Vec<_>>()
        };
        let target = format!("{BACKENDS}/b1");
        assert_eq!(spread(30).iter().sum::<usize>(), 30);
        assert_eq!(good(&proxy, "PATCH", &target, "{\"weight\": 0}")["weight"], 0);
        let without = spread(60);
        assert!(without[1] == 0 && without[0] + without[2] == 60, "{policy}: {without:?}");
        let told = good(&proxy, "PATCH", &target, "{\"weight\": 20}");
        assert_eq!(told["override"], json!({"weight": {"base": 1, "value": 20}}), "{policy}");
        let with = spread(100);
        assert!(with[1] > 20, "{policy}: {with:?}");
        if ["round-robin", "weighted-round-robin", "random", "ip-hash", "maglev"].contains(&policy) {
            assert!(with[1] > 60, "{policy}: {with:?}");
        }
        assert_eq!(generation(&proxy), 3);
    }
}

#[test]
fn what_is_persisted_is_in_the_file_once_and_nothing_else_of_it_changes() {
    let origins: Vec<Origin> = (0..3).map(|_| Origin::named("x")).collect();
    let added = origins[2].address();
    let text = config(&addresses(&origins[..2]), ADMIN)
        .replace("[[upstream]]\n", "# the application\n[[upstream]]\n")
        .replace("name = \"b1\"\n", "name = \"b1\"  # the second\n");
    let proxy = Proxy::start(&text);
    let mut expected = text;
    let mut check = |generation_now: u64, change: &dyn Fn(&str) -> String| {
        expected = change(&expected);
        assert_eq!(file(&proxy), expected);
        assert_eq!(generation(&proxy), generation_now);
        assert_eq!(good(&proxy, "GET", "/api/v1/status", "")["overrides"], json!([]));
    };
    let weight = good(&proxy, "PATCH", &format!("{BACKENDS}/b1?persist=true"), "{\"weight\": 3}");
    assert_eq!(
        (&weight["weight"], &weight["override"], &weight["generation"]),
        (&3.into(), &Value::Null, &2.into())
    );
    let line = format!("address = \"{}\"\n", origins[1].address());
    check(2, &|text| text.replace(&line, &format!("{line}weight = 3\n")));
    good(&proxy, "POST", &format!("{BACKENDS}/b0/drain?persist=true"), "");
    let line = format!("address = \"{}\"\n", origins[0].address());
    check(3, &|text| text.replace(&line, &format!("{line}state = \"draining\"\n")));
    let body = format!("{{\"address\": \"{added}\", \"name\": \"c\", \"weight\": 2}}");
    let (status, told) = ask(&proxy, "POST", &format!("{BACKENDS}?persist=true"), &body);
    assert_eq!((status, &told["weight"], &told["generation"]), (201, &2.into(), &4.into()));
    let with = file(&proxy);
    assert!(with.contains(&format!("address = \"{added}\"")) && with.contains("# the second"), "{with}");
    let gone = good(&proxy, "DELETE", &format!("{BACKENDS}/{added}?persist=true"), "");
    assert_eq!((&gone["name"], &gone["generation"]), (&"c".into(), &5.into()));
    check(5, &|text| text.to_owned());
    // An edit by hand: were the writes above taken for edits too, the generation would be another.
    proxy.edit(&format!("{}# by hand\n", file(&proxy)));
    eventually("the edit is seen", || generation(&proxy) > 5);
    assert_eq!(generation(&proxy), 6);
    assert_eq!(proxy.count_logged("configuration in force"), 5);
}

/// Weight and state of one request were two generations, and the first could be in force without the second.
#[test]
fn what_is_changed_together_is_one_generation_or_none() {
    let origins: Vec<Origin> = (0..2).map(|_| Origin::named("x")).collect();
    let text = config(&addresses(&origins), ADMIN);
    let proxy = Proxy::start(&text);
    let b1 = format!("{BACKENDS}/b1");
    let both = "{\"weight\": 2, \"state\": \"draining\"}";
    let told = good(&proxy, "PATCH", &b1, both);
    assert_eq!(
        (&told["generation"], &told["weight"], &told["state"]),
        (&2.into(), &2.into(), &"draining".into())
    );
    assert_eq!(file(&proxy), text);
    let told = good(&proxy, "PATCH", &format!("{b1}?persist=true"), both);
    assert_eq!((&told["generation"], &told["override"]), (&3.into(), &Value::Null), "{told}");
    let written = file(&proxy);
    assert!(written.contains("weight = 2\n") && written.contains("state = \"draining\"\n"), "{written}");
    // With nothing left of the other, this one's weight is refused, and its state with it.
    good(&proxy, "PATCH", &format!("{BACKENDS}/b0"), "{\"weight\": 0}");
    let none = "{\"state\": \"enabled\", \"weight\": 0}";
    assert_eq!(code(&proxy, "PATCH", &b1, none), (409, "last_backend".to_owned()));
    let now = good(&proxy, "GET", "/api/v1/upstreams/u", "")["backends"][1].clone();
    assert_eq!((&now["weight"], &now["state"]), (&2.into(), &"draining".into()));
    assert_eq!((generation(&proxy), file(&proxy)), (4, written));
}

#[test]
fn an_override_lasts_until_the_file_changes_that_key() {
    let origins: Vec<Origin> = (0..3).map(|_| Origin::named("x")).collect();
    let text = config(&addresses(&origins[..2]), ADMIN);
    let proxy = Proxy::start(&text);
    let body = format!("{{\"address\": \"{}\", \"name\": \"c\"}}", origins[2].address());
    good(&proxy, "POST", BACKENDS, &body);
    good(&proxy, "PATCH", &format!("{BACKENDS}/b0"), "{\"weight\": 7}");
    good(&proxy, "PATCH", &format!("{BACKENDS}/b1"), "{\"state\": \"draining\", \"weight\": 2}");
    assert_eq!(file(&proxy), text, "the file is as it was");
    let keys = || -> Vec<String> {
        let status = good(&proxy, "GET", "/api/v1/status", "");
        let lines = status["overrides"].as_array().unwrap().clone();
        let key = |line: &Value| format!("{}/{}", line["backend"], line["key"]).replace('"', "");
        let mut keys: Vec<String> = lines.iter().map(key).collect();
        keys.sort();
        keys
    };
    let all = ["b0/weight", "b1/state", "b1/weight", "c/added"];
    assert_eq!(keys(), all);
    proxy.edit(
        &text
            .replace("[log]\n", "[log]\nlevel = \"warn\"\n")
            .replace("name = \"b1\"\n", "name = \"b1\"\nmax_connections = 9\n"),
    );
    eventually("the edit is in force", || good(&proxy, "POST", "/api/v1/reload", "")["generation"] == 5);
    assert_eq!(keys(), all, "none of their keys changed");
    // The plan says which goes, and then it goes.
    let next = text.replace("name = \"b0\"\n", "name = \"b0\"\nweight = 2\n");
    let plan = good(&proxy, "POST", "/api/v1/config/plan", &next);
    assert_eq!(plan["overrides"]["dropped"][0]["key"], "weight");
    assert_eq!((plan["overrides"]["dropped"].as_array().unwrap().len(), &plan["changes"]), (1, &true.into()));
    assert_eq!((keys(), generation(&proxy)), (all.map(str::to_owned).into(), 5), "a plan changes nothing");
    let outcome = good(&proxy, "PUT", "/api/v1/config", &next);
    assert_eq!((&outcome["changed"], &outcome["generation"]), (&true.into(), &6.into()));
    assert_eq!(keys(), all[1..]);
    assert_eq!(good(&proxy, "GET", "/api/v1/upstreams/u", "")["backends"][0]["weight"], 2);
    good(&proxy, "DELETE", &format!("{BACKENDS}/c"), "");
    assert_eq!(keys(), all[1..3]);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let origins: Vec<Origin> = (0..2).map(|_| Origin::named("x")).collect();
    let text = config(&addresses(&origins), ADMIN);
    let proxy = Proxy::start(&text);
    let same = format!("{{\"address\": \"{}\"}}", origins[0].address());
    let b0 = &format!("{BACKENDS}/b0");
    for (method, target, body, status, word) in [
        ("POST", &format!("{b0}/drain?persist=yes"), "", 400, "bad_query"),
        ("POST", &format!("{b0}/drain?persits=true"), "", 400, "bad_query"),
        ("POST", &format!("{b0}/drain"), "{}", 400, "unexpected_body"),
        ("POST", &format!("{BACKENDS}/none/drain"), "", 404, "no_such_backend"),
        ("POST", &"/api/v1/upstreams/none/backends/b0/drain".to_owned(), "", 404, "no_such_upstream"),
        ("POST", &format!("{b0}/stop"), "", 404, "not_found"),
        ("GET", &format!("{b0}/drain"), "", 405, "method_not_allowed"),
        ("PATCH", b0, "", 400, "no_body"),
        ("PATCH", b0, "{\"weight\": 3", 400, "bad_json"),
        ("PATCH", b0, "{\"weight\": 65536}", 422, "bad_weight"),
        ("PATCH", b0, "{\"wieght\": 1}", 422, "unknown_key"),
        ("PATCH", b0, "[]", 422, "bad_body"),
        ("POST", &BACKENDS.to_owned(), &same, 409, "backend_exists"),
        ("POST", &BACKENDS.to_owned(), "{\"address\": \"nowhere\"}", 422, "bad_backend"),
        ("POST", &BACKENDS.to_owned(), "{\"name\": \"c\"}", 422, "bad_backend"),
        ("PUT", &"/api/v1/log/level".to_owned(), "{\"level\": \"loud\"}", 422, "bad_level"),
        ("GET", &"/api/v1/explain".to_owned(), "", 400, "bad_query"),
        ("GET", &"/api/v1/connections?limit=1001".to_owned(), "", 400, "bad_query"),
        ("GET", &"/api/v1/status?verbose=1".to_owned(), "", 400, "bad_query"),
    ] {
        assert_eq!(code(&proxy, method, target, body), (status, word.to_owned()), "{method} {target} {body}");
    }
    let wrong = send(&proxy, "PATCH", b0, "Content-Type: text/plain\r\n", "{\"weight\": 3}");
    assert_eq!(wrong.status, 415);
    let long = format!("{{\"weight\": {}3}}", " ".repeat(70_000));
    assert_eq!(code(&proxy, "PATCH", b0, &long), (413, "too_large".to_owned()));
    good(&proxy, "DELETE", &format!("{BACKENDS}/b1"), "");
    for (method, body) in [("DELETE", ""), ("PATCH", "{\"weight\": 0}")] {
        assert_eq!(code(&proxy, method, b0, body), (409, "last_backend".to_owned()));
    }
    assert_eq!((generation(&proxy), file(&proxy)), (2, text));
    assert_eq!(proxy.get("/").text(), "x");
}

#[test]
fn a_configuration_is_read_checked_planned_and_replaced() {
    let origins: Vec<Origin> = (0..2).map(|_| Origin::named("x")).collect();
    let text = config(&addresses(&origins[..1]), ADMIN);
    let proxy = Proxy::start(&text);
    let read = || {
        let response = send(&proxy, "GET", "/api/v1/config", "", "");
        assert_eq!(response.header("content-type"), Some("application/toml"));
        (response.header("etag").unwrap().to_owned(), response.text())
    };
    let put = |tag: &str, text: &str| {
        let fields = format!("{TOML}If-Match: {tag}\r\n");
        send(&proxy, "PUT", "/api/v1/config", &fields, text).status
    };
    let (tag, given) = read();
    assert_eq!(given, text);
    let next = config(&addresses(&origins), ADMIN);
    let broken = text.replace("[[route]]", "[[rout]]");
    assert_eq!(ask(&proxy, "POST", "/api/v1/config/check", &next), (200, json!({"ok": true})));
    assert_eq!(ask(&proxy, "POST", "/api/v1/config/check", ""), (200, json!({"ok": true})));
    for (method, target) in
        [("POST", "/api/v1/config/check"), ("POST", "/api/v1/config/plan"), ("PUT", "/api/v1/config")]
    {
        let (status, told) = ask(&proxy, method, target, &broken);
        assert_eq!((status, &told["error"]["code"]), (422, &"bad_config".into()), "{told}");
        let problem = &told["problems"][0];
        assert!(problem["line"].as_u64() > Some(1) && problem["message"].is_string(), "{problem}");
    }
    let plan = good(&proxy, "POST", "/api/v1/config/plan", &next);
    assert!(
        plan["backends"].as_array().unwrap().iter().any(|it| it["name"] == "u/b1" && it["change"] == "added"),
        "{plan}"
    );
    assert_eq!((generation(&proxy), read().1), (1, text.clone()), "nothing of this changed anything");
    assert_eq!(put("\"0000000000000000\"", &next), 412);
    assert_eq!(put(&tag, &next), 200);
    let (new_tag, given) = read();
    assert!(given == next && file(&proxy) == next && new_tag != tag && generation(&proxy) == 2);
    assert_eq!(good(&proxy, "GET", "/api/v1/upstreams/u", "")["backends"].as_array().unwrap().len(), 2);
    assert_eq!(put(&tag, &text), 412, "who read it before that must read it again");
    // An edit that is not in force, since it is broken, is not written over unseen.
    proxy.edit(&broken);
    proxy.until_logged("configuration refused", 1);
    assert_eq!((put(&new_tag, &text), file(&proxy)), (412, broken));
    assert_eq!(code(&proxy, "POST", "/api/v1/reload", ""), (422, "bad_config".to_owned()));
    let status = good(&proxy, "GET", "/api/v1/status", "");
    assert!(
        status["reloads"]["failed"].as_u64() >= Some(2) && status["last_reload"]["ok"] == false,
        "{status}"
    );
    assert_eq!(put("*", &text), 200);
    assert_eq!(
        (good(&proxy, "POST", "/api/v1/reload", "")["changed"].clone(), generation(&proxy)),
        (false.into(), 3)
    );
    // Whoever opens the endpoint to everyone without a token is refused, on every way.
    let open = text.replace(ADMIN, "[admin]\naddress = \"0.0.0.0:0\"\n");
    assert_eq!(code(&proxy, "PUT", "/api/v1/config", &open), (422, "bad_config".to_owned()));
    let before = proxy.count_logged("configuration refused");
    proxy.edit(&open);
    proxy.until_logged("configuration refused", before + 1);
    assert_eq!(code(&proxy, "POST", "/api/v1/reload", "").0, 422);
    assert_eq!((generation(&proxy), proxy.get("/").status), (3, 200));
}

#[test]
fn who_is_connected_and_what_is_logged() {
    let origin = Origin::named("x");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    let mut clients: Vec<Client> = (0..5).map(|_| proxy.connect()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
    let told = good(&proxy, "GET", "/api/v1/connections?limit=3", "");
    assert_eq!((&told["total"], told["connections"].as_array().unwrap().len()), (&5.into(), 3));
    let first = &told["connections"][0];
    assert_eq!(
        (&first["listener"], &first["protocol"], &first["tls"]),
        (&"web".into(), &"http/1.1".into(), &Value::Null)
    );
    let ours: Vec<String> = clients.iter().map(|it| it.stream.local_addr().unwrap().to_string()).collect();
    for told in told["connections"].as_array().unwrap() {
        assert!(ours.iter().any(|address| told["client"] == *address), "{told}");
    }
    assert!(first["age_seconds"].as_f64().unwrap() < 60.0);
    drop(clients);
    eventually("they are gone", || good(&proxy, "GET", "/api/v1/connections", "")["total"] == 0);

    let level = || good(&proxy, "GET", "/api/v1/log/level", "")["level"].clone();
    assert_eq!(level(), "info");
    good(&proxy, "PUT", "/api/v1/log/level", "{\"level\": \"error\"}");
    let lines = proxy.count_logged("configuration in force");
    good(&proxy, "PATCH", &format!("{BACKENDS}/b0"), "{\"weight\": 4}");
    assert_eq!((level(), proxy.count_logged("configuration in force")), ("error".into(), lines));
    good(&proxy, "PUT", "/api/v1/log/level", "{\"level\": \"info\"}");
    good(&proxy, "PATCH", &format!("{BACKENDS}/b0"), "{\"weight\": 5}");
    proxy.until_logged("configuration in force", lines + 1);

    let explained = good(&proxy, "GET", "/api/v1/explain?url=/a&header=x-a:+1&from=10.1.1.1", "");
    let head = explained["listeners"][0]["action"]["forward"]["head"].to_string();
    assert!(
        explained["routed"] == true && head.contains("x-a: 1") && head.contains("10.1.1.1"),
        "{explained}"
    );
    assert_eq!(origin.requests().len(), 5, "nothing was sent");
}

#[test]
fn nothing_is_changed_while_the_program_drains_and_all_is_told() {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(Some(held));
    let origin = Origin::start(move |_| {
        let held = held.lock().unwrap().take().unwrap();
        Reply::Take(Box::new(move |connection| {
            held.recv().unwrap();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow");
        }))
    });
    let text = config(&[origin.address()], ADMIN);
    let mut proxy = Proxy::start(&text);
    let mut slow = proxy.connect();
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is under way", || origin.requests().len() == 1);
    proxy.signal("TERM");
    eventually("it drains", || good(&proxy, "GET", "/api/v1/status", "")["draining"] == true);
    for (method, target, body) in [
        ("PATCH", format!("{BACKENDS}/b0"), "{\"weight\": 4}"),
        ("POST", format!("{BACKENDS}/b0/drain"), ""),
        ("PUT", "/api/v1/config".to_owned(), text.as_str()),
        ("POST", "/api/v1/reload".to_owned(), ""),
    ] {
        assert_eq!(code(&proxy, method, &target, body), (503, "stopping".to_owned()), "{target}");
    }
    assert_eq!(good(&proxy, "GET", "/api/v1/connections", "")["total"], 1);
    assert_eq!(ask(&proxy, "POST", "/api/v1/config/check", "").0, 200);
    assert_eq!(send(&proxy, "GET", "/metrics", "", "").status, 200);
    release.send(()).unwrap();
    assert_eq!(slow.response("GET").text(), "slow");
    assert!(proxy.wait().success());
}

#[test]
fn however_much_is_asked_at_once_requests_pass() {
    let origin = Origin::named("x");
    let text = config(&[origin.address()], ADMIN);
    let proxy = Proxy::start(&text);
    // Large and slow to look at.
    let filler: String = (0..3000)
        .map(|number| format!("[[route]]\nname = \"r{number}\"\npaths = [\"/{number}\"]\nupstream = \"u\"\n"))
        .collect();
    let large = format!("{filler}{text}");
    let mut kept = proxy.connect();
    let mut open = Vec::new();
    for target in ["/api/v1/config/plan", "/api/v1/config/check"] {
        for _ in 0..8 {
            let client = Client::connect(proxy.address("admin"));
            let head = format!(
                "POST {target} HTTP/1.1\r\nHost: localhost\r\n{TOML}Content-Length: {}\r\n\r\n",
                large.len()
            );
            let mut stream = client.stream.try_clone().unwrap();
            let bytes = head + &large;
            std::thread::spawn(move || drop(stream.write_all(bytes.as_bytes())));
            open.push(client);
        }
    }
    for _ in 0..100 {
        assert_eq!(kept.get("/").text(), "x");
        assert_eq!(proxy.get("/").text(), "x");
    }
    assert_eq!(send(&proxy, "GET", "/healthz", "", "").status, 200, "the loop turns");
    for mut client in open {
        let response = client.response("POST");
        assert!([200, 503].contains(&response.status), "{} {}", response.status, response.text());
    }
    let huge = "#".repeat(16 * 1024 * 1024 + 1);
    assert_eq!(code(&proxy, "POST", "/api/v1/config/check", &huge), (413, "too_large".to_owned()));
    assert_eq!((generation(&proxy), kept.get("/").status), (1, 200));
}

#[test]
fn every_change_needs_the_token_where_there_is_one() {
    let origin = Origin::named("x");
    let folder = folder();
    fs::write(folder.join("token"), "s3cret\n").unwrap();
    let text = config(&[origin.address()], &format!("{ADMIN}token_file = \"token\"\n"));
    let proxy = Proxy::start_in(folder, &text);
    let b0 = format!("{BACKENDS}/b0");
    for (method, target, fields, body) in [
        ("POST", format!("{b0}/drain"), "", ""),
        ("PATCH", b0.clone(), JSON, "{\"weight\": 3}"),
        ("DELETE", b0.clone(), "", ""),
        ("POST", BACKENDS.to_owned(), JSON, "{\"address\": \"127.0.0.1:1\"}"),
        ("PUT", "/api/v1/config".to_owned(), TOML, "x"),
        ("GET", "/api/v1/config".to_owned(), "", ""),
        ("POST", "/api/v1/config/check".to_owned(), TOML, "x"),
        ("POST", "/api/v1/config/plan".to_owned(), TOML, "x"),
        ("POST", "/api/v1/reload".to_owned(), "", ""),
        ("GET", "/api/v1/connections".to_owned(), "", ""),
        ("GET", "/api/v1/openapi.json".to_owned(), "", ""),
        ("PUT", "/api/v1/log/level".to_owned(), JSON, "{\"level\": \"error\"}"),
    ] {
        for token in ["", "Authorization: Bearer s3cre\r\n"] {
            let response = send(&proxy, method, &target, &format!("{fields}{token}"), body);
            assert_eq!(response.status, 401, "{method} {target}");
        }
    }
    let with = |method, target: &str| send(&proxy, method, target, "Authorization: Bearer s3cret\r\n", "");
    let status: Value = serde_json::from_slice(&with("GET", "/api/v1/status").body).unwrap();
    assert_eq!((&status["generation"], &status["overrides"]), (&1.into(), &json!([])));
    assert_eq!(with("POST", &format!("{b0}/drain")).status, 200);
}

#[test]
fn a_unix_socket_is_its_owners_and_goes_with_the_program() {
    let origin = Origin::named("x");
    let folder = folder();
    let socket = folder.join("admin.sock");
    // A program that was killed left this behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let admin = format!("[admin]\naddress = \"unix:{}\"\n", socket.display());
    let mut proxy = Proxy::start_in(folder, &config(&[origin.address()], &admin));
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&socket).unwrap();
    let request = format!("POST {BACKENDS}/b0/drain HTTP/1.1\r\nHost: any.test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"draining\""), "{answer}");
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    assert!(!socket.exists(), "its file is removed");
}

#[test]
fn a_unix_socket_goes_over_to_the_next_program_with_its_file() {
    let origin = Origin::named("x");
    let folder = folder();
    let socket = folder.join("admin.sock");
    let admin = format!("[admin]\naddress = \"unix:{}\"\n", socket.display());
    let mut proxy = Proxy::start_in(folder, &config(&[origin.address()], &admin));
    proxy.signal("USR2");
    eventually("another program took over", || proxy.upgraded().len() == 1);
    assert!(proxy.wait().success());
    let ask = || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"GET /api/v1/status HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let pid = proxy.upgraded()[0];
    assert!(ask().contains(&format!("\"pid\": {pid},")), "{}", ask());
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::process::Command::new("kill").arg(pid.to_string()).status().unwrap().success());
    eventually("its file goes with the last program", || !socket.exists());
}
