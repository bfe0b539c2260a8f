use super::*;
use crate::{
    config,
    http::{cache_key::key, client_address, edit},
    runtime::build,
    upstream::{announce, conf::SendProxyProtocol},
};

/// A configuration of one listener, behind a trusted proxy at 10.0.0.1, with these options, and these routes.
fn built(listener: &str, routes: &str) -> Snapshot {
    let text = format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"10.0.0.1\"]\n{listener}\n\
         [[upstream]]\nname = \"app\"\n[[upstream.backend]]\naddress = \"127.0.0.1:1\"\n{routes}"
    );
    let config = config::parse(&text, "test.toml".as_ref()).unwrap_or_else(|problems| panic!("{problems:?}"));
    build::build_apart(config).unwrap()
}

/// A PUT of this target from this address, as its route has edited it, and the route.
fn received<'a>(
    snapshot: &'a Snapshot,
    (from, tls): (&str, Option<TlsFacts>),
    target: &str,
    fields: &[(&str, &str)],
) -> (Exchange, &'a Route) {
    let listener = &snapshot.listeners[0];
    let address: IpAddr = from.parse().unwrap();
    let is_trusted = listener.trusts(address);
    let tls = tls.map(Box::new);
    let peer = Peer { address, port: 4711, text: from.into(), is_trusted, tls, ..Peer::default() };
    let mut exchange = Exchange::default();
    exchange.reset(&Rc::new(peer), Moment(1));
    exchange.facts.id.push_str("an-id");
    exchange.request.method = Method::Put;
    exchange.request.version = Version::Http11;
    exchange.request.target.push_str(target);
    for (name, value) in [("host", "a.example")].iter().chain(fields) {
        exchange.request.fields.push(name, value.as_bytes());
    }
    client_address::find(listener, &mut exchange).unwrap();
    let of_client = listener.conf.client_address_from.header();
    normalize::normalize(&mut exchange, listener.conf.underscores, of_client, &listener.conf.paths).unwrap();
    let index = routing::find(listener, &exchange).unwrap();
    let route = &*snapshot.routes[index];
    let place = edit::own_place(listener, route);
    route.filters.on_forward(&mut exchange, place);
    (exchange, route)
}

/// The routes that a write is accepted by, and delivered by.
fn ways(listener: &str, routes: &str, target: &str, fields: &[(&str, &str)]) -> (String, String) {
    let snapshot = built(listener, routes);
    let (exchange, route) = received(&snapshot, ("10.0.0.1", None), target, fields);
    let write = write_of(route, &exchange);
    let mut restored = Exchange::default();
    restore(&mut restored, &write, &PathsConf::default()).unwrap();
    let (_, _, found) = find(&snapshot, &mut restored, &write).unwrap();
    (route.name.to_string(), found.name.to_string())
}

const REST: &str = "[[route]]\nname = \"rest\"\nupstream = \"app\"\n";

/// Else its content would go to the backend of a route that did not take it, and that may be guarded.
#[test]
fn a_write_goes_by_the_route_that_accepted_it() {
    let own = "[[route]]\nname = \"own\"\nupstream = \"app\"\n";
    let proxied = ("x-forwarded-for", "10.1.0.9");
    for (listener, route, target, fields) in [
        // What its route looked at is removed by the route.
        (
            "",
            "headers = { x-beta = \"1\" }\nrequest_headers = { remove = [\"x-beta\"] }",
            "/a",
            &[proxied, ("x-beta", "1")][..],
        ),
        (
            "",
            "headers = { x-beta = \"1\" }\nrequest_headers = { set = { x-beta = \"2\" } }",
            "/a",
            &[("x-beta", "1")],
        ),
        // It is of the client behind a proxy.
        ("", "clients = [\"10.1.0.0/16\"]", "/a", &[proxied]),
        (
            "client_address_from = \"header:x-who\"",
            "clients = [\"10.1.0.0/16\"]",
            "/a",
            &[("x-who", "10.1.0.9")],
        ),
    ] {
        let routes = format!("{own}{route}\n{REST}");
        assert_eq!(ways(listener, &routes, target, fields), ("own".into(), "own".into()), "{route}");
    }
    // By how its listener reads paths.
    let admin = format!("{REST}[[route]]\nname = \"admin\"\npaths = [\"/admin/*\"]\nupstream = \"app\"\n");
    let apart = "[listener.paths]\nmerge_slashes = false\n";
    assert_eq!(ways(apart, &admin, "//admin/x", &[]), ("rest".into(), "rest".into()));
    assert_eq!(ways("", &admin, "//admin/x", &[]), ("admin".into(), "admin".into()));
}

