//! What operators see of caches, and have purged: what is stored, what is on its way, and nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
};

use serde_json::{Value, json};

use crate::{
    collapse::{Gate, cached, metric},
    support::{Client, Origin, Proxy, Reply, Request, client::Response, eventually},
};

const CACHE: &str = "purge_header = \"surrogate-key\"\n";

/// What the admin API answers to a purge of `pages`.
fn ask_purge(proxy: &Proxy, cache: &str, body: &Value) -> (u16, Value) {
    let path = format!("/api/v1/caches/{cache}/purge");
    post(proxy, &path, &body.to_string())
}

fn post(proxy: &Proxy, path: &str, body: &str) -> (u16, Value) {
    let mut admin = Client::connect(proxy.address("admin"));
    admin.send(format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let response = admin.response("POST");
    (response.status, serde_json::from_str(&response.text()).unwrap())
}

pub fn purge(proxy: &Proxy, body: &Value) -> u64 {
    let (status, answer) = ask_purge(proxy, "pages", body);
    assert_eq!(status, 200, "{body}: {answer}");
    answer["purged"].as_u64().unwrap()
}

pub fn admin(proxy: &Proxy, path: &str) -> Value {
    let response = Client::connect(proxy.address("admin")).get_with(path, "localhost", "");
    serde_json::from_str(&response.text()).unwrap()
}

fn status_of(response: &Response) -> &str {
    response.header("cache-status").unwrap_or_default()
}

/// How much freshness a hit has left; `None` when it is no hit. The clock may go on to the next second meanwhile.
fn hit_ttl(response: &Response) -> Option<i64> {
    status_of(response).strip_prefix("pointsman; hit; ttl=")?.parse().ok()
}

/// Whether what is there for a target comes from the cache.
fn is_stored(proxy: &Proxy, target: &str) -> bool {
    let response = proxy.connect().get_with(target, "test", "Cache-Control: only-if-cached\r\n");
    assert!([200, 504].contains(&response.status), "{target}: {}", response.status);
    response.status == 200
}

fn response(headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

/// Answers with the target, and with its first segment as tag.
fn tagging() -> Origin {
    Origin::start(|request| {
        let tag = request.target.split('/').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
        let headers = format!(
            "Cache-Control: max-age=60\r\nSurrogate-Key: all-pages {tag}\r\nVary: Accept-Language\r\n"
        );
        Reply::Bytes(response(&headers, &request.target))
    })
}

fn fill(proxy: &Proxy, targets: &[&str]) {
    for target in targets {
        assert_eq!(proxy.connect().get_with(target, "test", "").text(), *target);
        assert!(is_stored(proxy, target), "{target}");
    }
}

#[test]
fn a_purge_takes_what_it_names_and_leaves_its_neighbours() {
    let origin = tagging();
    let proxy = Proxy::start(&cached(&[origin.address()], CACHE));
    let all = ["/a", "/a/b", "/ab", "/a?x=1", "/b", "/b/c"];
    for (body, gone) in [
        (json!({"url": "http://TEST:80/%61"}), &["/a"][..]),
        (json!({"url": "http://test/a?x=1"}), &["/a?x=1"]),
        (json!({"url": "http://test/none"}), &[]),
        (json!({"url": "https://test/a"}), &[]),
        (json!({"url": "http://other/a"}), &[]),
        (json!({"prefix": "http://test/a/"}), &["/a/b"]),
        (json!({"prefix": "http://test/a"}), &["/a", "/a/b", "/ab", "/a?x=1"]),
        (json!({"prefix": "http://tes"}), &[]),
        (json!({"prefix": "http://test"}), &all),
        (json!({"tag": "b"}), &["/b", "/b/c"]),
        (json!({"tag": "all"}), &[]),
        (json!({"tag": "all-pages"}), &all),
        (json!({"all": true}), &all),
    ] {
        fill(&proxy, &all);
        assert_eq!(purge(&proxy, &body), gone.len() as u64, "{body}");
        for target in all {
            assert_eq!(is_stored(&proxy, target), !gone.contains(&target), "{body}: {target}");
        }
    }
    let kinds = ["url", "prefix", "tag", "all"].map(|kind| {
        metric(&proxy, &format!("pointsman_cache_purges_total{{cache=\"pages\",kind=\"{kind}\"}}"))
    });
    assert_eq!(kinds, [5, 4, 3, 1]);
    assert_eq!(metric(&proxy, "pointsman_cache_purged_objects_total{cache=\"pages\"}"), 2 + 11 + 2 + 6 + 6);
    proxy.until_logged("\"purged\"", 13);
}

#[test]
fn a_url_is_purged_with_every_variant_and_every_key() {
    let origin = tagging();
    let cache = "key = { query = [\"page\"], headers = [\"x-tenant\"] }\n";
    let proxy = Proxy::start(&cached(&[origin.address()], cache));
    for language in ["de", "fr"] {
        for tenant in ["X-Tenant: 1\r\n", "X-Tenant: 2\r\n", ""] {
            let fields = format!("Accept-Language: {language}\r\n{tenant}");
            proxy.connect().get_with("/a?page=1&utm=x", "test", &fields);
        }
    }
    proxy.connect().get_with("/a?page=2", "test", "");
    assert_eq!(metric(&proxy, "pointsman_cache_objects"), 7);
    assert_eq!(purge(&proxy, &json!({"url": "http://test/a?utm=y&page=1"})), 6);
    assert!(is_stored(&proxy, "/a?page=2"));
    let (status, answer) = ask_purge(&proxy, "pages", &json!({"prefix": "http://test/a?page"}));
    assert_eq!((status, answer["error"]["code"].as_str()), (422, Some("bad_purge")), "{answer}");
    assert_eq!(purge(&proxy, &json!({"prefix": "http://test/a"})), 1);
}

#[test]
fn what_cannot_be_purged_is_said_and_nothing_is_touched() {
    let origin = tagging();
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    fill(&proxy, &["/a"]);
    for (cache, body, status, why) in [
        ("pagse", "{\"all\": true}", 404, "did you mean `pages`?"),
        ("pages", "{}", 422, "send one of"),
        ("pages", "{\"all\": true, \"tag\": \"a\"}", 422, "send one of"),
        ("pages", "{\"all\": \"yes\"}", 422, "name a `url`"),
        ("pages", "{\"url\": \"/a\"}", 422, "write the whole URL"),
        ("pages", "{\"everything\": true}", 422, "it accepts"),
        ("pages", "{\"all\": tru}", 400, "send an object"),
    ] {
        let (given, answer) = post(&proxy, &format!("/api/v1/caches/{cache}/purge"), body);
        let hint = answer["error"]["hint"].as_str().unwrap();
        assert!(given == status && hint.contains(why), "{body}: {given} {answer}");
    }
    assert!(is_stored(&proxy, "/a"));
    assert_eq!(admin(&proxy, "/api/v1/caches")["caches"][0]["stored"]["purges"]["all"], 0);
}

/// A backend that sends head and half of the body, and the rest when the gate opens: each of two requests has its own.
fn halves(gates: [&Gate; 2]) -> Origin {
    let (gates, count) = (gates.map(Gate::clone), AtomicUsize::new(0));
    Origin::start(move |_| {
        let number = count.fetch_add(1, SeqCst);
        let (gate, rest) = (gates[number].clone(), ["world", "later"][number]);
        Reply::Take(Box::new(move |connection| {
            let head = "Content-Length: 10\r\nCache-Control: max-age=60\r\nSurrogate-Key: t";
            connection.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nhello"));
            gate.pass();
            connection.send(rest);
        }))
    })
}

fn purges() -> Vec<Value> {
    let all = [
        json!({"url": "http://test/page"}),
        json!({"prefix": "http://test/"}),
        json!({"tag": "t"}),
        json!({"all": true}),
    ];
    let soft = all.iter().map(|body| {
        let mut body = body.clone();
        body["soft"] = true.into();
        body
    });
    soft.chain(all.clone()).collect()
}

#[test]
fn a_fetch_that_a_purge_meets_is_served_not_stored() {
    // Alone, because of its cookie, or so that others may join; before the head came, or while the body comes.
    for fields in ["", "Cookie: a=1\r\n"] {
        for body in purges() {
            let (older_gate, newer_gate) = (Gate::default(), Gate::default());
            let origin = halves([&older_gate, &newer_gate]);
            let proxy = Proxy::start(&cached(&[origin.address()], CACHE));
            let mut client = proxy.connect();
            client.send(format!("GET /page HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
            client.until(b"\r\n\r\nhello").expect("the first half comes");
            assert_eq!(purge(&proxy, &body), 0, "nothing is stored yet");
            // One that asks after the purge does not get what began before.
            let mut newer = proxy.connect();
            newer.send(format!("GET /page HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
            newer.until(b"\r\n\r\nhello").expect("its own first half comes");
            eventually("the newer one asks for itself", || origin.requests().len() == 2);
            // Both are served, and only the newer one is stored.
            older_gate.open();
            assert_eq!(client.exactly(5), b"world");
            eventually("the older one has ended", || metric(&proxy, "pointsman_cache_fills_in_flight") == 1);
            assert_eq!(metric(&proxy, "pointsman_cache_objects"), 0, "{body} {fields}");
            newer_gate.open();
            assert_eq!(newer.exactly(5), b"later");
            eventually("both have ended", || metric(&proxy, "pointsman_cache_fills_in_flight") == 0);
            assert_eq!(metric(&proxy, "pointsman_cache_objects"), 1, "{body} {fields}");
            assert_eq!(purge(&proxy, &json!({"all": true})), 1);
        }
    }
}

#[test]
fn a_fetch_begun_before_a_purge_is_not_stored() {
    for fields in ["", "Cookie: a=1\r\n"] {
        for body in purges() {
            let gate = Gate::default();
            let held = gate.clone();
            let origin = Origin::start(move |_| {
                held.pass();
                Reply::Bytes(response("Cache-Control: max-age=60\r\nSurrogate-Key: t\r\n", "hello"))
            });
            let proxy = Proxy::start(&cached(&[origin.address()], CACHE));
            let mut client = proxy.connect();
            client.send(format!("GET /page HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
            eventually("it asks", || origin.connections() == 1);
            purge(&proxy, &json!({"url": "http://test/neighbour"}));
            purge(&proxy, &body);
            gate.open();
            assert_eq!(client.response("GET").text(), "hello");
            eventually("it has ended", || metric(&proxy, "pointsman_cache_fills_in_flight") == 0);
            assert_eq!(metric(&proxy, "pointsman_cache_objects"), 0, "{body} {fields}");
            // One that begins after the purge is stored.
            gate.open();
            assert_eq!(proxy.connect().get_with("/page", "test", fields).text(), "hello");
            assert!(is_stored(&proxy, "/page"), "{body} {fields}");
        }
    }
}

#[test]
fn a_purge_of_something_else_keeps_nothing_from_being_stored() {
    for fields in ["", "Cookie: a=1\r\n"] {
        let gate = Gate::default();
        let origin = halves([&gate, &gate]);
        let proxy = Proxy::start(&cached(&[origin.address()], CACHE));
        let mut client = proxy.connect();
        client.send(format!("GET /page HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        client.until(b"\r\n\r\nhello").expect("the first half comes");
        for body in [
            json!({"url": "http://test/page2"}),
            json!({"prefix": "http://test/page/"}),
            json!({"tag": "other"}),
        ] {
            purge(&proxy, &body);
        }
        gate.open();
        assert_eq!(client.exactly(5), b"world");
        eventually("it is stored", || metric(&proxy, "pointsman_cache_objects") == 1);
    }
}

/// A backend whose responses have an ETag; questions whether they still hold wait for the gate, and are counted.
fn validating(gate: Gate, asked: Arc<AtomicUsize>) -> Origin {
    Origin::start(move |request: &Request| match request.header("if-none-match") {
        Some("\"one\"") => {
            asked.fetch_add(1, SeqCst);
            gate.pass();
            Reply::Bytes(
                b"HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\nCache-Control: max-age=60\r\n\r\n".into(),
            )
        }
        Some(_) | None => Reply::Bytes(response("ETag: \"one\"\r\nCache-Control: max-age=60\r\n", "hello")),
    })
}

#[test]
fn a_soft_purge_makes_the_origin_validate() {
    let gate = Gate::default();
    let origin = validating(gate.clone(), Arc::default());
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    assert_eq!(proxy.connect().get_with("/page", "test", "").text(), "hello");
    assert_eq!(purge(&proxy, &json!({"url": "http://test/page", "soft": true})), 1);
    assert_eq!(metric(&proxy, "pointsman_cache_objects"), 1, "it stays");
    gate.open();
    let again = proxy.connect().get_with("/page", "test", "");
    assert_eq!((again.status, again.text().as_str()), (200, "hello"));
    assert!(status_of(&again).starts_with("pointsman; fwd=stale; fwd-status=304"), "{}", status_of(&again));
    assert_eq!(origin.requests().len(), 2);
    let hit = proxy.connect().get_with("/page", "test", "");
    assert!(hit_ttl(&hit).is_some_and(|ttl| ttl > 0), "{}", status_of(&hit));
    assert_eq!(purge(&proxy, &json!({"url": "http://test/page"})), 1);
    let whole = proxy.connect().get_with("/page", "test", "");
    assert!(status_of(&whole).contains("fwd=uri-miss"), "{}", status_of(&whole));
    assert_eq!(
        origin.requests().last().unwrap().header("if-none-match"),
        None,
        "nothing was left to ask about"
    );
}

#[test]
fn soft_purged_responses_are_served_stale_while_refreshed() {
    let gate = Gate::default();
    let origin = validating(gate.clone(), Arc::default());
    let proxy = Proxy::start(&cached(&[origin.address()], "stale_while_revalidate = \"60s\"\n"));
    proxy.connect().get_with("/page", "test", "");
    assert_eq!(purge(&proxy, &json!({"all": true, "soft": true})), 1);
    // While the origin has not answered, everyone gets what there is.
    for _ in 0..3 {
        let stale = proxy.connect().get_with("/page", "test", "");
        assert_eq!(stale.text(), "hello");
        assert!(hit_ttl(&stale).is_some_and(|ttl| ttl <= 0), "{}", status_of(&stale));
    }
    gate.open();
    eventually("it is fresh again", || {
        hit_ttl(&proxy.connect().get_with("/page", "test", "")).is_some_and(|ttl| ttl > 0)
    });
    assert_eq!(origin.requests().len(), 2, "one refresh for all");
}

#[test]
fn a_soft_purge_during_a_validation_is_not_lost() {
    for fields in ["", "Cookie: a=1\r\n"] {
        let gate = Gate::default();
        let asked = Arc::<AtomicUsize>::default();
        let origin = validating(gate.clone(), asked.clone());
        let proxy = Proxy::start(&cached(&[origin.address()], ""));
        proxy.connect().get_with("/page", "test", "");
        let soft = json!({"tag": "none", "soft": true});
        assert_eq!(purge(&proxy, &soft), 0);
        let soft = json!({"url": "http://test/page", "soft": true});
        purge(&proxy, &soft);
        let asking = get_beside(&proxy, fields);
        eventually("it is asked", || asked.load(SeqCst) == 1);
        purge(&proxy, &soft);
        gate.open();
        assert_eq!(asking.join().unwrap().text(), "hello");
        gate.open();
        let next = proxy.connect().get_with("/page", "test", "");
        assert!(status_of(&next).contains("fwd=stale"), "{fields}{}", status_of(&next));
    }
}

fn get_beside(proxy: &Proxy, fields: &str) -> JoinHandle<Response> {
    let (mut client, fields) = (proxy.connect(), fields.to_owned());
    std::thread::spawn(move || client.get_with("/page", "test", &fields))
}

#[test]
fn caches_report_what_they_hold_and_how_they_answered() {
    let origin = tagging();
    let more = "memory = \"32MiB\"\neviction = \"lru\"\n[cache.collapse]\ntimeout = \"3s\"\n";
    let text = cached(&[origin.address()], more).replace(
        "[[upstream]]",
        "[[route]]\nname = \"shared\"\nhosts = [\"collapsing\"]\nupstream = \"u\"\ncollapse = true\n[[upstream]]",
    );
    let proxy = Proxy::start(&text);
    assert_eq!(admin(&proxy, "/api/v1/caches")["caches"][0]["hit_ratio"], Value::Null);
    for target in ["/a", "/a", "/a", "/b"] {
        proxy.connect().get_with(target, "test", "");
    }
    proxy.connect().get_with("/a", "collapsing", "");
    let mut client = proxy.connect();
    client.send("OPTIONS /a HTTP/1.1\r\nHost: test\r\n\r\n");
    client.response("OPTIONS");
    let caches = || admin(&proxy, "/api/v1/caches")["caches"].clone();
    // A request is counted at its end, which may be after its client's.
    eventually("all are counted", || {
        let caches = caches();
        let pages = &caches[0]["requests"];
        pages["bypass"] == 1 && pages["hit"] == 2 && pages["miss"] == 2 && caches[1]["requests"]["miss"] == 1
    });
    let caches = caches();
    let (pages, route) = (&caches[0], &caches[1]);
    assert_eq!((pages["name"].as_str(), pages["kind"].as_str()), (Some("pages"), Some("cache")));
    assert_eq!(
        (pages["hit_ratio"].as_f64(), &pages["requests"]["bypass"]),
        (Some(0.5), &json!(1)),
        "{pages}"
    );
    assert_eq!((&pages["requests"]["hit"], &pages["requests"]["miss"]), (&json!(2), &json!(2)));
    let collapse = json!({"enabled": true, "timeout_ms": 3000, "credentials": false});
    assert_eq!(pages["collapse"], collapse);
    assert_eq!((&pages["fills"]["begun"], &pages["fills"]["in_flight"]), (&json!(2), &json!(0)));
    let stored = &pages["stored"];
    assert_eq!(
        (&stored["objects"], &stored["bytes_limit"], &stored["eviction"]),
        (&json!(2), &json!(32 << 20), &json!("lru"))
    );
    assert!(stored["bytes"].as_u64().unwrap() > 500, "{stored}");
    assert_eq!((route["name"].as_str(), route["kind"].as_str()), (Some("shared"), Some("route")));
    assert_eq!(
        (&route["stored"], &route["hit_ratio"], &route["requests"]["miss"]),
        (&Value::Null, &Value::Null, &json!(1))
    );
    assert_eq!(caches.as_array().unwrap().len(), 2);
}

#[test]
fn explain_shows_what_is_stored_and_changes_nothing() {
    let origin = tagging();
    let proxy = Proxy::start(&cached(&[origin.address()], "stale_while_revalidate = \"60s\"\n"));
    let ask = |url: &str, more: &str| {
        let answer = admin(&proxy, &format!("/api/v1/explain?url={url}{more}"));
        answer["listeners"][0]["action"]["forward"]["cache"].clone()
    };
    let reported = |cache: &Value| {
        let stored = &cache["stored"];
        let text = |key: &str| stored[key].as_str().unwrap_or("none").to_owned();
        (text("result"), text("forward"), stored["variants"].as_u64().unwrap())
    };
    let is = |result: &str, forward: &str, variants: u64| (result.to_owned(), forward.to_owned(), variants);
    let nothing = ask("http://test/a", "");
    assert_eq!((&nothing["name"], &nothing["key"]), (&json!("pages"), &json!("http://test/a")));
    assert_eq!((&nothing["use"], &nothing["collapse"]["may"]), (&json!("read-and-store"), &json!(true)));
    assert_eq!(reported(&nothing), is("miss", "uri-miss", 0));
    fill(&proxy, &["/a"]);
    // A request is counted at its end, which may be after its client's.
    let requests = || admin(&proxy, "/api/v1/caches")["caches"][0]["requests"].clone();
    eventually("both are counted", || (&requests()["hit"], &requests()["miss"]) == (&json!(1), &json!(1)));
    let before = requests();
    let fresh = ask("http://test/a", "");
    assert_eq!(reported(&fresh), is("hit", "none", 1));
    let (ttl, age) = (fresh["stored"]["ttl"].as_i64().unwrap(), fresh["stored"]["age"].as_i64().unwrap());
    assert!((50..=60).contains(&ttl) && ttl + age == 60, "{fresh}");
    assert_eq!(reported(&ask("http://test/a", "&header=accept-language:fr")), is("miss", "vary-miss", 1));
    assert_eq!(
        reported(&ask("http://test/a", "&header=cache-control:no-cache")),
        is("validate", "request", 1)
    );
    assert_eq!(
        reported(&ask("http://test/b", "&header=cache-control:only-if-cached")),
        is("not-cached", "none", 0)
    );
    let alone = ask("http://test/a", "&header=cookie:a=1");
    assert_eq!(alone["collapse"], json!({"may": false, "why": "it has Authorization or Cookie"}));
    let write = ask("http://test/a", "&method=POST");
    assert_eq!(
        (&write["use"], &write["key"], &write["stored"]),
        (&json!("invalidate"), &Value::Null, &Value::Null)
    );
    purge(&proxy, &json!({"all": true, "soft": true}));
    assert_eq!(reported(&ask("http://test/a", "")), is("stale", "none", 1));
    assert_eq!(requests(), before, "nothing was counted");
    assert_eq!(origin.requests().len(), 1, "nobody was asked");
}
