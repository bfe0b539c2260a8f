//! Traces: which spans a request has, how they hang together, and that a collector never costs a request.

mod collector;
mod context;
mod spans;

use crate::{
    collapse::cached,
    support::{
        Client, Origin, Proxy, Reply, eventually, h2,
        otlp::{Collector, Span},
        proxy::{config, config_of},
        skipped, tls,
    },
};
use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

const PARENT: &str = "00f067aa0ba902b7";

/// A listener that believes 127.0.0.2.
const TRUSTED: &str = "trusted_proxies = [\"127.0.0.2/32\"]";

fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn proxy(backends: &[SocketAddr], trace: &str) -> Proxy {
    let backends: Vec<_> = backends.iter().map(ToString::to_string).collect();
    let more = "[upstream.outlier]\nconsecutive_failures = 100000\nfailure_percent = 0\n[admin]\naddress = \"127.0.0.1:0\"\n";
    Proxy::start(&config_of(&backends, TRUSTED, &format!("{more}{trace}")))
}

fn trusted(proxy: &Proxy) -> Client {
    Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), proxy.address("web"))
}

fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n")
}

/// How many spans came to this, by the metrics.
fn counted(proxy: &Proxy, outcome: &str) -> u64 {
    let text = Client::connect(proxy.address("admin")).get_with("/metrics", "localhost", "").text();
    let name = format!("pointsman_trace_spans_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

fn warnings(proxy: &Proxy, text: &str) -> usize {
    proxy.log().iter().filter(|line| line.contains(text)).count()
}
