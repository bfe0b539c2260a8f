//! Writes through a cache: what was written is what is read, and nothing older is.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{
    collapse::{Gate, cached, metric},
    support::{
        Client, Origin, Proxy, Reply,
        client::Response,
        eventually,
        h2::{self, Http2},
        nobody, proxy,
    },
};

/// Sends a request with a body over a connection.
pub fn write(client: &mut Client, method: &str, target: &str, headers: &str, body: &str) -> Response {
    let length = body.len();
    client.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: test\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    ));
    client.response(method)
}

pub fn status_of(response: &Response) -> &str {
    response.header("cache-status").unwrap_or_default()
}

fn answer(status: u16, headers: &str, body: &str) -> Reply {
    let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    Reply::Bytes(format!("HTTP/1.1 {status} X\r\n{length}{headers}\r\n{body}").into_bytes())
}

const SAVED: &str = "ETag: \"2\"\r\nCache-Control: max-age=60\r\n";

fn through(origin: &Origin, more: &str) -> Proxy {
    Proxy::start(&cached(&[origin.address()], &format!("write_policy = \"through\"\n{more}")))
}

#[test]
fn what_a_put_left_is_served_without_asking() {
    let origin = Origin::start(|request| match (request.method.as_str(), request.target.as_str()) {
        ("PUT", "/204") => answer(204, SAVED, ""),
        ("PUT", "/201") => answer(201, SAVED, "created"),
        _ => answer(200, "Cache-Control: max-age=60\r\n", "old"),
    });
    let proxy = through(&origin, "");
    let mut client = proxy.connect();
    for target in ["/204", "/201"] {
        assert_eq!(client.get(target).text(), "old");
        let before = origin.requests().len();
        let response = write(&mut client, "PUT", target, "Content-Type: text/new\r\n", "new");
        assert_eq!(status_of(&response), "pointsman; fwd=method; stored; ttl=60", "{response:?}");
        let got = client.get(target);
        assert_eq!((got.text().as_str(), got.header("content-type")), ("new", Some("text/new")));
        assert_eq!((got.header("etag"), got.status), (Some("\"2\""), 200));
        assert!(status_of(&got).starts_with("pointsman; hit; ttl="), "{got:?}");
        let part = client.get_with(target, "test", "Range: bytes=1-\r\n");
        assert_eq!((part.status, part.text().as_str()), (206, "ew"));
        let unchanged = client.get_with(target, "test", "If-None-Match: \"2\"\r\n");
        assert_eq!(unchanged.status, 304);
        assert_eq!(origin.requests().len(), before + 1, "only the PUT");
    }
    let stored = "pointsman_cache_writes_total{cache=\"pages\",policy=\"through\",result=\"stored\"}";
    assert_eq!(metric(&proxy, stored), 2);
}

#[test]
fn what_the_response_does_not_allow_is_only_forgotten() {
    let origin = Origin::start(|request| {
        if request.method == "GET" {
            return answer(200, "Cache-Control: max-age=60\r\n", "asked");
        }
        let response = |name| request.header(name).unwrap_or_default().replace('|', "\r\n");
        answer(request.header("status").unwrap_or("200").parse().unwrap(), &response("answer"), "")
    });
    let proxy = through(&origin, "max_object = \"64KiB\"");
    let mut client = proxy.connect();
    let all = "ETag: \"2\"|Cache-Control: max-age=60|";
    let long = "x".repeat(100_000);
    for (method, headers, answer, body, detail) in [
        ("PUT", "", "Cache-Control: max-age=60|".to_owned(), "new", "no-validator"),
        ("PUT", "", "ETag: \"2\"|".to_owned(), "new", "no-lifetime"),
        ("PUT", "", format!("{all}Vary: Accept|"), "new", "vary"),
        ("PUT", "", format!("{all}Content-Encoding: gzip|"), "new", "content-encoding"),
        ("PUT", "", "ETag: \"2\"|Cache-Control: no-store|".to_owned(), "new", "no-store"),
        ("PUT", "", "ETag: \"2\"|Cache-Control: private, max-age=9|".to_owned(), "new", "private"),
        ("PUT", "", format!("{all}Set-Cookie: a=b|"), "new", "set-cookie"),
        ("PUT", "", format!("{all}Content-Location: /other|"), "new", "other-uri"),
        ("PUT", "Status: 202\r\n", all.to_owned(), "new", "status"),
        ("PUT", "Content-Range: bytes 0-2/9\r\n", all.to_owned(), "new", "partial"),
        ("PUT", "Authorization: x\r\n", all.to_owned(), "new", "authorization"),
        ("PUT", "Cache-Control: no-store\r\n", all.to_owned(), "new", "request-no-store"),
        ("PUT", "X-HTTP-Method-Override: DELETE\r\n", all.to_owned(), "new", "other-uri"),
        ("PUT", "", all.to_owned(), long.as_str(), "body"),
        ("POST", "", all.to_owned(), "new", ""),
        ("DELETE", "", all.to_owned(), "", ""),
    ] {
        assert_eq!(client.get("/a").text(), "asked");
        assert!(status_of(&client.get("/a")).starts_with("pointsman; hit"));
        let before = origin.requests().len();
        let response = write(&mut client, method, "/a", &format!("{headers}Answer: {answer}\r\n"), body);
        let expected = if detail.is_empty() { String::new() } else { format!("; detail={detail}") };
        assert_eq!(status_of(&response), format!("pointsman; fwd=method{expected}"), "{headers}{answer}");
        assert_eq!(client.get("/a").text(), "asked");
        assert_eq!(origin.requests().len(), before + 2, "it was asked for again: {headers}{answer}");
    }
    // What was not done changes nothing.
    let before = origin.requests().len();
    write(&mut client, "PUT", "/a", &format!("Status: 500\r\nAnswer: {all}\r\n"), "new");
    assert!(status_of(&client.get("/a")).starts_with("pointsman; hit"));
    assert_eq!(origin.requests().len(), before + 1);
}

