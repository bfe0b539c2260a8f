//! What strangers have under way is counted, bounded, and given back.

use crate::{
    collapse::metric,
    support::{Client, Origin, Proxy, Reply, eventually, proxy::config_of},
};

fn bounded(memory: &str) -> (Origin, Proxy) {
    let origin = Origin::start(|_| Reply::Text(200, "hello".into()));
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n";
    let listener = "limits = { header_bytes = \"128KiB\" }\n";
    let text = config_of(&[origin.address().to_string()], listener, admin);
    let text = text.replace("workers = 2\n", &format!("workers = 2\nmemory = {memory:?}\n"));
    (origin, Proxy::start(&text))
}

fn held(proxy: &Proxy) -> u64 {
    ["requests", "buffers", "writes", "replays", "fills"]
        .iter()
        .map(|owner| metric(proxy, &format!("pointsman_memory_bytes{{owner=\"{owner}\"}}")))
        .sum()
}

#[test]
fn at_the_bound_the_newest_request_is_refused() {
    let (origin, proxy) = bounded("4MiB");
    assert_eq!(metric(&proxy, "pointsman_memory_limit_bytes"), 4 << 20);
    assert_eq!(proxy.get("/before").status, 200);
    // Heads that do not end: what came of them is held as long as they are waited for.
    let half = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(100_000));
    let slow: Vec<Client> = (0..60)
        .map(|_| {
            let mut client = proxy.connect();
            client.send(&half);
            client
        })
        .collect();
    eventually("the memory is held", || held(&proxy) > 4 << 20);
    let mut client = proxy.connect();
    client.send("GET /refused HTTP/1.1\r\nHost: a\r\n\r\n");
    let refused = client.response("GET");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(proxy.logged("/refused")["error"], "memory_full");
    assert!(metric(&proxy, "pointsman_memory_refused_total") >= 1);
    assert_eq!(origin.requests().len(), 1);
    drop(slow);
    eventually("it is given back", || held(&proxy) == 0);
    assert_eq!(proxy.get("/after").status, 200);
}

#[test]
fn traffic_leaves_nothing_in_the_account() {
    let (_origin, proxy) = bounded("0");
    assert!(metric(&proxy, "pointsman_memory_limit_bytes") > 64 << 20, "a share of the machine");
    let mut client = proxy.connect();
    for number in 0..200 {
        assert_eq!(client.get(&format!("/{number}")).status, 200);
        let body = "x".repeat(number * 100);
        let length = body.len();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"));
        assert_eq!(client.response("POST").status, 200);
    }
    eventually("all is given back", || held(&proxy) == 0);
}

#[test]
fn bodies_of_writes_are_refused_at_the_bound() {
    let folder = crate::support::proxy::folder();
    let text = crate::cache_writes::back(&folder, crate::support::nobody(), "memory = \"16MiB\"");
    let proxy = Proxy::start(&text.replace("workers = 2\n", "workers = 2\nmemory = \"8MiB\"\n"));
    // Each sends all but the last byte of one MiB, so that nothing can be acknowledged.
    let mut slow: Vec<Client> = (0..30)
        .map(|number| {
            let mut client = proxy.connect();
            let head = format!("PUT /{number} HTTP/1.1\r\nHost: test\r\nContent-Length: 1048576\r\n\r\n");
            // One that is refused is hung up on.
            let _ = client.try_send(head + &"x".repeat((1 << 20) - 1));
            client
        })
        .collect();
    eventually("some are refused", || metric(&proxy, "pointsman_memory_refused_total") >= 1);
    let writes = metric(&proxy, "pointsman_memory_bytes{owner=\"writes\"}");
    assert!(writes < 12 << 20, "{writes} bytes are held");
    let answers: Vec<u16> = slow
        .iter_mut()
        .map(|client| {
            let _ = client.try_send("x");
            client.response("PUT").status
        })
        .collect();
    assert!(answers.contains(&202) && answers.contains(&503), "{answers:?}");
    drop(slow);
    eventually("it is given back", || held(&proxy) == 0);
}

#[test]
fn a_body_for_a_cache_stops_growing_at_the_bound() {
    const LENGTH: usize = 40 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\nCache-Control: max-age=60\r\n\r\n");
    let sent = [head.as_bytes(), &vec![b'x'; LENGTH]].concat();
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/small" => Reply::Bytes(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nok".to_vec(),
        ),
        _ => Reply::Bytes(sent.clone()),
    });
    let cache = "memory = \"512MiB\"\nmax_object = \"64MiB\"";
    let text = crate::collapse::cached(&[origin.address()], cache);
    let proxy = Proxy::start(&text.replace("workers = 2\n", "workers = 2\nmemory = \"8MiB\"\n"));
    let mut slow = proxy.connect();
    slow.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("it is held back", || metric(&proxy, "pointsman_memory_refused_total") >= 1);
    let fills = metric(&proxy, "pointsman_memory_bytes{owner=\"fills\"}");
    assert!(((4 << 20)..(12 << 20)).contains(&fills), "{fills} bytes are held");
    let response = slow.response("GET");
    assert!(response.is_whole && response.body.len() == LENGTH);
    eventually("it is given back", || held(&proxy) == 0);
    assert_eq!(metric(&proxy, "pointsman_cache_objects"), 0, "it was not stored");
    assert_eq!(proxy.get("/small").text(), "ok");
    eventually("what there is room for is stored", || metric(&proxy, "pointsman_cache_objects") == 1);
}
