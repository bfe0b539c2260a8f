//! Which route a request takes, and what the route does with it.

use crate::support::{
    Client, Origin, Proxy, Reply, h2, nobody, proxy,
    tls::{Authority, Manner, TlsClient},
};

/// A configuration of these routes, each of which answers with its name unless it says otherwise.
fn routes(routes: &[(&str, &str)]) -> String {
    let mut text = "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n".to_owned();
    for (name, rule) in routes {
        text.push_str(&format!("[[route]]\nname = \"{name}\"\n{rule}\n"));
        if !["redirect", "respond"].iter().any(|action| rule.contains(action)) {
            text.push_str(&format!("respond = {{ status = 200, body = \"{name}\" }}\n"));
        }
    }
    text
}

#[test]
fn the_most_specific_route_wins_in_any_order() {
    let proxy = Proxy::start(&routes(&[
        ("wildcard", "hosts = [\"*.example.com\"]"),
        ("long-wildcard", "hosts = [\"*.b.example.com\"]"),
        ("host", "hosts = [\"a.example.com\"]"),
        ("prefix", "hosts = [\"a.example.com\"]\npaths = [\"/v1/*\"]"),
        ("long-prefix", "hosts = [\"a.example.com\"]\npaths = [\"/v1/users/*\"]"),
        ("exact", "hosts = [\"a.example.com\"]\npaths = [\"/v1/users/me\"]"),
        ("regex", "hosts = [\"a.example.com\"]\npaths = [\"~^/items/[0-9]+$\"]"),
        ("method", "hosts = [\"a.example.com\"]\npaths = [\"/v1/*\"]\nmethods = [\"PUT\", \"DELETE\"]"),
        ("header", "hosts = [\"a.example.com\"]\npaths = [\"/v1/*\"]\nheaders = { x-canary = \"yes\" }"),
        ("query", "hosts = [\"a.example.com\"]\npaths = [\"/v1/*\"]\nquery = { beta = \"1\" }"),
        ("any-host", "paths = [\"/any\"]"),
    ]));
    let mut client = proxy.connect();
    for (request, headers, expected) in [
        ("GET a.example.com /", "", "host"),
        ("GET A.EXAMPLE.com:8080 /", "", "host"),
        ("GET x.example.com /", "", "wildcard"),
        ("GET x.y.example.com /", "", "wildcard"),
        ("GET x.b.example.com /", "", "long-wildcard"),
        ("GET a.example.com /v1", "", "prefix"),
        ("GET a.example.com /v1/", "", "prefix"),
        ("GET a.example.com /v1/x", "", "prefix"),
        ("GET a.example.com /v1x", "", "host"),
        ("GET a.example.com /v1/users/1", "", "long-prefix"),
        ("GET a.example.com /v1/users/me", "", "exact"),
        ("GET a.example.com /v1/users/me?x=1", "", "exact"),
        ("GET a.example.com /items/12", "", "regex"),
        ("GET a.example.com /items/x", "", "host"),
        ("PUT a.example.com /v1/x", "", "method"),
        ("put a.example.com /v1/x", "", "prefix"),
        ("GET a.example.com /v1/x", "X-Canary: yes\r\n", "header"),
        ("GET a.example.com /v1/x", "X-Canary: no\r\n", "prefix"),
        ("GET a.example.com /v1/x?a=b&beta=1", "", "query"),
        ("GET a.example.com /v1/x?beta=2", "", "prefix"),
        ("GET a.example.com /v1/x?beta=1", "X-Canary: yes\r\n", "header"),
        ("GET other.test /any", "", "any-host"),
    ] {
        let mut words = request.split(' ');
        let (method, host, target) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"));
        assert_eq!(client.response("GET").text(), expected, "{request} {headers}");
    }
    for (host, target) in [
        ("example.com", "/"),
        ("other.test", "/"),
        ("aXexample.com", "/v1"),
        ("a.example.com.evil.test", "/"),
    ] {
        let response = client.get_with(target, host, "");
        assert_eq!(response.status, 404, "{host}{target}");
        assert!(response.header("proxy-status").unwrap().contains("destination_not_found"));
    }
}

#[test]
fn no_spelling_of_a_path_escapes_its_route() {
    let proxy = Proxy::start(&routes(&[
        ("closed", "paths = [\"/admin/*\"]\nrespond = { status = 403, body = \"closed\" }"),
        ("all", "paths = [\"/*\"]"),
    ]));
    for target in
        ["/admin", "/admin/x", "/%61dmin/x", "/./admin/x", "/x/../admin/x", "/%2e/admin", "//admin/x"]
    {
        let response = proxy.get(target);
        assert!([400, 403].contains(&response.status), "{target}: {}", response.status);
    }
    assert_eq!(proxy.get("/administration").text(), "all");
}