#[test]
fn a_get_that_began_before_the_put_is_not_stored_in_its_place() {
    // With a cookie it fetches for itself, without one others could join.
    for (policy, cookie) in
        [("through", ""), ("through", "Cookie: a=b\r\n"), ("around", ""), ("around", "Cookie: a=b\r\n")]
    {
        let (gate, asked) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
        let (pass, ask) = (gate.clone(), asked.clone());
        let origin = Origin::start(move |request| {
            if request.method == "GET" {
                ask.fetch_add(1, SeqCst);
                pass.pass();
                return answer(200, "Cache-Control: max-age=60\r\n", "old");
            }
            answer(204, SAVED, "")
        });
        let proxy = Proxy::start(&cached(&[origin.address()], &format!("write_policy = {policy:?}")));
        let mut early = proxy.connect();
        early.send(format!("GET /a HTTP/1.1\r\nHost: test\r\n{cookie}\r\n"));
        eventually("the origin is asked", || asked.load(SeqCst) == 1);
        assert_eq!(write(&mut proxy.connect(), "PUT", "/a", "", "new").status, 204);
        gate.open();
        assert_eq!(early.response("GET").text(), "old");
        gate.open();
        let expected = if policy == "through" { ("new", 1) } else { ("old", 2) };
        assert_eq!((proxy.get("/a").text().as_str(), asked.load(SeqCst)), expected, "{policy} {cookie}");
    }
}

/// With a journal in a folder, which must not be that of a proxy: those end with it.
pub fn back(folder: &Path, origin: SocketAddr, more: &str) -> String {
    let journal = format!("write_policy = \"back\"\njournal = {{ path = {folder:?} }}\n{more}");
    cached(&[origin], &journal)
}

pub fn waiting(proxy: &Proxy) -> u64 {
    metric(proxy, "pointsman_cache_journal_entries")
}

/// An origin that keeps what is written to it.
fn keeping(address: SocketAddr) -> Origin {
    let kept = Mutex::new(HashMap::<String, String>::new());
    Origin::start_at(address, move |request| {
        let mut kept = kept.lock().unwrap();
        // What is in the body comes behind this: tests name it in a field too.
        match request.method.as_str() {
            "PUT" => {
                kept.insert(request.target.clone(), request.header("copy").unwrap_or("?").into());
                answer(204, "", "")
            }
            "DELETE" => answer(if kept.remove(&request.target).is_some() { 204 } else { 404 }, "", ""),
            _ => match kept.get(&request.target) {
                Some(text) => answer(200, "Cache-Control: max-age=60\r\n", text),
                None => answer(404, "", "nothing"),
            },
        }
    })
}

pub fn put(client: &mut Client, target: &str, body: &str) -> Response {
    write(client, "PUT", target, &format!("Copy: {body}\r\nContent-Type: text/new\r\n"), body)
}

