//! Checks speak what requests do.

use super::in_front_of;
use crate::support::{
    Proxy,
    http2_origin::{Came, Http2Origin},
};

fn until_down(proxy: &Proxy, why: &str) {
    proxy.until_logged("backend is down: ", 1);
    let line = proxy.log().into_iter().find(|line| line.contains("backend is down")).unwrap();
    assert!(line.contains(why), "{why}: {line}");
}

#[test]
fn a_check_of_a_path_goes_over_http2() {
    let origin = Http2Origin::start(&[], |served, came| {
        if let Came::Head(head) = came {
            let status = if head.get(":path") == Some("/ready") { "204" } else { "500" };
            served.head(head.stream, &[(":status", status)], true);
        }
    });
    let check = "---\n[upstream.health_check]\npath = \"/ready\"\nhost = \"checked\"\ninterval = \"20ms\"\ninitial = \"down\"\n";
    let proxy = in_front_of(&origin, check);
    proxy.until_logged("backend is up", 1);
    let head = origin.heads()[0].clone();
    for (name, value) in
        [(":method", "GET"), (":authority", "checked"), ("user-agent", "pointsman-health-check")]
    {
        assert_eq!(head.get(name), Some(value));
    }
    let proxy = in_front_of(&origin, &check.replace("/ready", "/other").replace("down", "up"));
    until_down(&proxy, "status 500");
}

type Fields = &'static [(&'static str, &'static str)];

/// What the health service answers, by the service that is asked about.
fn health(serves: &'static [u8], trailers: Fields) -> Http2Origin {
    Http2Origin::start(&[], move |served, came| {
        let Some(head) = served.whole(came) else { return };
        if serves.is_empty() {
            let fields = [&[(":status", "200"), ("content-type", "application/grpc")], trailers].concat();
            return served.head(head.stream, &fields, true);
        }
        served.head(head.stream, &[(":status", "200"), ("content-type", "application/grpc")], false);
        served.data(head.stream, serves, false);
        served.head(head.stream, trailers, true);
    })
}

/// With time for an answer of a busy machine: the first failure is to be the one that is looked for.
const CHECK: &str = "---\n[upstream.health_check]\nkind = \"grpc\"\nservice = \"a.B\"\ninterval = \"20ms\"\ntimeout = \"10s\"\nfall = 1\n";

#[test]
fn a_check_of_kind_grpc_asks_the_health_service() {
    let origin = health(&[0, 0, 0, 0, 2, 8, 1], &[("grpc-status", "0")]);
    let proxy = in_front_of(&origin, &format!("{CHECK}initial = \"down\"\n"));
    proxy.until_logged("backend is up", 1);
    let head = origin.heads()[0].clone();
    let wanted = [
        (":method", "POST"),
        (":path", "/grpc.health.v1.Health/Check"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in wanted {
        assert_eq!(head.get(name), Some(value));
    }
    assert!(origin.body(1).starts_with(&[0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']));
}

#[test]
fn reasons_of_the_health_service_are_told_apart() {
    let cases: [(&'static [u8], Fields, &str); 5] = [
        (&[0, 0, 0, 0, 2, 8, 2], &[("grpc-status", "0")], "NOT_SERVING"),
        (b"", &[("grpc-status", "12")], "UNIMPLEMENTED"),
        (b"", &[("grpc-status", "5")], "does not know"),
        (b"", &[("grpc-status", "14")], "grpc-status 14"),
        (b"x", &[], "no grpc-status"),
    ];
    for (serves, trailers, why) in cases {
        let trailers = if trailers.is_empty() { &[("x-end", "1")][..] } else { trailers };
        let origin = health(serves, trailers);
        until_down(&in_front_of(&origin, CHECK), why);
    }
}

#[test]
fn a_check_over_http2_tells_what_is_no_http2() {
    let http1 = crate::support::Origin::named("one");
    let text = crate::support::proxy::config(&[http1.address()], &format!("protocol = \"h2\"\n{CHECK}"));
    until_down(&Proxy::start(&text), "HTTP/2");
}