#[test]
fn redirects_fill_their_placeholders_and_cannot_be_split() {
    let proxy = Proxy::start(&routes(&[
        ("https", "paths = [\"/all/*\"]\nredirect = { to = \"https://{host}{path_and_query}\" }"),
        (
            "parts",
            "paths = [\"/parts\"]\nredirect = { to = \"{scheme}://new.test:{port}/x{path}?q={query}\", status = 302 }",
        ),
    ]));
    let mut client = proxy.connect();
    let response = client.get_with("/all/a%0d%0aSet-Cookie:x?b=c", "Old.test:8080", "");
    assert_eq!(response.status, 308);
    assert_eq!(response.header("location"), Some("https://old.test/all/a%0D%0ASet-Cookie:x?b=c"));
    assert_eq!(response.header("set-cookie"), None);
    let response = client.get_with("/parts?b=c", "old.test:8080", "");
    assert_eq!(
        (response.status, response.header("location")),
        (302, Some("http://new.test:8080/x/parts?q=b=c"))
    );
}

#[test]
fn a_route_answers_by_itself() {
    let rule = "respond = { status = 503, body = \"{\\\"closed\\\":true}\", content_type = \"application/json\" }\n\
                response_headers = { set = { x-made = \"here\" } }";
    let empty = |status| format!("paths = [\"/{status}\"]\nrespond = {{ status = {status} }}");
    let (reset, unchanged) = (empty(205), empty(304));
    let proxy = Proxy::start(&routes(&[("closed", rule), ("reset", &reset), ("unchanged", &unchanged)]));
    let mut client = proxy.connect();
    let response = client.get("/");
    assert_eq!((response.status, response.text().as_str()), (503, "{\"closed\":true}"));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("x-made"), Some("here"));
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response("HEAD");
    assert_eq!((response.status, response.header("content-length")), (503, Some("15")));
    // A 205 without a length would have the client wait for the end of the connection.
    let response = client.get("/205");
    assert_eq!((response.status, response.header("content-length")), (205, Some("0")));
    let response = client.get("/304");
    assert_eq!((response.status, response.header("content-length")), (304, None));
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response("POST").status, 503);
}