#[test]
fn an_accepted_write_is_read_from_the_journal_until_the_origin_has_it() {
    let (folder, address) = (proxy::folder(), nobody());
    let proxy = Proxy::start(&back(&folder, address, ""));
    let mut client = proxy.connect();
    let response = put(&mut client, "/a", "the first");
    assert_eq!(response.status, 202);
    assert_eq!(status_of(&response), "pointsman; fwd=method; detail=journal");
    let key = response.header("idempotency-key").unwrap().to_owned();
    assert!(!key.is_empty());
    assert_eq!(put(&mut client, "/a", "the second").status, 202);
    assert_eq!(put(&mut client, "/b", "another").status, 202);
    let got = client.get("/a");
    assert_eq!((got.status, got.text().as_str()), (200, "the second"));
    assert_eq!((got.header("content-type"), got.header("age")), (Some("text/new"), Some("0")));
    assert_eq!(status_of(&got), "pointsman; hit; detail=journal");
    assert_eq!(got.header("cache-control"), Some("no-store"));
    client.send("HEAD /a HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.response("HEAD");
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    let part = client.get_with("/a", "test", "Range: bytes=4-5\r\n");
    assert_eq!((part.status, part.text().as_str()), (206, "se"));
    assert_eq!(waiting(&proxy), 3);
    assert!(client.get("/c").status >= 502, "what was not written is the origin's");
    // It comes back: each is delivered once, in order, with its key, and nothing older is read then.
    let origin = keeping(address);
    drop(proxy);
    let proxy = Proxy::start(&back(&folder, address, ""));
    eventually("all is delivered", || waiting(&proxy) == 0);
    assert_eq!(proxy.get("/a").text(), "the second");
    let of_a: Vec<_> =
        origin.requests().into_iter().filter(|it| it.method == "PUT" && it.target == "/a").collect();
    let bodies: Vec<_> = of_a.iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect();
    assert_eq!(bodies, ["the first", "the second"]);
    assert_eq!(of_a[0].header("idempotency-key"), Some(&*key));
    assert_ne!(of_a[1].header("idempotency-key"), Some(&*key));
    assert_eq!(of_a[0].header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!((of_a[0].header("host"), of_a[0].header("content-type")), (Some("test"), Some("text/new")));
    let delivered = "pointsman_cache_deliveries_total{cache=\"pages\",result=\"delivered\"}";
    assert_eq!(metric(&proxy, delivered), 3);
}

#[test]
fn nothing_older_is_read_while_a_write_waits_nor_after() {
    let (folder, gate) = (proxy::folder(), Gate::default());
    let pass = gate.clone();
    let kept = Mutex::new("old".to_owned());
    let origin = Origin::start(move |request| match request.method.as_str() {
        "PUT" => {
            pass.pass();
            *kept.lock().unwrap() = request.header("copy").unwrap().into();
            answer(204, "", "")
        }
        _ => answer(200, "Cache-Control: max-age=60\r\n", &kept.lock().unwrap()),
    });
    let proxy = Proxy::start(&back(&folder, origin.address(), ""));
    let mut client = proxy.connect();
    assert_eq!(client.get("/a").text(), "old");
    assert!(status_of(&client.get("/a")).starts_with("pointsman; hit; ttl="));
    for round in 0..5 {
        let new = format!("new {round}");
        assert_eq!(put(&mut client, "/a", &new).status, 202);
        assert_eq!(client.get("/a").text(), new, "while it waits");
        assert_eq!(metric(&proxy, "pointsman_cache_objects"), 0, "what is older is gone");
        gate.open();
        eventually("it is delivered", || {
            assert_eq!(client.get("/a").text(), new);
            waiting(&proxy) == 0
        });
        let got = client.get("/a");
        assert_eq!(got.text(), new, "the origin has it");
        assert!(!status_of(&got).contains("journal"), "{got:?}");
    }
}

#[test]
fn a_delete_that_waits_is_a_404() {
    let (folder, address) = (proxy::folder(), nobody());
    let proxy = Proxy::start(&back(&folder, address, ""));
    let mut client = proxy.connect();
    assert_eq!(put(&mut client, "/a", "new").status, 202);
    assert_eq!(write(&mut client, "DELETE", "/a", "", "").status, 202);
    let got = client.get("/a");
    assert_eq!((got.status, status_of(&got)), (404, "pointsman; hit; detail=journal"));
    drop(proxy);
    let origin = keeping(address);
    let proxy = Proxy::start(&back(&folder, address, ""));
    eventually("both are delivered", || waiting(&proxy) == 0);
    let methods: Vec<_> = origin.requests().into_iter().map(|it| it.method).collect();
    assert_eq!(methods, ["PUT", "DELETE"]);
}

#[test]
fn what_the_origin_refuses_is_set_aside_and_the_next_goes_on() {
    let folder = proxy::folder();
    let asked = AtomicUsize::new(0);
    let origin = Origin::start(move |request| match request.header("copy") {
        Some("bad") => answer(422, "", "no"),
        // Later is not never.
        Some("later") if asked.fetch_add(1, SeqCst) == 0 => answer(429, "", "wait"),
        _ => answer(204, "", ""),
    });
    let proxy = Proxy::start(&back(&folder, origin.address(), ""));
    let mut client = proxy.connect();
    for body in ["bad", "later", "good"] {
        assert_eq!(put(&mut client, "/a", body).status, 202);
    }
    eventually("all is done with", || waiting(&proxy) == 0);
    let copies: Vec<_> = origin.requests().iter().map(|it| it.header("copy").unwrap().to_owned()).collect();
    assert_eq!(copies, ["bad", "later", "later", "good"]);
    let count = |result| {
        metric(&proxy, &format!("pointsman_cache_deliveries_total{{cache=\"pages\",result=\"{result}\"}}"))
    };
    assert_eq!((count("set_aside"), count("failed"), count("delivered")), (1, 1, 2));
    eventually("it is kept for people", || {
        let refused = fs::read_to_string(folder.join("refused")).unwrap_or_default();
        refused.lines().count() == 1 && refused.contains("\"bad\"") && refused.contains("422")
    });
    assert_eq!(proxy.count_logged("is refused by the origin, set aside"), 1);
}

#[test]
fn what_only_the_origin_can_say_is_not_acknowledged_here() {
    let (folder, gate) = (proxy::folder(), Gate::default());
    let pass = gate.clone();
    let origin = Origin::start(move |request| match request.header("copy") {
        Some("slow") => {
            pass.pass();
            answer(204, "", "")
        }
        Some(_) => answer(412, "", "the origin says"),
        None => answer(200, "", "the origin says"),
    });
    let proxy = Proxy::start(&back(&folder, origin.address(), ""));
    let mut client = proxy.connect();
    for (method, headers) in [
        ("PUT", "If-Match: \"1\"\r\n"),
        ("PUT", "If-None-Match: *\r\n"),
        ("PUT", "If-Unmodified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n"),
        ("DELETE", "Authorization: Basic eA==\r\n"),
        ("PUT", "Cookie: a=b\r\n"),
        ("PUT", "Content-Range: bytes 0-1/2\r\n"),
        ("PUT", "Cache-Control: no-store\r\n"),
        ("POST", ""),
        ("PATCH", ""),
    ] {
        let response = write(&mut client, method, "/a", headers, "xy");
        assert_eq!(response.text(), "the origin says", "{method} {headers}");
        assert_eq!(status_of(&response), "pointsman; fwd=method", "{method} {headers}");
    }
    // It goes behind what was accepted before it.
    assert_eq!(put(&mut client, "/a", "slow").status, 202);
    client.send("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    assert!(client.is_silent_for(Duration::from_millis(200)));
    assert_eq!(write(&mut proxy.connect(), "POST", "/b", "", "").status, 200, "others do not wait");
    gate.open();
    assert_eq!(client.response("POST").status, 200);
    let order: Vec<_> = origin.requests().into_iter().map(|it| it.method + &it.target).collect();
    assert_eq!(order[9..], ["POST/b", "PUT/a", "POST/a"]);
}

#[test]
fn a_full_journal_acknowledges_nothing() {
    let (folder, address) = (proxy::folder(), nobody());
    let text = back(&folder, address, "").replace("path =", "size = \"1MiB\", path =");
    let proxy = Proxy::start(&text);
    let mut client = proxy.connect();
    let body = "x".repeat(300_000);
    let statuses: Vec<u16> =
        (0..5).map(|at| write(&mut client, "PUT", &format!("/{at}"), "", &body).status).collect();
    assert_eq!(statuses, [202, 202, 202, 503, 503]);
    let refused = write(&mut client, "PUT", "/5", "", &body);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(write(&mut client, "PUT", "/6", "", "small").status, 202);
    assert_eq!(waiting(&proxy), 4);
    let large = "x".repeat(2 << 20);
    assert_eq!(write(&mut client, "PUT", "/7", "", &large).status, 413, "there will never be room");
    drop(proxy);
    let origin = Origin::start_at(address, |_| answer(204, "", ""));
    let proxy = Proxy::start(&text);
    eventually("all is delivered", || waiting(&proxy) == 0);
    let mut targets: Vec<_> = origin.requests().into_iter().map(|it| it.target).collect();
    targets.sort();
    assert_eq!(targets, ["/0", "/1", "/2", "/6"]);
}

#[test]
fn a_body_is_asked_for_and_bounded() {
    let (folder, address) = (proxy::folder(), nobody());
    let proxy = Proxy::start(&back(&folder, address, "max_object = \"1KiB\"\n"));
    let mut client = proxy.connect();
    client.send("PUT /a HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(client.any_response("PUT").status, 100);
    client.send("new");
    assert_eq!(client.response("PUT").status, 202);
    client.send("PUT /a HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 3000\r\n\r\n");
    assert_eq!(client.any_response("PUT").status, 413, "without asking for it");
    let mut client = proxy.connect();
    let chunk = "x".repeat(2000);
    client.send(format!(
        "PUT /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n{chunk}\r\n0\r\n\r\n"
    ));
    assert_eq!(client.response("PUT").status, 413);
    let mut client = proxy.connect();
    client.send("PUT /a HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nne");
    client.shut();
    drop(client);
    assert_eq!(proxy.get("/a").text(), "new", "half a write is none");
    assert_eq!(waiting(&proxy), 1);
}

#[test]
fn of_two_puts_that_overlap_neither_stays_stored() {
    let (gate, asked) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    let (pass, ask) = (gate.clone(), asked.clone());
    let origin = Origin::start(move |request| match request.header("copy") {
        Some("slow") => {
            ask.fetch_add(1, SeqCst);
            pass.pass();
            answer(204, SAVED, "")
        }
        Some(_) => answer(204, SAVED, ""),
        None => answer(200, "Cache-Control: max-age=60\r\n", "what the origin has"),
    });
    let proxy = through(&origin, "");
    let (mut slow, mut quick) = (proxy.connect(), proxy.connect());
    slow.send("PUT /a HTTP/1.1\r\nHost: test\r\nCopy: slow\r\nContent-Length: 4\r\n\r\nslow");
    eventually("the slow one is at the origin", || asked.load(SeqCst) == 1);
    assert_eq!(put(&mut quick, "/b", "neighbour").status, 204);
    assert!(status_of(&put(&mut quick, "/a", "quick")).contains("stored"));
    assert_eq!(quick.get("/a").text(), "quick");
    gate.open();
    assert_eq!(status_of(&slow.response("PUT")), "pointsman; fwd=method; detail=overtaken");
    assert_eq!(quick.get("/a").text(), "what the origin has");
    assert_eq!(quick.get("/b").text(), "neighbour", "others are not meant");
}

#[test]
fn what_a_put_left_is_on_disk_too() {
    let origin = Origin::start(|request| match request.method.as_str() {
        "PUT" => answer(204, SAVED, ""),
        _ => answer(200, "Cache-Control: max-age=60\r\n", "old"),
    });
    let disk = proxy::folder();
    let text = cached(
        &[origin.address()],
        &format!("write_policy = \"through\"\ndisk = {{ path = {disk:?}, size = \"1GiB\" }}"),
    );
    let mut proxy = Proxy::start(&text);
    let objects = "pointsman_cache_disk_objects";
    assert_eq!(proxy.get("/a").text(), "old");
    eventually("the old one is on disk", || metric(&proxy, objects) == 1);
    let new = "new".repeat(200_000);
    write(&mut proxy.connect(), "PUT", "/a", "", &new);
    let written = "pointsman_cache_disk_events_total{cache=\"pages\",event=\"written\"}";
    eventually("the new one is in its place", || {
        metric(&proxy, written) == 2 && metric(&proxy, objects) == 1
    });
    proxy.signal("KILL");
    proxy.wait();
    let proxy = Proxy::start(&text);
    eventually("the disk is looked through", || metric(&proxy, objects) == 1);
    let got = proxy.get("/a");
    assert!(got.text() == new && status_of(&got).starts_with("pointsman; hit"), "{}", status_of(&got));
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_copy_on_disk_that_is_older_than_an_accepted_write_is_never_served() {
    let (journal, disk, gate) = (proxy::folder(), proxy::folder(), Gate::default());
    let pass = gate.clone();
    let kept = Mutex::new("old".to_owned());
    let origin = Origin::start(move |request| {
        if request.method == "PUT" {
            pass.pass();
            *kept.lock().unwrap() = request.header("copy").unwrap().into();
            return answer(204, "", "");
        }
        answer(200, "Cache-Control: max-age=60\r\n", &kept.lock().unwrap())
    });
    let kill = |mut proxy: Proxy| {
        proxy.signal("KILL");
        proxy.wait();
    };
    // As if it were killed between the sync of the write and the end of the copy: they are made apart.
    let disk = format!("disk = {{ path = {disk:?}, size = \"1GiB\" }}\n");
    let proxy = Proxy::start(&cached(&[origin.address()], &disk));
    assert_eq!(proxy.get("/a").text(), "old");
    eventually("it is on disk", || metric(&proxy, "pointsman_cache_disk_objects") == 1);
    kill(proxy);
    let proxy = Proxy::start(&back(&journal, origin.address(), ""));
    assert_eq!(put(&mut proxy.connect(), "/a", "new").status, 202);
    kill(proxy);
    let proxy = Proxy::start(&back(&journal, origin.address(), &disk));
    eventually("the disk is looked through", || metric(&proxy, "pointsman_cache_disk_objects") == 1);
    assert_eq!(proxy.get("/a").text(), "new", "from the journal");
    (0..2).for_each(|_| gate.open());
    eventually("it is delivered", || waiting(&proxy) == 0);
    let got = proxy.get("/a");
    assert_eq!(got.text(), "new");
    assert!(!status_of(&got).contains("hit"), "{got:?}");
}

#[test]
fn another_representation_of_the_uri_is_the_origins_while_a_write_waits() {
    let (folder, gate) = (proxy::folder(), Gate::default());
    let pass = gate.clone();
    let origin = Origin::start(move |request| {
        if request.method == "PUT" {
            pass.pass();
            return answer(204, "", "");
        }
        answer(200, "Cache-Control: max-age=60\r\n", request.header("x-tenant").unwrap())
    });
    let proxy = Proxy::start(&back(&folder, origin.address(), "key = { headers = [\"x-tenant\"] }\n"));
    let mut client = proxy.connect();
    let get = |client: &mut Client, tenant| client.get_with("/a", "test", &format!("X-Tenant: {tenant}\r\n"));
    assert_eq!(write(&mut client, "PUT", "/a", "X-Tenant: one\r\n", "secret").status, 202);
    assert_eq!(get(&mut client, "one").text(), "secret");
    for _ in 0..2 {
        let other = get(&mut client, "two");
        assert_eq!(
            (other.text().as_str(), status_of(&other)),
            ("two", "pointsman; fwd=bypass; detail=journal")
        );
    }
    gate.open();
    eventually("it is delivered", || waiting(&proxy) == 0);
    assert_eq!(get(&mut client, "one").text(), "one");
    assert_eq!(status_of(&get(&mut client, "two")), "pointsman; fwd=uri-miss; stored; ttl=60");
}

#[test]
fn a_write_over_http2_is_accepted_and_bounded_too() {
    let (folder, address) = (proxy::folder(), nobody());
    let proxy = Proxy::start(&back(&folder, address, "max_object = \"1KiB\"\n"));
    h2::run(async {
        let client = Http2::connect(&proxy).await;
        let put = async |body: &'static [u8]| {
            let mut send = client.send.clone().ready().await.unwrap();
            let (response, mut stream) = send.send_request(h2::request("PUT", "/a"), false).unwrap();
            let (first, last) = body.split_at(body.len() / 2);
            stream.send_data(Bytes::from_static(first), false).unwrap();
            // It may be refused by now.
            let _ = stream.send_data(Bytes::from_static(last), true);
            response.await.unwrap().status()
        };
        assert_eq!(put(b"over two frames").await, 202);
        assert_eq!(client.get("/a").await.unwrap(), (200, b"over two frames".to_vec()));
        assert_eq!(put(&[b'x'; 3000]).await, 413);
        assert_eq!(client.get("/a").await.unwrap(), (200, b"over two frames".to_vec()));
    });
    assert_eq!(waiting(&proxy), 1);
}
