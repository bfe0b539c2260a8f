//! `mirror` of a route: copies arrive, and what becomes of them reaches nobody.

use std::{
    sync::{Mutex, mpsc},
    time::Instant,
};

use crate::{
    collapse::metric,
    support::{Client, Origin, Proxy, Reply, client::OPENING, eventually, nobody},
};

/// A backend that says what it was asked.
fn main_backend() -> Origin {
    Origin::start(|request| Reply::Text(200, format!("{} {}", request.method, request.target)))
}

fn start(main: &str, shadow: &str, mirror: &str, more: &str) -> Proxy {
    Proxy::start(&format!(
        "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nname = \"all\"\nupstream = \"live\"\nmirror = {{ upstream = \"next\", {mirror} }}\n{more}\n\
         [[upstream]]\nname = \"live\"\n[[upstream.backend]]\naddress = \"{main}\"\n\
         [[upstream]]\nname = \"next\"\nresponse_timeout = \"10s\"\nretry = {{ attempts = 1 }}\n\
         outlier = {{ consecutive_failures = 0, failure_percent = 0 }}\n[[upstream.backend]]\naddress = \"{shadow}\"\n"
    ))
}

fn counted(proxy: &Proxy, result: &str) -> u64 {
    metric(proxy, &format!("pointsman_mirrored_requests_total{{route=\"all\",result=\"{result}\"}}"))
}