#[test]
fn path_host_and_fields_are_rewritten() {
    let origin = Origin::start(|_| {
        crate::support::Reply::Bytes(
            b"HTTP/1.1 200 OK\r\nServer: secret\r\nX-Old: 1\r\nX-Old: 2\r\nContent-Length: 0\r\n\r\n"
                .to_vec(),
        )
    });
    let edits = "request_headers = { set = { x-env = \"prod\" }, add = { x-more = \"2\" }, remove = [\"x-internal\"] }\n\
                 response_headers = { set = { x-old = \"3\" }, add = { x-new = \"4\" }, remove = [\"server\"] }\n";
    let text = proxy::config(&[origin.address()], "").replace(
        "[[route]]\n",
        &format!(
            "[[route]]\nname = \"strip\"\npaths = [\"/v1/*\"]\nupstream = \"u\"\nrewrite = {{ strip_prefix = \"/v1\", host = \"inner.test\" }}\n\
             [[route]]\nname = \"path\"\npaths = [\"/old\"]\nupstream = \"u\"\nrewrite = {{ path = \"/new\" }}\n\
             [[route]]\nname = \"edits\"\npaths = [\"/edits\"]\nupstream = \"u\"\n{edits}[[route]]\n"
        ),
    );
    let proxy = Proxy::start(&text);
    let mut client: Client = proxy.connect();
    for (sent, arrives) in [
        ("/v1/users?a=b", "/users?a=b"),
        ("/v1", "/"),
        ("/v1?a=b", "/?a=b"),
        ("/old?a=b", "/new?a=b"),
        ("/v12/x", "/v12/x"),
    ] {
        assert_eq!(client.get_with(sent, "outer.test", "").status, 200);
        assert_eq!(origin.last().target, arrives);
        let is_inner = sent == "/v1" || sent.starts_with("/v1?") || sent.starts_with("/v1/");
        assert_eq!(origin.last().all("host"), [if is_inner { "inner.test" } else { "outer.test" }], "{sent}");
        assert_eq!(origin.last().header("x-forwarded-host"), Some("outer.test"), "the client's own");
    }
    let response =
        client.get_with("/edits", "a", "X-Env: test\r\nX-ENV: test\r\nX-More: 1\r\nX-Internal: 1\r\n");
    let request = origin.last();
    assert_eq!((request.all("x-env"), request.all("x-more")), (vec!["prod"], vec!["1", "2"]));
    assert_eq!(request.header("x-internal"), None);
    let fields = |name| {
        response
            .headers
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!((fields("x-old"), fields("x-new"), fields("server")), (vec!["3"], vec!["4"], vec![]));
}

#[test]
fn response_edits_are_on_every_response_of_their_route() {
    let origin = Origin::named("hello");
    let edits = "response_headers = { set = { x-frame-options = \"DENY\" }, remove = [\"via\"] }";
    let text = format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nname = \"moved\"\npaths = [\"/moved\"]\nredirect = {{ to = \"https://new.test/\" }}\n{edits}\n\
         [[route]]\nname = \"own\"\npaths = [\"/own\"]\nrespond = {{ status = 200 }}\n{edits}\n\
         [[route]]\nname = \"dead\"\npaths = [\"/dead\"]\nupstream = \"dead\"\n{edits}\n\
         [[route]]\nname = \"live\"\npaths = [\"/live\", \"/connect\"]\nupstream = \"live\"\n{edits}\n\
         [[route]]\nname = \"plain\"\npaths = [\"/plain\"]\nredirect = {{ to = \"/\" }}\n\
         [[upstream]]\nname = \"dead\"\n[[upstream.backend]]\naddress = \"{}\"\n\
         [[upstream]]\nname = \"live\"\n[[upstream.backend]]\naddress = \"{}\"\n",
        nobody(),
        origin.address()
    );
    let proxy = Proxy::start(&text);
    let mut client = proxy.connect();
    for (path, status) in [("/moved", 308), ("/own", 200), ("/dead", 502), ("/live", 200)] {
        let response = client.get(path);
        assert_eq!((response.status, response.header("x-frame-options")), (status, Some("DENY")), "{path}");
        assert_eq!(response.header("via"), None, "{path}: edits come after what is added");
    }
    // What no route took, or another one, has nothing of it.
    for (path, status) in [("/nowhere", 404), ("/plain", 308)] {
        let response = client.get(path);
        assert_eq!((response.status, response.header("x-frame-options")), (status, None), "{path}");
        assert_eq!(response.header("via"), Some("1.1 pointsman"), "{path}");
    }
}

#[test]
fn conditions_decide_and_the_rest_falls_through() {
    let config = routes(&[
        ("logged-in", "cookies = { session = true }\nheaders = { x-plan = [\"pro\", \"team\"] }"),
        ("german", "headers = { accept-language = { prefix = \"de\" } }"),
        ("number", "query = { id = { regex = \"^[0-9]+$\" } }"),
        ("proxied", "clients = [\"203.0.113.0/24\"]"),
        ("secure", "scheme = \"https\""),
        (
            "grouped",
            "any = [{ headers = { x-a = true } }, { methods = [\"PUT\"], headers = { x-b = { suffix = \"z\" } } }]\n\
             not = [{ headers = { x-c = true } }, { cookies = { off = \"1\" } }]",
        ),
        ("named", "matchers = [\"beta\", \"mobile\"]"),
        ("home", "hosts = [\"jellyfin.*\"]"),
        ("rest", ""),
    ]);
    let config = config
        + "[[matcher]]\nname = \"beta\"\ncookies = { beta = \"1\" }\n[[matcher]]\nname = \"mobile\"\nheaders = { x-mobile = true }\n";
    let proxy = Proxy::start(&config.replace(
        "address = \"127.0.0.1:0\"\n",
        "address = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n",
    ));
    let mut client = proxy.connect();
    for (request, headers, expected) in [
        ("GET /", "Cookie: a=1; session=x\r\nX-Plan: team\r\n", "logged-in"),
        ("GET /", "Cookie: a=1; xsession=x\r\nX-Plan: team\r\n", "rest"),
        ("GET /", "Cookie: session=x\r\nX-Plan: free\r\n", "rest"),
        ("GET /", "Accept-Language: de-DE, en\r\n", "german"),
        ("GET /", "Accept-Language: en, de\r\n", "rest"),
        ("GET /?id=4%32", "", "number"),
        ("GET /?id=42a", "", "rest"),
        ("GET /", "X-Forwarded-For: 203.0.113.9\r\n", "proxied"),
        ("GET /", "X-Forwarded-For: 203.0.114.9\r\n", "rest"),
        ("GET /", "X-Forwarded-Proto: https\r\n", "secure"),
        ("GET /", "X-A: 1\r\n", "grouped"),
        ("PUT /", "X-B: xyz\r\n", "grouped"),
        ("GET /", "X-B: xyz\r\n", "rest"),
        ("GET /", "Cookie: beta=1\r\nX-Mobile: 1\r\n", "named"),
        ("GET /", "Cookie: beta=1\r\n", "rest"),
        ("GET /", "X-A: 1\r\nX-C: 1\r\n", "rest"),
        ("GET /", "X-A: 1\r\nCookie: off=1\r\n", "rest"),
    ] {
        let (method, target) = request.split_once(' ').unwrap();
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
        assert_eq!(client.response("GET").text(), expected, "{request} {headers}");
    }
    assert_eq!(client.get_with("/", "jellyfin.home.arpa", "").text(), "home");
    assert_eq!(client.get_with("/", "jellyfin", "").text(), "rest");
}

