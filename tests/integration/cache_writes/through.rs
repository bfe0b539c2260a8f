//! `write_policy = "through"`, and writes that are only forgotten.

use super::*;

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
        assert!(status_of(&response).starts_with("pointsman; fwd=method; stored; ttl="), "{response:?}");
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
fn a_get_older_than_the_put_does_not_replace_it() {
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