#[test]
fn a_copy_is_the_request_as_the_route_sends_it() {
    let (main, shadow) = (main_backend(), Origin::named("shadow"));
    let edits = "request_headers = { set = { x-env = \"{host}\" } }\nrewrite = { strip_prefix = \"/app\" }";
    let proxy = start(&main.address().to_string(), &shadow.address().to_string(), "percent = 100", edits);
    let mut client = proxy.connect();
    client.send("POST /app/a?b=c HTTP/1.1\r\nHost: www\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response("POST").text(), "POST /a?b=c");
    client
        .send("POST /app/d HTTP/1.1\r\nHost: www\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.response("POST").text(), "POST /d");
    assert_eq!(client.get("/app/e").text(), "GET /e");
    eventually("the copies are answered", || counted(&proxy, "answered") == 3);
    let mut copies = shadow.requests();
    copies.sort_by(|one, other| one.target.cmp(&other.target));
    let seen: Vec<_> =
        copies.iter().map(|it| (it.method.as_str(), it.target.as_str(), it.body.as_slice())).collect();
    assert_eq!(seen, [("POST", "/a?b=c", &b"abc"[..]), ("POST", "/d", b"de"), ("GET", "/e", b"")]);
    assert_eq!(copies[0].header("x-env"), Some("www"));
    assert!(copies.iter().all(|it| it.header("x-pointsman-mirror") == Some("1")));
    assert!(main.requests().iter().all(|it| it.header("x-pointsman-mirror").is_none()));
    proxy.until_logged("\"bytes_in\"", 3);
    assert_eq!(proxy.access_log().len(), 3, "a copy has no line");
}

#[test]
fn nothing_of_a_copy_reaches_the_request() {
    let main = main_backend();
    let (hold, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let shadow = Origin::start(move |_| match turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 4 {
        0 => Reply::Take(Box::new(|_| {})),
        1 => Reply::Bytes(b"HTTP/1.1 nonsense\r\n\r\n".to_vec()),
        2 => Reply::Text(500, "it has failed".to_owned()),
        _ => {
            let _ = held.lock().unwrap().recv();
            Reply::Text(200, "late".to_owned())
        }
    });
    // It is not ejected: then nothing would hang, and none would be too many.
    let mirror = "percent = 100, max_in_flight = 8";
    let proxy = start(&main.address().to_string(), &shadow.address().to_string(), mirror, "");
    let mut client = proxy.connect();
    let begun = Instant::now();
    for number in 0..200_u64 {
        let body = vec![b'x'; usize::try_from(number).unwrap() * 10];
        client.send(format!("PUT /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        let response = client.response("PUT");
        assert_eq!((response.status, response.text()), (200, format!("PUT /{number}")));
    }
    assert!(begun.elapsed() < crate::support::PATIENCE, "nobody waits for what hangs");
    drop(hold);
    let total =
        || ["answered", "failed", "too_many"].map(|result| counted(&proxy, result)).iter().sum::<u64>();
    eventually("every copy has ended", || total() == 200);
    assert!(counted(&proxy, "failed") > 0 && counted(&proxy, "too_many") > 0);
    proxy.until_logged("\"bytes_in\"", 200);
    assert!(proxy.access_log().iter().all(|line| line["attempts"] == 1 && line["status"] == 200));
    assert_eq!(metric(&proxy, "pointsman_retries_total"), 0);
    let requests = main.requests();
    assert_eq!(requests.len(), 200);
    for request in requests {
        let number: usize = request.target[1..].parse().unwrap();
        assert!(request.body == vec![b'x'; number * 10], "{}", request.target);
    }
}

#[test]
fn what_is_too_long_or_switches_is_not_copied() {
    let (main, shadow) = (main_backend(), Origin::named("shadow"));
    let mirror = "percent = 100, max_body = \"10B\"";
    let proxy = start(&main.address().to_string(), &shadow.address().to_string(), mirror, "");
    let mut client = proxy.connect();
    client.send("POST /long HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello hello");
    assert_eq!(client.response("POST").status, 200);
    client.send(
        "POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello hello\r\n0\r\n\r\n",
    );
    assert_eq!(client.response("POST").status, 200);
    client.send(format!("GET /switch HTTP/1.1\r\nHost: a\r\n{OPENING}\r\n"));
    assert_eq!(client.response("GET").status, 200);
    // The client leaves in the middle of its body.
    let mut leaving = Client::connect(proxy.address("web"));
    leaving.send("POST /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhel");
    drop(leaving);
    assert_eq!(client.get("/last").status, 200);
    eventually("the last one is copied", || counted(&proxy, "answered") == 1);
    eventually("all are counted", || counted(&proxy, "too_large") == 2 && counted(&proxy, "cut_off") == 1);
    let targets: Vec<String> = shadow.requests().into_iter().map(|it| it.target).collect();
    assert_eq!(targets, ["/last"]);
}

/// Else a client could keep its requests from being copied, where they are looked at there, and have what is for copies
/// stored for all.
#[test]
fn only_a_trusted_proxy_says_what_is_a_copy() {
    let (main, shadow) = (main_backend(), Origin::named("shadow"));
    let main_address = main.address().to_string();
    let shadow_address = shadow.address().to_string();
    for (trusted, is_believed) in [("192.0.2.0/24", false), ("127.0.0.0/8", true)] {
        let more = format!(
            "[[listener]]\nname = \"other\"\naddress = \"127.0.0.1:0\"\n\
             trusted_proxies = [\"{trusted}\"]\n"
        );
        let proxy = start(&main_address, &shadow_address, "percent = 100", &more);
        let before = shadow.requests().len();
        let mut client = Client::connect(proxy.address("other"));
        assert_eq!(client.get_with("/marked", "a", "X-Pointsman-Mirror: 1\r\n").status, 200);
        assert_eq!(main.last().header("x-pointsman-mirror"), is_believed.then_some("1"));
        assert_eq!(client.get("/plain").status, 200);
        let copied = if is_believed { 1 } else { 2 };
        eventually("what is copied is answered", || counted(&proxy, "answered") == copied);
        let copies: Vec<_> = shadow.requests().split_off(before).into_iter().map(|it| it.target).collect();
        assert_eq!(copies.iter().any(|target| target == "/marked"), !is_believed, "{copies:?}");
    }
}

#[test]
fn a_share_is_copied_and_a_dead_shadow_harms_nobody() {
    let main = main_backend();
    let proxy = start(&main.address().to_string(), &nobody().to_string(), "percent = 20", "");
    let mut client = proxy.connect();
    for _ in 0..500 {
        assert_eq!(client.get("/").status, 200);
    }
    let chosen = || counted(&proxy, "failed") + counted(&proxy, "too_many");
    eventually("about a fifth is copied", || (50..=150).contains(&chosen()));
    let explained = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["explain", "GET", "http://a/", "--config"])
        .arg(proxy.folder().join("pointsman.toml"))
        .output()
        .unwrap();
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("copies 20 % of its requests to next"), "{explained}");
}

#[test]
fn a_body_kept_for_a_copy_is_counted() {
    let (main, shadow) = (main_backend(), Origin::named("shadow"));
    let mirror = "percent = 100, max_body = \"2MiB\"";
    let proxy = start(&main.address().to_string(), &shadow.address().to_string(), mirror, "");
    let held = || metric(&proxy, "pointsman_memory_bytes{owner=\"replays\"}");
    let before = held();
    let mut client = proxy.connect();
    client.send("POST /long HTTP/1.1\r\nHost: a\r\nContent-Length: 1500000\r\n\r\n");
    client.send(vec![b'x'; 1_000_000]);
    // A worker adds to the sum in steps.
    eventually("what has come is counted", || held() > before + 700_000);
    client.send(vec![b'x'; 500_000]);
    assert_eq!(client.response("POST").status, 200);
    eventually("the copy is answered", || counted(&proxy, "answered") == 1);
    eventually("it is given back", || held() < before + 300_000);
    assert_eq!(shadow.requests()[0].body.len(), 1_500_000);
}