#[test]
fn a_cache_holds_apart_what_conditions_lead_to() {
    let origins = ["inside", "outside"].map(|name| {
        Origin::start(move |_| {
            Reply::Bytes(
                format!(
                    "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n{name}",
                    name.len()
                )
                .into(),
            )
        })
    });
    let [inside, outside] = origins.each_ref().map(Origin::address);
    let proxy = Proxy::start(&format!(
        "[runtime]\nworkers = 1\n[log]\nformat = \"json\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         trusted_proxies = [\"127.0.0.0/8\"]\n[[cache]]\nname = \"c\"\n\
         [[route]]\nname = \"in\"\nclients = [\"10.0.0.0/8\"]\ncache = \"c\"\nupstream = \"in\"\n\
         [[route]]\nname = \"out\"\ncache = \"c\"\nupstream = \"out\"\n\
         [[upstream]]\nname = \"in\"\n[[upstream.backend]]\naddress = \"{inside}\"\n\
         [[upstream]]\nname = \"out\"\n[[upstream.backend]]\naddress = \"{outside}\"\n"
    ));
    let mut client = proxy.connect();
    for (from, expected) in [("10.1.2.3", "inside"), ("192.0.2.1", "outside"), ("10.9.9.9", "inside")] {
        let response = client.get_with("/a", "a", &format!("X-Forwarded-For: {from}\r\n"));
        assert_eq!(response.text(), expected, "{from}");
    }
}

#[test]
fn regular_expressions_of_hosts_take_what_they_find() {
    let proxy = Proxy::start(&routes(&[
        ("any", ""),
        ("regex", "hosts = ['~^API-[0-9]+\\.example\\.(com|net)$']"),
        ("wildcard", "hosts = [\"*.example.net\"]"),
        ("exact", "hosts = [\"api-7.example.com\"]"),
        ("not", "hosts = ['~^in\\.']\nnot = [{ hosts = [\"in.example.com\"] }]"),
    ]));
    let mut client = proxy.connect();
    for (host, expected) in [
        ("api-1.example.com", "regex"),
        ("Api-12.EXAMPLE.com:8080", "regex"),
        ("api-1.example.com.", "regex"),
        ("api-7.example.com", "exact"),
        ("api-1.example.net", "wildcard"),
        ("api-x.example.com", "any"),
        ("xapi-1.example.com", "any"),
        ("api-1.example.com.evil.test", "any"),
        ("in.other.test", "not"),
        ("in.example.com", "any"),
    ] {
        assert_eq!(client.get_with("/", host, "").text(), expected, "{host}");
    }
}

/// A proxy over TLS whose routes look at connections, and one without TLS.
fn by_connection() -> Proxy {
    let folder = proxy::folder();
    Authority::new(&folder).issue(&folder, "own", &["in.test", "*.in.test", "out.test", "localhost"]);
    let tls = "protocol = \"https\"\n[[listener.certificate]]\nchain = \"own.pem\"\nkey = \"own.key\"\n";
    let named = "[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.0/8\"]\n";
    let text = routes(&[
        ("named", "server_names = [\"in.test\", \"*.in.test\"]\nhosts = [\"shop.test\"]"),
        (
            "other-name",
            "hosts = [\"shop.test\"]\nscheme = \"https\"\nnot = [{ server_names = [\"in.test\", \"*.in.test\"] }]",
        ),
        ("two", "protocol = \"h2\"\npaths = [\"/two\"]"),
        ("one", "protocol = \"http1\"\npaths = [\"/one\"]"),
        ("port", "ports = [8443, 9443]\npaths = [\"/port\"]"),
        ("rest", ""),
    ]);
    let listener = "address = \"127.0.0.1:0\"\n";
    let text = text.replacen(listener, &format!("{listener}{tls}{named}"), 1);
    Proxy::start_in(folder, &text)
}

