//! Connections that are passed on, as an administrator sees them.

use std::io::{ErrorKind, Read, Write};

use serde_json::json;

use super::{Server, connect, exactly, logged, passing};
use crate::{
    admin_api::{ask, good},
    collapse::metric,
    support::Proxy,
};

#[test]
fn an_administrator_sees_tunnels_and_ends_one() {
    let server = Server::echo("hello");
    let proxy = Proxy::start(&passing(&[server.address], "", "", ""));
    let (mut one, mut two) = (connect(&proxy), connect(&proxy));
    for client in [&mut one, &mut two] {
        client.write_all(b"abc").unwrap();
        assert_eq!(exactly(client, 8), "helloabc");
    }
    let list = || good(&proxy, "GET", "/api/v1/connections", "")["connections"].take();
    let own = one.local_addr().unwrap().to_string();
    let listed = list();
    let of_one = listed.as_array().unwrap().iter().find(|it| it["client"] == *own).unwrap();
    for (field, value) in [
        ("listener", json!("web")),
        ("protocol", json!("tcp")),
        ("upstream", json!("u")),
        ("backend", json!("b0")),
        ("bytes_in", json!(3)),
        ("bytes_out", json!(8)),
        ("server_name", json!(null)),
    ] {
        assert_eq!(of_one[field], value, "{field} of {of_one}");
    }
    let path = format!("/api/v1/connections/{}", of_one["id"].as_str().unwrap());
    good(&proxy, "DELETE", &path, "");
    assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(logged(&proxy, 1)[0]["error"], "ended");
    assert_eq!(metric(&proxy, "pointsman_connections_ended_total"), 1);
    // Its id is nobody else's, also when its place is.
    let mut three = connect(&proxy);
    assert_eq!(exactly(&mut three, 5), "hello");
    for gone in
        [path.as_str(), "/api/v1/connections/0-0", "/api/v1/connections/9-0-0", "/api/v1/connections/x"]
    {
        assert_eq!(ask(&proxy, "DELETE", gone, "").0, 404, "{gone}");
    }
    for client in [&mut two, &mut three] {
        client.write_all(b"on").unwrap();
        assert_eq!(exactly(client, 2), "on");
    }
}
