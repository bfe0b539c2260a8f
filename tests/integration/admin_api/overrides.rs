//! What is changed for the program that runs: drains and weights.

use super::*;
use crate::support::client::OPENING;

#[test]
fn a_drained_backend_finishes_and_gets_nothing_new() {
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
        "/ws" => {
            let head = request.switching();
            Reply::Take(Box::new(move |connection| {
                connection.send(head);
                let mut bytes = [0; 64];
                while let Ok(length @ 1..) = connection.stream.read(&mut bytes) {
                    connection.send(&bytes[..length]);
                }
            }))
        }
        _ => Reply::Text(200, "drained".into()),
    });
    let other = Origin::named("other");
    let text = config(&[drained.address()], ADMIN);
    let proxy = Proxy::start(&text);
    let mut slow = proxy.connect();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut tunnel = proxy.connect();
    tunnel.send(format!("GET /ws HTTP/1.1\r\nHost: a\r\n{OPENING}\r\n"));
    assert_eq!(tunnel.response("GET").status, 101);
    eventually("both are under way", || drained.requests().len() == 2);
    let body = format!("{{\"address\": \"{}\", \"name\": \"other\"}}", other.address());
    good(&proxy, "POST", BACKENDS, &body);
    let answer = good(&proxy, "POST", &format!("{BACKENDS}/b0/drain"), "");
    assert_eq!((&answer["state"], &answer["name"]), (&"draining".into(), &"b0".into()));
    assert_eq!(answer["override"], json!({"state": {"base": "enabled", "value": "draining"}}));
    assert_eq!(answer["generation"], generation(&proxy));
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
    let answer = good(&proxy, "POST", &format!("{BACKENDS}/{address}/enable"), "");
    assert_eq!((&answer["state"], &answer["override"]), (&"up".into(), &Value::Null));
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
        let answer = good(&proxy, "PATCH", &target, "{\"weight\": 20}");
        assert_eq!(answer["override"], json!({"weight": {"base": 1, "value": 20}}), "{policy}");
        let mut with = spread(100);
        if policy == "least-response-time" {
            // One answer that is late on a busy machine counts for ten seconds.
            eventually("its weight counts", || {
                with[1] > 20 || {
                    with = spread(100);
                    with[1] > 20
                }
            });
        }
        assert!(with[1] > 20, "{policy}: {with:?}");
        if ["round-robin", "weighted-round-robin", "random", "ip-hash", "maglev"].contains(&policy) {
            assert!(with[1] > 60, "{policy}: {with:?}");
        }
        assert_eq!(generation(&proxy), 3);
    }
}

/// Weight and state of one request were two generations, and the first could be in force without the second.
#[test]
fn what_is_changed_together_is_one_generation_or_none() {
    let origins: Vec<Origin> = (0..2).map(|_| Origin::named("x")).collect();
    let text = config(&addresses(&origins), ADMIN);
    let proxy = Proxy::start(&text);
    let b1 = format!("{BACKENDS}/b1");
    let both = "{\"weight\": 2, \"state\": \"draining\"}";
    let answer = good(&proxy, "PATCH", &b1, both);
    assert_eq!(
        (&answer["generation"], &answer["weight"], &answer["state"]),
        (&2.into(), &2.into(), &"draining".into())
    );
    assert_eq!(file(&proxy), text);
    let answer = good(&proxy, "PATCH", &format!("{b1}?persist=true"), both);
    assert_eq!((&answer["generation"], &answer["override"]), (&3.into(), &Value::Null), "{answer}");
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