/// Its delivery writes none of its own in their place.
#[test]
fn what_a_route_says_of_the_client_is_kept() {
    let own = [("x-forwarded-for", "10.9.9.9"), ("x-forwarded-host", "b"), ("x-request-id", "own")];
    let set: Vec<String> = own.iter().map(|(name, value)| format!("{name} = \"{value}\"")).collect();
    let edits = format!("request_headers = {{ set = {{ {} }}, remove = [\"forwarded\"] }}\n", set.join(", "));
    let snapshot = built("", &format!("[[route]]\nname = \"all\"\nupstream = \"app\"\n{edits}"));
    for from in ["192.0.2.1", "10.0.0.1"] {
        let (exchange, route) = received(&snapshot, (from, None), "/a", &[("forwarded", "host=c")]);
        let mut later = Exchange::default();
        let write = write_of(route, &exchange);
        assert_eq!(write.settled, route.settled_forwarding.bits());
        restore(&mut later, &write, &PathsConf::default()).unwrap();
        for (name, value) in own {
            assert_eq!(later.request.fields.get(name), Some(value.as_bytes()), "{from}: {name}");
        }
        assert_eq!(later.request.fields.get("forwarded"), None);
        assert_eq!(&*later.facts.peer.text, from);
    }
}

/// Else who wrote it would not see it: it would pass for one of another representation.
#[test]
fn a_write_keeps_the_key_it_was_accepted_under() {
    let routes = "[[cache]]\nname = \"pages\"\n\
                  [[route]]\nname = \"all\"\nupstream = \"app\"\ncache = \"pages\"\n[route.request_headers]\n\
                  add = { x-forwarded-ssl = \"on\" }\nset_if_missing = { x-forwarded-prefix = \"/app\" }\n";
    let snapshot = built("", routes);
    for (from, fields) in [
        ("192.0.2.1", &[][..]),
        ("192.0.2.1", &[("x-forwarded-prefix", "/b")]),
        ("10.0.0.1", &[("x-forwarded-prefix", "/b")]),
        ("10.0.0.1", &[("x-forwarded-for", "10.1.0.9"), ("x-forwarded-proto", "https")]),
    ] {
        let (exchange, route) = received(&snapshot, (from, None), "/a", fields);
        let mut later = Exchange::default();
        restore(&mut later, &write_of(route, &exchange), &PathsConf::default()).unwrap();
        let cache = route.cache.as_ref().unwrap();
        assert_eq!(key(route, cache, &later), key(route, cache, &exchange), "{from}: {fields:?}");
    }
}

#[test]
fn a_newer_route_of_its_uri_takes_a_write() {
    let before = built("", REST);
    let (exchange, route) = received(&before, ("10.0.0.1", None), "/new/a", &[("x-beta", "1")]);
    let write = write_of(route, &exchange);
    for (routes, expected) in [
        ("[[route]]\nname = \"new\"\npaths = [\"/new/*\"]\nupstream = \"app\"\n", "new"),
        // Whether the client had it, nobody knows any more.
        (
            "[[route]]\nname = \"new\"\npaths = [\"/new/*\"]\nheaders = { x-beta = \"1\" }\nupstream = \"app\"\n",
            "rest",
        ),
    ] {
        let after = built("", &format!("{REST}{routes}"));
        let mut restored = Exchange::default();
        restore(&mut restored, &write, &PathsConf::default()).unwrap();
        assert_eq!(&*find(&after, &mut restored, &write).unwrap().2.name, expected, "{routes}");
    }
    let renamed = built("", &REST.replace("rest", "other"));
    let mut restored = Exchange::default();
    restore(&mut restored, &write, &PathsConf::default()).unwrap();
    assert_eq!(&*find(&renamed, &mut restored, &write).unwrap().2.name, "other");
}

type From = (&'static str, Option<TlsFacts>);
/// What it is called, whom it comes from, and with which fields.
type Request<'a> = (&'a str, &'a dyn Fn() -> From, &'a [(&'a str, &'a str)]);

