//! Where the time of a request goes, stop by stop: nanoseconds of each pure step, the median of many
//! rounds. `cargo bench --bench micro`. Prints, and judges nothing.
#![allow(clippy::unwrap_used, reason = "the inputs are written here")]

use std::{hint::black_box, rc::Rc, sync::Arc, time::Instant};

use pointsman::{
    backend::{Address, Backend, Shared},
    balance::{Balancer, Pick, Policy},
    config::listen::{PathsConf, Underscores},
    exchange::{Exchange, Peer},
    fields::Fields,
    h1::{Framing, HeadLimits, RequestHead, ResponseHead, Scan},
    http::normalize::normalize,
    moment::Moment,
    route::{
        host::HostPattern,
        matcher::{Facts, Rule},
        table::Table,
    },
    telemetry::access_line::AccessLine,
    telemetry::trace::{
        Context,
        otlp::{Side, Span, WallClock},
    },
    upstream::request_head::{Settled, UpstreamHead},
};

const REQUEST: &[u8] = b"GET /v1/users/42?verbose=1 HTTP/1.1\r\nHost: api.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,application/xhtml+xml\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en\r\nCookie: session=0123456789abcdef\r\n\
    Connection: keep-alive\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 06:37:03 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 127\r\nConnection: keep-alive\r\nETag: \"6b028d72-7f\"\r\n\r\n";