#[test]
fn the_name_of_the_handshake_is_a_condition_beside_host() {
    let proxy = by_connection();
    let config = Manner { ca: "own-ca.pem", ..Manner::default() }.config(proxy.folder());
    for (name, host, expected) in [
        ("in.test", "shop.test", "named"),
        ("a.in.test", "shop.test", "named"),
        ("IN.test", "shop.test", "named"),
        ("out.test", "shop.test", "other-name"),
        ("in.test", "other.test", "rest"),
        // What the client says in Host is not what it said in its handshake.
        ("out.test", "in.test", "rest"),
    ] {
        let mut client = TlsClient::connect(proxy.address("web"), name, &config).unwrap();
        assert!(client.get(host, "/").unwrap().ends_with(expected), "{name} {host}");
    }
    let header = "PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n";
    let mut client = Client::connect(proxy.address("plain"));
    client.send(format!("{header}GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"));
    assert_eq!(client.response("GET").text(), "rest", "without TLS there is no name");
}

#[test]
fn protocol_and_port_of_a_connection_are_conditions() {
    let proxy = by_connection();
    let at = |port: u16, target: &str| {
        let mut client = Client::connect(proxy.address("plain"));
        client.send(format!(
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 {port}\r\nGET {target} HTTP/1.1\r\nHost: a:9443\r\n\r\n"
        ));
        client.response("GET").text()
    };
    assert_eq!((at(8443, "/port"), at(9443, "/port")), ("port".to_owned(), "port".to_owned()));
    // Neither Host nor the client's own port count.
    assert_eq!(at(443, "/port"), "rest");
    assert_eq!((at(1, "/one"), at(1, "/two")), ("one".to_owned(), "rest".to_owned()));
    h2::run(async {
        let config = Manner { ca: "own-ca.pem", alpn: &["h2"], ..Manner::default() }.config(proxy.folder());
        let stream = tokio::net::TcpStream::connect(proxy.address("web")).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(config);
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        let client = h2::Http2::over(stream, &::h2::client::Builder::new()).await;
        assert_eq!(client.get("/two").await.unwrap(), (200, b"two".to_vec()));
        assert_eq!(client.get("/one").await.unwrap(), (200, b"rest".to_vec()));
    });
}

#[test]
fn explain_takes_names_protocols_and_ports() {
    let folder = proxy::folder();
    Authority::new(&folder).issue(&folder, "own", &["in.test"]);
    let text = "[[listener]]\nname = \"web\"\naddress = [\"127.0.0.1:8443\", \"127.0.0.1:9443\"]\nprotocol = \"https\"\n\
                [[listener.certificate]]\nchain = \"own.pem\"\nkey = \"own.key\"\n"
        .to_owned()
        + &["server_names = [\"in.test\"]", "protocol = \"h2\"", "ports = [9443]", "hosts = ['~^re']", ""]
            .iter()
            .enumerate()
            .map(|(number, rule)| format!("[[route]]\nname = \"r{number}\"\n{rule}\nrespond = {{ status = 200 }}\n"))
            .collect::<String>();
    let file = folder.join("explained.toml");
    std::fs::write(&file, text).unwrap();
    let explain = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"));
        let output = command.args(["explain", "--config"]).arg(&file).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for (arguments, route) in [
        (&["https://in.test/"][..], "r0"),
        (&["https://in.test/", "-H", "Host: other.test"], "r0"),
        (&["https://other.test/", "-H", "Host: in.test"], "r4"),
        (&["https://other.test/", "--http2"], "r1"),
        (&["https://other.test:9443/"], "r2"),
        (&["https://re.test:9443/"], "r3"),
    ] {
        assert!(explain(arguments).contains(&format!("  route {route}\n")), "{arguments:?}");
    }
    let said = explain(&["https://other.test/"]);
    for why in [
        "r0  its TLS server name (SNI) is not in `server_names`",
        "r1  it does not use h2",
        "r2  the client connected to none of `ports`",
        "r3  the host does not match",
        "r4  matches",
    ] {
        assert!(said.contains(why), "{why}: {said}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