/// Else the backend would get it as another tenant's, and the client has long heard that it is accepted.
#[test]
fn a_write_that_would_go_elsewhere_later_is_not_accepted() {
    let tls = || -> From {
        let facts =
            TlsFacts { version: "TLSv1.3", server_name: Some("a.example".into()), ..TlsFacts::default() };
        ("192.0.2.1", Some(facts))
    };
    let (direct, proxied) = (|| -> From { ("192.0.2.1", None) }, || -> From { ("10.0.0.1", None) });
    let behind = [("x-forwarded-for", "6.6.6.6, 198.51.100.9")];
    let froms: [Request<'_>; 4] = [
        ("tls", &tls, &[]),
        ("direct", &direct, &[]),
        ("proxied", &proxied, &behind),
        ("bare", &proxied, &[]),
    ];
    for (rewrite, lasting) in [
        ("path = \"/t/{tls.version}{path}\"", &[][..]),
        ("host = \"{tls.sni}\"", &[]),
        ("path = \"/t/{client_ip}{path}\"", &["tls", "direct", "proxied", "bare"]),
        ("path = \"/t/{client_port}{path}\"", &["proxied"]),
        ("query = { set = { who = \"{header.host}\" } }", &[]),
        ("query = { set = { who = \"{header.x-forwarded-for}\" } }", &["tls", "direct", "proxied", "bare"]),
        ("query = { set = { at = \"{time.unix}\" } }", &[]),
        ("path = \"/{scheme}/{request_id}{path}\"", &["tls", "direct", "proxied", "bare"]),
        ("strip_prefix = \"/a\"", &["tls", "direct", "proxied", "bare"]),
    ] {
        let snapshot = built("", &format!("{REST}rewrite = {{ {rewrite} }}\n"));
        for (name, from, fields) in froms {
            let (exchange, route) = received(&snapshot, from(), "/a/b?c", fields);
            let is_lasting = is_lasting(&snapshot, route, &exchange);
            assert_eq!(is_lasting, lasting.contains(&name), "{rewrite} {name}");
        }
    }
}

/// Else the backend takes this program for the client.
#[test]
fn a_delivery_is_announced_as_its_writer_s() {
    let snapshot = built("", REST);
    let mut conf = snapshot.upstreams[0].conf.clone();
    conf.proxy_protocol = SendProxyProtocol::V1;
    for (from, fields, expected) in [
        (Some("192.0.2.7"), &[][..], Some("192.0.2.7:0")),
        (Some("2001:db8::7"), &[], Some("[2001:db8::7]:0")),
        (Some("10.0.0.1"), &[("x-forwarded-for", "198.51.100.9")], Some("198.51.100.9:0")),
        // Over a unix socket.
        (None, &[], None),
    ] {
        let (mut exchange, route) = received(&snapshot, (from.unwrap_or("192.0.2.1"), None), "/a", fields);
        if from.is_none() {
            exchange.facts.peer = Rc::new(Peer { text: "unix".into(), ..Peer::default() });
        }
        let mut later = Exchange::default();
        restore(&mut later, &write_of(route, &exchange), &PathsConf::default()).unwrap();
        let announced = announce::client(&conf, &later.facts);
        assert_eq!(announced.map(|it| it.to_string()).as_deref(), expected, "{from:?}");
    }
}