/// Prints the median nanoseconds of a step.
fn measure(name: &str, mut step: impl FnMut()) {
    const TIMES: u32 = 20_000;
    let mut rounds: Vec<f64> = (0..25)
        .map(|_| {
            let begun = Instant::now();
            (0..TIMES).for_each(|_| step());
            begun.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:<52} {:>8.0} ns", rounds.get(rounds.len() / 2).copied().unwrap_or_default());
}

fn exchange() -> Exchange {
    let mut exchange = Exchange::default();
    exchange.reset(&Rc::new(Peer { text: "192.0.2.7".into(), ..Peer::default() }), Moment::now());
    exchange.request.parse(REQUEST, &HeadLimits::default(), &mut Scan::default()).unwrap();
    exchange.facts.id.push_str("f8d91d803992d94f0000000000000000");
    exchange.response.status = 200;
    exchange
}

fn main() {
    let limits = HeadLimits::default();
    let mut request = RequestHead::default();
    measure("h1: parse a request head into Fields", || {
        black_box(request.parse(black_box(REQUEST), &limits, &mut Scan::default()).unwrap());
    });
    let mut response = ResponseHead::default();
    measure("h1: parse a response head into Fields", || {
        black_box(response.parse(black_box(RESPONSE), &limits, &mut Scan::default()).unwrap());
    });
    compare_fields(&request.fields);

    let mut normal = exchange();
    measure("http: normalize", || {
        normal.authority.clear();
        normal.host.clear();
        black_box(normalize(&mut normal, Underscores::Drop, None, &PathsConf::default()).unwrap());
    });
    let rule = |index: usize| Rule {
        index,
        hosts: vec![HostPattern::Exact(format!("h{index}.example").into())],
        ..Rule::default()
    };
    let api =
        Rule { index: 10_000, hosts: vec![HostPattern::Exact("api.example.com".into())], ..Rule::default() };
    let table = Table::build((0..10_000).map(rule).chain([api]).collect());
    measure("route: find one of 10,000", || {
        black_box(table.find(&Facts {
            host: &normal.host,
            path: normal.path(),
            method: "GET",
            query: normal.query(),
            headers: &normal.request.fields,
            exchange: None,
        }));
    });
    pick();
    let head = UpstreamHead {
        framing: Framing::None,
        host: None,
        backend_host: None,
        default_host: "app",
        target: None,
        is_upgrade: false,
        websocket: None,
        expects_continue: false,
        forwarded: false,
        settled: Settled::default(),
        mark: None,
    };
    let mut out = Vec::new();
    measure("upstream: write the request head", || {
        out.clear();
        head.write_http1(black_box(&normal), &mut out);
    });
    measure("h1: parse and write a response head", || {
        response.parse(black_box(RESPONSE), &limits, &mut Scan::default()).unwrap();
        out.clear();
        response.write(&mut out);
    });
    measure("telemetry: a JSON line of the access log", || {
        out.clear();
        let exchange = black_box(&normal);
        let line = AccessLine {
            listener: "web",
            route: Some("api"),
            upstream: Some("app"),
            backend: Some("10.0.0.1:8080"),
            client: &exchange.facts.peer.text,
            method: exchange.request.method.as_str(),
            scheme: exchange.scheme(),
            host: &exchange.authority,
            target: &exchange.request.target,
            protocol: exchange.version.name(),
            status: 200,
            took: std::time::Duration::from_micros(321),
            request_id: &exchange.facts.id,
            ..AccessLine::default()
        };
        line.write_json(&mut out);
    });
    measure("moment: read the clock", || {
        black_box(Moment::now());
    });
    traces(normal, &head);
}

/// What a request costs more with tracing on, and how much more when it is sampled.
fn traces(mut exchange: Exchange, head: &UpstreamHead<'_>) {
    let config = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
                  [[route]]\nname = \"all\"\nrespond = { status = 204 }\n";
    let off = pointsman::config::parse(config, "none.toml".as_ref()).unwrap().trace;
    measure("trace: find that it is off", || {
        black_box(black_box(&off).is_on());
    });
    measure("trace: begin one that is not sampled, with an attempt", || {
        let mut random = || fastrand::u64(..);
        let mut context = Context::begin(None, false, black_box(0.01), &mut random);
        context.begin_attempt(&mut random);
        black_box(context);
    });
    let context = Context::begin(None, false, 1.0, &mut || fastrand::u64(..));
    exchange.facts.trace = Some(context);
    let mut out = Vec::new();
    measure("upstream: write the request head, with traceparent", || {
        out.clear();
        head.write_http1(black_box(&exchange), &mut out);
    });
    let span = Span {
        trace: context.trace,
        id: context.span,
        parent: None,
        flags: context.flags(),
        state: b"",
        name: "GET api",
        side: Side::Server,
        times: (Moment(1), Moment(2)),
        error: None,
    };
    let clock = WallClock::read();
    measure("trace: encode a span with 16 attributes", || {
        out.clear();
        black_box(&span).write(clock, &mut out, |attributes| {
            for key in TEXTS {
                attributes.text(key, b"a text of usual length");
            }
            for key in ["http.response.status_code", "http.request.body.size", "client.port"] {
                attributes.number(key, 200);
            }
        });
    });
    println!("{:<52} {:>8} bytes", "trace: that span", out.len());
}

const TEXTS: [&str; 13] = [
    "http.request.method",
    "url.path",
    "url.scheme",
    "server.address",
    "client.address",
    "network.protocol.version",
    "user_agent.original",
    "http.route",
    "pointsman.listener",
    "pointsman.upstream",
    "pointsman.backend",
    "pointsman.request_id",
    "error.type",
];

/// Building, looking up and walking a head, in our form and in the common one.
fn compare_fields(source: &Fields) {
    let pairs: Vec<_> = source.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect();
    let mut fields = Fields::default();
    let mut sum = 0;
    measure("fields: build, look up 10 names, walk (Fields)", || {
        fields.clear();
        for (name, value) in &pairs {
            fields.push(std::str::from_utf8(name).unwrap(), value);
        }
        for known in LOOKED_UP {
            sum += fields.known(*known).map_or(0, <[u8]>::len);
        }
        sum += fields.iter().map(|field| field.name.len() + field.value.len()).sum::<usize>();
    });
    let mut map = http::HeaderMap::new();
    let shared: Vec<_> =
        pairs.iter().map(|(name, value)| (name.clone(), bytes::Bytes::from(value.clone()))).collect();
    measure("fields: build, look up 10 names, walk (HeaderMap)", || {
        map.clear();
        for (name, value) in &shared {
            let name = http::HeaderName::from_bytes(name).unwrap();
            map.append(name, http::HeaderValue::from_maybe_shared(value.clone()).unwrap());
        }
        for known in LOOKED_UP {
            sum += map.get(known.name()).map_or(0, http::HeaderValue::len);
        }
        sum += map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    });
    black_box(sum);
}

const LOOKED_UP: &[pointsman::fields::Known] = {
    use pointsman::fields::Known::*;
    &[
        Host,
        ContentLength,
        TransferEncoding,
        Connection,
        Expect,
        Upgrade,
        Te,
        XForwardedFor,
        XRequestId,
        UserAgent,
    ]
};

fn pick() {
    let backend = |number: u8| {
        Arc::new(Backend {
            name: number.to_string().into(),
            address: Address::Host { host: format!("10.0.0.{number}").into(), port: 80 },
            weight: 1,
            max_connections: 0,
            backup: false,
            slow_start: std::time::Duration::ZERO,
            shared: Arc::new(Shared::default()),
        })
    };
    let backends: Vec<_> = (0..8).map(backend).collect();
    let mut rng = fastrand::Rng::with_seed(1);
    for policy in [Policy::RoundRobin, Policy::LeastConnections, Policy::LeastResponseTime] {
        let mut balancer = Balancer::build(policy, 0.0, &backends, 0);
        measure(&format!("balance: pick one of 8, {}", policy.name()), || {
            let pick = Pick { key: 0, tried: &[], now: Moment(1_000_000), rng: &mut rng };
            black_box(balancer.pick(&backends, pick));
        });
    }
}
