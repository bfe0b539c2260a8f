//! What an upstream says of its own: the host that is sent, the cookie, how large a head may be, and how it is checked.

use crate::support::{
    Client, Origin, Proxy, Reply, eventually,
    proxy::{config, config_of},
};

fn with(origin: &Origin, options: &str) -> Proxy {
    Proxy::start(&config(&[origin.address()], &format!("{options}\n---\n")))
}

/// What a backend was asked for as Host.
fn host(origin: &Origin, proxy: &Proxy) -> (String, String) {
    assert_eq!(proxy.connect().get_with("/", "www.example", "").status, 200);
    let request = origin.last();
    let of = |name: &str| request.all(name).join(" and ");
    (of("host"), of("x-forwarded-host"))
}

#[test]
fn backends_get_the_host_that_their_upstream_says() {
    let origin = Origin::named("x");
    let address = origin.address().to_string();
    for (option, wanted) in [
        ("", "www.example"),
        ("host = \"{host}\"", "www.example"),
        ("host = \"api.internal:8080\"", "api.internal:8080"),
        ("host = \"{backend.name}\"", "b0"),
        ("host = \"{backend.address}\"", &address),
    ] {
        assert_eq!(host(&origin, &with(&origin, option)), (wanted.to_owned(), "www.example".to_owned()));
    }
}

#[test]
fn another_attempt_has_the_host_of_its_own_backend() {
    let broken = Origin::start(|_| Reply::Close(Vec::new()));
    let good = Origin::named("good");
    let proxy =
        Proxy::start(&config(&[broken.address(), good.address()], "host = \"{backend.name}\"\n---\n"));
    for _ in 0..4 {
        assert_eq!(proxy.get("/").status, 200);
    }
    assert!(broken.connections() > 0);
    assert!(good.requests().iter().all(|request| request.header("host") == Some("b1")));
}

#[test]
fn a_host_that_a_route_rewrites_goes_before() {
    let origin = Origin::named("x");
    let text = config(&[origin.address()], "host = \"{backend.name}\"\n---\n");
    let proxy = Proxy::start(
        &text.replace("upstream = \"u\"\n", "upstream = \"u\"\nrewrite = { host = \"of.route\" }\n"),
    );
    assert_eq!(host(&origin, &proxy).0, "of.route");
}

#[test]
fn a_sticky_cookie_has_the_attributes_that_it_is_given() {
    let origin = Origin::named("x");
    let cookie = |options: &str| {
        let proxy = with(&origin, &format!("sticky = {{ {options} }}"));
        let cookie = proxy.get("/").header("set-cookie").unwrap().to_owned();
        cookie.split_once("; ").unwrap().1.to_owned()
    };
    assert_eq!(cookie(""), "Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(
        cookie(
            "same_site = \"none\", secure = \"always\", domain = \"example.com\", path = \"/app\", ttl = \"1m\""
        ),
        "Path=/app; HttpOnly; SameSite=None; Domain=example.com; Max-Age=60; Secure"
    );
    // Less than a second is not none, which would end it at once.
    assert_eq!(cookie("ttl = \"500ms\""), "Path=/; HttpOnly; SameSite=Lax; Max-Age=1");
    assert_eq!(cookie("same_site = \"strict\", secure = \"never\""), "Path=/; HttpOnly; SameSite=Strict");
}

#[test]
fn backends_may_send_as_large_heads_as_they_are_let() {
    let fields = |count: usize| (0..count).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    let origin = Origin::start(move |request| {
        let (kind, size) = request.target[1..].split_once('/').unwrap();
        let size: usize = size.parse().unwrap();
        let more = if kind == "fields" { fields(size - 1) } else { format!("x-a: {}\r\n", "y".repeat(size)) };
        Reply::Bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{more}\r\n").into_bytes())
    });
    let status = |proxy: &Proxy, target: &str| {
        let mut client = proxy.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.response("GET").status
    };
    let proxy = with(&origin, "");
    assert_eq!((status(&proxy, "/fields/200"), status(&proxy, "/fields/201")), (200, 502));
    assert_eq!((status(&proxy, "/bytes/60000"), status(&proxy, "/bytes/70000")), (200, 502));
    let proxy = with(&origin, "limits = { header_bytes = \"1MiB\", headers = 10000 }");
    assert_eq!((status(&proxy, "/fields/10000"), status(&proxy, "/fields/10001")), (200, 502));
    assert_eq!((status(&proxy, "/bytes/1000000"), status(&proxy, "/bytes/1100000")), (200, 502));
    let proxy = with(&origin, "limits = { headers = 5 }");
    assert_eq!((status(&proxy, "/fields/5"), status(&proxy, "/fields/6")), (200, 502));
}

#[test]
fn clients_may_send_as_many_fields_as_they_are_let() {
    let origin = Origin::named("x");
    let limits = "limits = { header_bytes = \"1MiB\", headers = 10000 }\n";
    let proxy = Proxy::start(&config_of(&[origin.address().to_string()], limits, ""));
    let status = |count: usize| {
        let fields: String = (0..count - 1).map(|number| format!("x-{number}: y\r\n")).collect();
        let mut client = proxy.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        client.response("GET").status
    };
    assert_eq!([status(256), status(257), status(10000), status(10001)], [200, 200, 200, 431]);
}

#[test]
fn a_check_goes_to_its_port_with_its_fields() {
    let origin = Origin::named("x");
    let checked = Origin::start(|request| {
        let is_known = request.header("authorization") == Some("Bearer x");
        Reply::Take(Box::new(move |connection| {
            // A body that does not end: the status came.
            let status = if is_known { "200 OK" } else { "401 Unauthorized" };
            connection
                .send(format!("HTTP/1.1 {status}\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"));
            let mut rest = Vec::new();
            let _ = std::io::Read::read_to_end(&mut connection.reader, &mut rest);
        }))
    });
    let more = |headers: &str| {
        format!(
            "---\n[admin]\naddress = \"127.0.0.1:0\"\n[[upstream]]\nname = \"c\"\n\
             backend = [{{ name = \"a\", address = \"{}\" }}]\n\
             health_check = {{ port = {}, interval = \"20ms\", timeout = \"10s\", rise = 1, fall = 1, initial = \"{}\"{headers} }}\n",
            origin.address(),
            checked.address().port(),
            if headers.is_empty() { "up" } else { "down" },
        )
    };
    for (headers, wanted) in [(", headers = { authorization = \"Bearer x\" }", "up"), ("", "down")] {
        let proxy = Proxy::start(&config(&[origin.address()], &more(headers)));
        eventually("the check decides", || {
            let answer = Client::connect(proxy.address("admin")).get("/api/v1/upstreams/c").text();
            let json: serde_json::Value = serde_json::from_str(&answer).unwrap();
            json["backends"][0]["state"] == wanted
        });
    }
    assert_eq!(origin.connections(), 0, "the backend's own port is not asked");
}