/// Else what the backend would refuse is acknowledged: a proxy has asked the client who it is.
#[test]
fn writes_of_clients_whom_proxies_vouch_for_are_not_accepted() {
    const NONE: &str = "remove = [\"x-b\"]";
    let routes = |edits: &str| {
        format!(
            "[[cache]]\nname = \"pages\"\nwrite_policy = \"back\"\njournal = {{ path = \"/nowhere/journal\" }}\n\
             write_back = {{ networks = [\"192.0.2.0/24\"] }}\n{REST}cache = \"pages\"\n\
             [route.request_headers]\n{edits}\n"
        )
    };
    let is_accepted = |edits: &str, from: &'static str, fields: &[(&str, &str)]| {
        let snapshot = built("", &routes(edits));
        let fields: Vec<_> = [("x-forwarded-for", "192.0.2.7")].iter().chain(fields).copied().collect();
        let (exchange, route) = received(&snapshot, (from, None), "/a", &fields);
        super::super::is_accepted((&snapshot, route), route.cache.as_ref().unwrap(), &exchange)
    };
    let (proxy, stranger) = ("10.0.0.1", "192.0.2.1");
    for name in [
        "Client-Cert",
        "client-cert-chain",
        "X-Forwarded-User",
        "x-forwarded-email",
        "x-forwarded-client-cert",
        "X-Forwarded-Tls-Client-Cert-Info",
        "X-SSL-Client-S-DN",
        "ssl-client-subject-dn",
    ] {
        assert!(!is_accepted(NONE, proxy, &[(name, "ann")]), "{name}");
    }
    for name in ["x-forwarded-prefix", "x-forwarded-ssl", "x-real-ip", "X-Scheme", "x-original-host", "x-a"] {
        assert!(is_accepted(NONE, proxy, &[(name, "a")]), "{name}");
    }
    for name in ["client-cert", "x-ssl-client-s-dn", "remote-user"] {
        assert!(is_accepted(NONE, stranger, &[(name, "a")]), "{name} is not believed, and goes no further");
    }
    for (edits, field) in [
        (
            "set = { x-user = \"{header.x-forwarded-user}\" }\nremove = [\"x-forwarded-user\"]",
            "x-forwarded-user",
        ),
        ("add = { x-dn = \"{header.x-ssl-client-dn}\" }\nremove = [\"x-ssl-client-dn\"]", "x-ssl-client-dn"),
        ("set_if_missing = { x-user = \"{cookie.user}\" }\nremove = [\"cookie\"]", "cookie"),
        ("set = { x-forwarded-user = \"a {header.x-forwarded-user}\" }", "x-forwarded-user"),
    ] {
        assert!(!is_accepted(edits, proxy, &[(field, "user=ann")]), "{edits}");
    }
    for edits in ["set = { x-forwarded-user = \"app\" }", "remove = [\"x-forwarded-user\"]"] {
        assert!(is_accepted(edits, proxy, &[("x-forwarded-user", "ann")]), "the route says it: {edits}");
    }
}

/// Else an application behind CGI has a condition or a login, and the client heard that its write is accepted without.
#[test]
fn what_the_origin_judges_is_found_in_other_spellings() {
    let routes = format!(
        "[[cache]]\nname = \"pages\"\nwrite_policy = \"back\"\njournal = {{ path = \"/nowhere/journal\" }}\n\
         write_back = {{ networks = [\"192.0.2.0/24\"] }}\n{REST}cache = \"pages\"\n"
    );
    for (underscores, passes) in [("drop", false), ("pass", true)] {
        let snapshot = built(&format!("underscores = \"{underscores}\""), &routes);
        let is_accepted = |name: &str| {
            let (exchange, route) = received(&snapshot, ("192.0.2.1", None), "/a", &[(name, "1")]);
            super::super::is_accepted((&snapshot, route), route.cache.as_ref().unwrap(), &exchange)
        };
        for name in ["If_Match", "if.none_match", "Content_Range"] {
            assert_eq!(is_accepted(name), !passes, "{underscores}: {name}");
        }
        assert!(is_accepted("x_if_match") && is_accepted("x_ssl"), "{underscores}");
        // What only proxies may set goes no further in another spelling.
        assert!(is_accepted("ssl_client_s_dn") && is_accepted("x_ssl_cert"), "{underscores}");
    }
}

/// Else what the backend would refuse is acknowledged.
#[test]
fn writes_by_which_clients_prove_themselves_are_not_accepted() {
    let routes = |edits: &str| {
        format!(
            "[[cache]]\nname = \"pages\"\nwrite_policy = \"back\"\njournal = {{ path = \"/nowhere/journal\" }}\n\
             write_back = {{ networks = [\"192.0.2.0/24\"] }}\n{REST}cache = \"pages\"\n\
             [route.request_headers]\nremove = [\"authorization\"]\n{edits}\n"
        )
    };
    for (edits, is_for_backend) in [("", false), ("set = { x-user = \"{header.authorization}\" }", true)] {
        let snapshot = built("", &routes(edits));
        for (fields, is_accepted) in [(&[("authorization", "Basic YQ==")][..], !is_for_backend), (&[], true)]
        {
            let (exchange, route) = received(&snapshot, ("192.0.2.1", None), "/a", fields);
            let cache = route.cache.as_ref().unwrap();
            assert_eq!(
                super::super::is_accepted((&snapshot, route), cache, &exchange),
                is_accepted,
                "{edits}"
            );
        }
    }
}
