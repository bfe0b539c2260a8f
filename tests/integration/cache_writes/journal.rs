//! `write_policy = "back"`: writes that were acknowledged and wait.

use super::*;

#[test]
fn an_accepted_write_is_served_from_the_journal_until_delivered() {
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
    drop(proxy);
    let origin = keeping(address);
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
    // The journal's thread counts it, a moment after nothing waits any more.
    eventually("all are counted", || metric(&proxy, delivered) == 3);
}

fn from(proxy: &Proxy, address: &str) -> Client {
    Client::connect_from(address.parse().unwrap(), proxy.address("web"))
}

#[test]
fn a_waiting_write_is_shown_to_its_writer_alone() {
    let (folder, gate) = (proxy::folder(), Gate::default());
    let pass = gate.clone();
    let origin = Origin::start(move |request| match request.method.as_str() {
        "PUT" | "DELETE" => {
            pass.pass();
            answer(401, "", "who are you?")
        }
        _ => answer(200, "Cache-Control: max-age=60\r\n", "checked"),
    });
    let proxy = Proxy::start(&back_for("networks = [\"127.0.0.0/8\"]", &folder, origin.address(), ""));
    let (mut writer, mut other) = (proxy.connect(), from(&proxy, "127.0.0.2"));
    assert_eq!(other.get("/a").text(), "checked");
    assert_eq!(put(&mut writer, "/a", "unchecked").status, 202);
    assert_eq!(writer.get("/a").text(), "unchecked");
    for _ in 0..2 {
        let seen = other.get("/a");
        assert_eq!((seen.text().as_str(), status_of(&seen).contains("hit")), ("checked", false), "{seen:?}");
    }
    assert_eq!(write(&mut writer, "DELETE", "/b", "", "").status, 202);
    assert_eq!((writer.get("/b").status, other.get("/b").status), (404, 200));
    gate.open();
    gate.open();
    eventually("both are refused", || waiting(&proxy) == 0);
    assert_eq!(writer.get("/a").text(), "checked");
    let log = proxy.log().join("\n");
    assert!(log.contains("accepts writes from 127.0.0.0/8 that no backend has checked"), "{log}");
}

#[test]
fn writes_of_others_go_to_the_backend() {
    let folder = proxy::folder();
    let origin = Origin::start(|request| match request.method.as_str() {
        "GET" => answer(200, "", "a"),
        _ => answer(401, "", "who are you?"),
    });
    let whom = "networks = [\"127.0.0.2\"], methods = [\"PUT\"]";
    let proxy = Proxy::start(&back_for(whom, &folder, origin.address(), ""));
    assert_eq!(put(&mut proxy.connect(), "/a", "new").status, 401);
    assert_eq!(write(&mut from(&proxy, "127.0.0.2"), "DELETE", "/a", "", "").status, 401);
    assert_eq!(put(&mut from(&proxy, "127.0.0.2"), "/a", "new").status, 202);
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
fn a_refused_write_is_set_aside_for_the_next() {
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
    // The journal's thread counts it, a moment after nothing waits any more.
    eventually("all are counted", || (count("set_aside"), count("failed"), count("delivered")) == (1, 1, 2));
    eventually("it is kept for people", || {
        let refused = fs::read_to_string(folder.join("refused")).unwrap_or_default();
        refused.lines().count() == 1 && refused.contains("\"bad\"") && refused.contains("422")
    });
    proxy.until_logged("is refused by the origin and set aside", 1);
    assert_eq!(proxy.count_logged("is refused by the origin and set aside"), 1);
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
    eventually("half a write is over", || {
        let log = proxy.access_log();
        log.iter().any(|line| line["method"] == "PUT" && line["status"] != 202 && line["status"] != 413)
    });
    assert_eq!(proxy.get("/a").text(), "new", "half a write is none");
    assert_eq!(waiting(&proxy), 1);
}

/// The journal has no place for them.
#[test]
fn a_write_with_trailers_is_the_backends_to_take() {
    let folder = proxy::folder();
    let origin = Origin::start(|_| answer(204, "", ""));
    let proxy = Proxy::start(&back(&folder, origin.address(), ""));
    let mut client = proxy.connect();
    for (trailers, status) in [("X-Sum: 7\r\n", 204), ("", 202)] {
        client.send(format!(
            "PUT /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{trailers}\r\n"
        ));
        assert_eq!(client.response("PUT").status, status, "{trailers}");
    }
    let request = origin.requests().remove(0);
    assert_eq!(request.body, b"abc");
    assert_eq!(request.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    eventually("the other is delivered", || waiting(&proxy) == 0);
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn a_disk_copy_older_than_a_write_is_never_served() {
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
fn other_representations_come_from_the_origin_meanwhile() {
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
    let two = get(&mut client, "two");
    assert!(status_of(&two).starts_with("pointsman; fwd=uri-miss; stored; ttl="), "{two:?}");
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
