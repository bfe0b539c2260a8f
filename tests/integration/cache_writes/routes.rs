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
