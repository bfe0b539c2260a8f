//! Every case of gRPC with its own library on both sides, over HTTP/2 without TLS and over TLS.

use super::grpc::Python;
use crate::support::{
    Proxy,
    http2_origin::{Came, Http2Origin},
    nobody, tls,
};

/// How many cases the script has.
const CASES: usize = 29;

/// Routes and upstreams of one listener, the server being at `address`. `more` is of upstreams of that server.
fn of(mode: &str, address: &str, more: &str, sick: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut route = |service: &str, options: &str, upstream: &str| {
        text.push_str(&format!(
            "[[route]]\nname = \"{service}-{mode}\"\nlisteners = [\"{mode}\"]\npaths = [\"/{service}/*\"]\n{options}\n"
        ));
        if !upstream.is_empty() {
            text.push_str(&format!(
                "upstream = \"{service}-{mode}\"\n[[upstream]]\nname = \"{service}-{mode}\"\n{upstream}\n"
            ));
        }
    };
    let server = format!(
        "protocol = \"h2\"\n[[upstream.backend]]\naddress = \"{address}\"\n[upstream.retry]\nattempts = 1\n{more}"
    );
    route("t.T", "", &server);
    route("grpc.health.v1.Health", "", &server);
    route("brief.T", "timeout = \"3s\"", &server);
    route("few.T", "max_in_flight = 1", &server);
    route("small.T", "limits = { body_bytes = \"1KB\" }", &server);
    route("denied.T", "deny = [\"127.0.0.0/8\"]", &server);
    route("full.T", "", &server.replace("\n[upstream.retry]", "\nmax_connections = 1\n[upstream.retry]"));
    route("plain503.T", "respond = { status = 503 }", "");
    route("plain401.T", "respond = { status = 401 }", "");
    for (service, address) in sick {
        // One that is to answer, be it with a reset, has the time that it needs on a busy machine.
        let timeout = if *service == "late.T" { "response_timeout = \"300ms\"\n" } else { "" };
        let options = format!("protocol = \"h2\"\n{timeout}");
        route(service, "", &format!("{options}[[upstream.backend]]\naddress = \"{address}\"\n"));
    }
    text
}

#[test]
fn every_case_of_grpc_passes_with_tls_and_without() {
    let files = tls::folder();
    let Some(mut python) = Python::script("grpc_cases.py", &[files.to_str().unwrap()]) else { return };
    let line = python.line();
    let ports: Vec<&str> = line.strip_prefix("ports ").unwrap().split(' ').collect();
    let resets = Http2Origin::start(&[], |served, came| {
        if let Came::Head(head) = came {
            served.reset(head.stream, 2);
        }
    });
    let silent = Http2Origin::start(&[], |_, _| {});
    let sick = [
        ("gone.T", nobody().to_string()),
        ("reset.T", resets.address().to_string()),
        ("late.T", silent.address().to_string()),
    ];
    let local = |port: &str| format!("127.0.0.1:{port}");
    let secure = "[upstream.tls]\nca = \"ca.pem\"\nserver_name = \"localhost\"\n";
    let text = format!(
        "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\n\
         [[listener]]\nname = \"h2c\"\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n{}{}{}",
        tls::SECURE,
        of("h2c", &local(ports[0]), "", &sick),
        of("tls", &local(ports[1]), secure, &sick)
    );
    let proxy = Proxy::start_in(tls::folder_like(&files), &text);
    python.say(&format!("h2c {} tls {}", proxy.address("h2c"), proxy.address("tls")));
    let mut lines = Vec::new();
    loop {
        match python.line() {
            line if line == "done" => break,
            line if line.is_empty() => panic!("the script ended after {lines:#?}"),
            line => lines.push(line),
        }
    }
    lines.sort();
    println!("{}", lines.join("\n"));
    let bad: Vec<_> = lines.iter().filter(|line| !line.ends_with(": good")).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    for mode in ["h2c ", "tls "] {
        assert_eq!(lines.iter().filter(|line| line.starts_with(mode)).count(), CASES, "{mode}");
    }
    // A message that the client's library compressed went on as it was.
    let packed = proxy.logged("/t.T/Packed");
    let (up, down) = (packed["bytes_in"].as_u64().unwrap(), packed["bytes_out"].as_u64().unwrap());
    assert!((1..50_000).contains(&up) && (1..50_000).contains(&down), "{packed}");
}
