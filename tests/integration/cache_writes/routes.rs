//! Which route an accepted write is delivered by.

use super::*;

#[test]
fn a_write_is_delivered_by_the_route_of_its_port() {
    let (folder, other) = (proxy::folder(), Origin::start(|_| answer(204, "", "")));
    let (listener, address) = (nobody(), nobody());
    let config = back(&folder, address, "").replacen("127.0.0.1:0", &listener.to_string(), 1);
    // What a write came over is not kept with it: by its URI alone it would go by this one.
    let routes = format!(
        "[[route]]\nname = \"rest\"\nupstream = \"other\"\n[[upstream]]\nname = \"other\"\n\
         [[upstream.backend]]\naddress = \"{}\"\n[[route]]\nports = [{}]\n",
        other.address(),
        listener.port()
    );
    let proxy = Proxy::start(&config.replacen("[[route]]\n", &routes, 1));
    assert_eq!(put(&mut proxy.connect(), "/a", "one").status, 202);
    let own = keeping(address);
    eventually("it is delivered", || waiting(&proxy) == 0);
    assert_eq!(own.requests().iter().filter(|it| it.method == "PUT").count(), 1);
    assert!(other.requests().is_empty());
}

/// A configuration whose accepting route has these keys beside another that takes the rest; its backend is away.
fn two_ways(keys: &str) -> (SocketAddr, Origin, Proxy) {
    let (folder, other) = (proxy::folder(), Origin::start(|_| answer(204, "", "")));
    let address = nobody();
    let routes = format!(
        "[[route]]\nname = \"rest\"\nupstream = \"other\"\n[[upstream]]\nname = \"other\"\n\
         [[upstream.backend]]\naddress = \"{}\"\n[[route]]\n{keys}\n",
        other.address()
    );
    let config = back(&folder, address, "").replacen("[[route]]\n", &routes, 1);
    let trusted = "address = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let config = config.replacen("address = \"127.0.0.1:0\"\n", trusted, 1);
    (address, other, Proxy::start(&config))
}

#[test]
fn a_write_is_delivered_by_the_route_that_took_it() {
    for (keys, fields) in [
        ("headers = { x-beta = \"1\" }\nrequest_headers = { remove = [\"x-beta\"] }", "X-Beta: 1\r\n"),
        ("clients = [\"127.1.0.0/16\"]", "X-Forwarded-For: 127.1.0.9\r\n"),
    ] {
        let (address, other, proxy) = two_ways(keys);
        assert_eq!(write(&mut proxy.connect(), "PUT", "/a", fields, "one").status, 202, "{keys}");
        let own = keeping(address);
        eventually("it is delivered", || waiting(&proxy) == 0);
        assert_eq!(own.requests().iter().filter(|it| it.method == "PUT").count(), 1, "{keys}");
        assert!(other.requests().is_empty(), "{keys}");
    }
}

#[test]
fn slashes_that_are_kept_apart_stay_so_at_the_delivery() {
    let (folder, address) = (proxy::folder(), nobody());
    let guarded = Origin::start(|_| answer(204, "", ""));
    let routes = format!(
        "[listener.paths]\nmerge_slashes = false\n[[route]]\nname = \"admin\"\npaths = [\"/admin/*\"]\n\
         upstream = \"guarded\"\nallow = [\"192.0.2.1\"]\n[[upstream]]\nname = \"guarded\"\n\
         [[upstream.backend]]\naddress = \"{}\"\n[[route]]\n",
        guarded.address()
    );
    let proxy = Proxy::start(&back(&folder, address, "").replacen("[[route]]\n", &routes, 1));
    assert_eq!(put(&mut proxy.connect(), "/admin/x", "one").status, 403);
    assert_eq!(put(&mut proxy.connect(), "//admin/x", "two").status, 202);
    let own = keeping(address);
    eventually("it is delivered", || waiting(&proxy) == 0);
    assert_eq!(own.requests().iter().filter(|it| it.target == "//admin/x").count(), 1);
    assert!(guarded.requests().is_empty());
}

#[test]
fn a_rewrite_by_client_address_is_the_same_later() {
    let keys = "rewrite = { path = \"/of/{client_ip}{path}\" }";
    let (address, _other, proxy) = two_ways(&format!("paths = [\"/own/*\"]\n{keys}"));
    let fields = "X-Forwarded-For: 127.1.0.9\r\n";
    assert_eq!(write(&mut proxy.connect(), "PUT", "/own/a", fields, "one").status, 202);
    let own = keeping(address);
    eventually("it is delivered", || waiting(&proxy) == 0);
    assert!(own.requests().iter().any(|it| it.method == "PUT" && it.target == "/of/127.1.0.9/own/a"));
}

#[test]
fn a_rewrite_by_client_port_is_not_acknowledged_here() {
    let (address, _other, proxy) =
        two_ways("rewrite = { path = \"/of/{client_port}{path}\" }\npaths = [\"/own/*\"]");
    let own = keeping(address);
    let answer = put(&mut proxy.connect(), "/own/a", "one");
    assert_eq!((answer.status, status_of(&answer)), (204, "pointsman; fwd=method"));
    assert!(own.requests().iter().all(|it| it.target != "/of/0/own/a"));
}

#[test]
fn a_write_beyond_the_buffer_of_its_route_is_refused() {
    let (address, _other, proxy) = two_ways("buffer = \"1KiB\"\npaths = [\"/own/*\"]");
    let mut client = proxy.connect();
    assert_eq!(write(&mut client, "PUT", "/own/a", "", &"x".repeat(1024)).status, 202);
    let large = write(&mut proxy.connect(), "PUT", "/own/b", "", &"x".repeat(1025));
    assert_eq!((large.status, waiting(&proxy)), (413, 1));
    let own = keeping(address);
    eventually("it is delivered", || waiting(&proxy) == 0);
    assert_eq!(own.requests().iter().filter(|it| it.method == "PUT").count(), 1);
}

/// Of two listeners for one route, the first bounds bodies.
#[test]
fn another_listener_bounds_no_delivery() {
    let (folder, address) = (proxy::folder(), nobody());
    let listeners = "[listener.limits]\nbody_bytes = \"1KiB\"\n[[listener]]\nname = \"other\"\n\
                     address = \"127.0.0.1:0\"\n[[route]]\n";
    let proxy = Proxy::start(&back(&folder, address, "").replacen("[[route]]\n", listeners, 1));
    let mut client = Client::connect(proxy.address("other"));
    assert_eq!(write(&mut client, "PUT", "/a", "", &"x".repeat(5000)).status, 202);
    let own = keeping(address);
    eventually("it is delivered", || waiting(&proxy) == 0);
    assert!(own.requests().iter().any(|it| it.body.len() == 5000));
}
