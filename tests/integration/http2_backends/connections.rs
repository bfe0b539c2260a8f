//! How many connections there are, what they carry, and how they end.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use super::{in_front_of, text};
use crate::support::{
    Client, Proxy, eventually,
    frames::{Frames, SETTINGS, frame, get},
    http2_origin::{Came, Head, Http2Origin, MOST_STREAMS, Seen, Served, settings},
    proxy::config,
};

/// Asks for each path over a connection of its own; the answers are awaited later.
fn ask(proxy: &Proxy, paths: &[&str]) -> Vec<Client> {
    let ask = |path: &&str| {
        let mut client = proxy.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client
    };
    paths.iter().map(ask).collect()
}

fn statuses(clients: &mut [Client]) -> Vec<u16> {
    clients.iter_mut().map(|client| client.response("GET").status).collect()
}

fn is_head(came: &Came, path: &str) -> bool {
    matches!(came, Came::Head(head) if head.get(":path") == Some(path))
}

fn on(origin: &Http2Origin, path: &str) -> usize {
    origin.until(path, |seen| is_head(&seen.came, path));
    let seen: Vec<Seen> = origin.seen().into_iter().filter(|seen| is_head(&seen.came, path)).collect();
    seen.last().unwrap().connection
}

/// Answers what does not begin with `/hold`, which is answered when the test says so.
fn holding(most: u32) -> (Arc<Mutex<Vec<mpsc::Sender<()>>>>, Http2Origin) {
    let waiting: Arc<Mutex<Vec<mpsc::Sender<()>>>> = Arc::default();
    let noted = waiting.clone();
    let origin = Http2Origin::start(&[(MOST_STREAMS, most)], move |served, came| {
        let Came::Head(head) = came else { return };
        if !head.get(":path").unwrap().starts_with("/hold") {
            return served.answer(head.stream, &[(":status", "200")], b"here");
        }
        let (sender, receiver) = mpsc::channel();
        noted.lock().unwrap().push(sender);
        let mut stream = served.frames.stream.try_clone().unwrap();
        let id = head.stream;
        thread::spawn(move || {
            if receiver.recv().is_ok() {
                let block = crate::support::frames::block(&[(b":status", b"200")]);
                let frame = crate::support::frames::frame(1, 5, id, &block);
                let _ = std::io::Write::write_all(&mut stream, &frame);
            }
        });
    });
    (waiting, origin)
}

#[test]
fn many_exchanges_share_one_connection() {
    let (waiting, origin) = holding(100);
    let proxy = in_front_of(&origin, "---\n");
    let mut clients = ask(&proxy, &["/hold"; 50]);
    eventually("all of them come", || waiting.lock().unwrap().len() == 50);
    assert_eq!(origin.connections(), 1);
    waiting.lock().unwrap().drain(..).for_each(|sender| sender.send(()).unwrap());
    assert_eq!(statuses(&mut clients), [200; 50]);
}

#[test]
fn the_next_connection_is_made_at_four_fifths() {
    let (waiting, origin) = holding(5);
    let proxy = in_front_of(&origin, "---\n");
    let mut clients = ask(&proxy, &["/hold1", "/hold2", "/hold3", "/hold4"]);
    eventually("four come", || waiting.lock().unwrap().len() == 4);
    assert_eq!(origin.connections(), 1);
    clients.extend(ask(&proxy, &["/hold5"]));
    eventually("another is made", || origin.connections() == 2);
    clients.extend(ask(&proxy, &["/hold6", "/hold7", "/hold8", "/hold9"]));
    eventually("all come", || waiting.lock().unwrap().len() == 9);
    waiting.lock().unwrap().drain(..).for_each(|sender| sender.send(()).unwrap());
    assert_eq!(statuses(&mut clients), [200; 9]);
}

#[test]
fn a_limit_of_streams_may_change_at_any_time() {
    let origin = Http2Origin::start(&[(MOST_STREAMS, 100)], |served, came| {
        let Came::Head(head) = came else { return };
        match head.get(":path").unwrap() {
            "/lower" => {
                served.frames.write(&settings(&[(MOST_STREAMS, 1)]));
                served.answer(head.stream, &[(":status", "200")], b"");
            }
            "/hold" => {}
            _ => served.answer(head.stream, &[(":status", "200")], b""),
        }
    });
    let proxy = in_front_of(&origin, "---\n");
    assert_eq!(proxy.get("/lower").status, 200);
    let held = ask(&proxy, &["/hold"]);
    assert_eq!(on(&origin, "/hold"), 1);
    assert_eq!(proxy.get("/more").status, 200);
    assert_eq!(on(&origin, "/more"), 2);
    drop(held);
}

/// Else a client that takes nothing of what it has asked for takes the backend away from all others: Node's servers take no
/// more over a connection on which much is unread.
#[test]
fn a_connection_that_takes_no_more_ejects_nobody() {
    let origin = Http2Origin::start(&[(MOST_STREAMS, 100)], |served, came| {
        let Came::Head(head) = came else { return };
        match (served.number, head.get(":path").unwrap()) {
            (_, "/hold") => {}
            (1, "/first") | (2.., "/get" | "/posted") => {
                served.answer(head.stream, &[(":status", "200")], b"");
            }
            _ => {
                const ENHANCE_YOUR_CALM: u32 = 0xb;
                served.frames.write(&frame(3, 0, head.stream, &ENHANCE_YOUR_CALM.to_be_bytes()));
            }
        }
    });
    let proxy = in_front_of(&origin, "---\n");
    assert_eq!(proxy.get("/first").status, 200);
    let held = ask(&proxy, &["/hold"]);
    assert_eq!(on(&origin, "/hold"), 1);
    for _ in 0..10 {
        assert_eq!(proxy.get("/get").status, 200);
    }
    let came = |path: &str| origin.seen().into_iter().filter(|seen| is_head(&seen.came, path)).count();
    assert_eq!(
        (came("/get"), on(&origin, "/get")),
        (11, 2),
        "one of them went again, over another connection"
    );
    // What may not be done twice is not: it is the client's to say.
    for number in 1..=6 {
        let mut client = proxy.connect();
        client.send("POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response("POST").status, 502);
        assert_eq!(came("/post"), number);
    }
    assert_eq!(proxy.get("/posted").status, 200);
    assert_eq!(proxy.count_logged("ejected"), 0);
    drop(held);
}

/// Ends its first connection by GOAWAY when the second request comes.
fn leaving(served: &mut Served, head: &Head) {
    match (served.number, head.get(":path").unwrap()) {
        (1, "/refused") => {
            served.goaway(1, 0);
            served.answer(1, &[(":status", "200")], b"old");
        }
        (1, _) => {}
        _ => served.answer(head.stream, &[(":status", "200")], b"new"),
    }
}

#[test]
fn what_goaway_left_out_goes_over_another_connection() {
    let origin = Http2Origin::start(&[(MOST_STREAMS, 100)], |served, came| {
        if let Came::Head(head) = came {
            leaving(served, head);
        }
    });
    // Not even one retry is needed for it, and the method does not matter.
    let proxy = in_front_of(&origin, "---\n[upstream.retry]\nattempts = 1\n");
    let mut first = ask(&proxy, &["/first"]);
    assert_eq!(on(&origin, "/first"), 1);
    let mut second = proxy.connect();
    second.send("POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    assert_eq!(second.response("POST").text(), "new");
    assert_eq!(first[0].response("GET").text(), "old");
    assert_eq!(proxy.get("/third").text(), "new");
    assert_eq!(on(&origin, "/third"), 2);
    origin.until("the first connection ends", |seen| seen.connection == 1 && seen.came == Came::End);
}

#[test]
fn a_refused_stream_goes_to_another_backend_once() {
    let refusing = Http2Origin::start(&[], |served, came| {
        if let Came::Head(head) = came {
            served.reset(head.stream, 7);
        }
    });
    let good = Http2Origin::echo();
    let options = "protocol = \"h2\"\n---\n[upstream.retry]\nattempts = 1\nbudget_percent = 0\nbudget_min_per_second = 0\n";
    let proxy = Proxy::start(&config(&[refusing.address(), good.address()], options));
    for _ in 0..4 {
        let mut client = proxy.connect();
        client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
        assert_eq!(client.response("POST").status, 200);
    }
    assert!(!refusing.heads().is_empty());
    let alone = Proxy::start(&config(&[refusing.address()], options));
    let before = refusing.heads().len();
    assert_eq!(alone.get("/y").status, 503);
    assert_eq!(refusing.heads().len() - before, 2, "once more, and no further");
}

#[test]
fn a_connection_without_exchanges_ends_after_its_time() {
    let origin = Http2Origin::echo();
    let proxy = in_front_of(&origin, "idle_timeout = \"200ms\"\n---\n");
    assert_eq!(proxy.get("/").status, 200);
    origin.until("it says so", |seen| seen.came == Came::GoAway(0));
    origin.until("it ends", |seen| seen.came == Came::End);
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_backend_that_answers_no_ping_is_gone() {
    let origin = Http2Origin::start(&[], |served, came| {
        served.answers_pings = false;
        if let Came::Head(head) = came
            && head.get(":path") == Some("/")
        {
            served.answer(head.stream, &[(":status", "200")], b"");
        }
    });
    let times = "http2 = { ping_interval = \"1s\", ping_timeout = \"2s\" }\n---\n";
    let proxy = in_front_of(&origin, &format!("{times}[upstream.retry]\nattempts = 1\n"));
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(proxy.get("/hangs").status, 502);
    assert!(
        proxy.logged("/hangs")["error_detail"].as_str().unwrap().contains("PING"),
        "{}",
        proxy.logged("/hangs")
    );
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn a_backend_that_answers_pings_is_waited_for() {
    let (waiting, origin) = holding(10);
    let proxy = in_front_of(&origin, "http2 = { ping_interval = \"100ms\", ping_timeout = \"3s\" }\n---\n");
    let mut clients = ask(&proxy, &["/hold"]);
    eventually("it comes", || waiting.lock().unwrap().len() == 1);
    // For longer than it is waited for that a PING is answered.
    thread::sleep(Duration::from_secs(4));
    waiting.lock().unwrap().drain(..).for_each(|sender| sender.send(()).unwrap());
    assert_eq!(statuses(&mut clients), [200]);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_slow_client_stalls_its_own_stream_only() {
    let origin = Http2Origin::start(&[(MOST_STREAMS, 100)], |served, came| {
        let Came::Head(head) = came else { return };
        served.head(head.stream, &[(":status", "200")], false);
        // The first fill their windows, which nobody empties.
        let parts = if head.get(":path") == Some("/large") { 16 } else { 1 };
        for part in 1..=parts {
            served.data(head.stream, &[b'x'; 16_384], part == parts && parts == 1);
        }
    });
    let proxy = in_front_of(&origin, "---\n");
    // By their windows, which stay shut: for who only never reads, the kernel would take all of it.
    let ask = |_| {
        let mut client = Frames::connect(&proxy);
        client.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        client.ask(1, &get("/large"), true);
        client
    };
    let slow: Vec<Frames> = (0..20).map(ask).collect();
    eventually("all of them come", || origin.heads().len() == 20);
    for _ in 0..20 {
        let response = proxy.get("/small");
        assert_eq!((response.status, response.body.len()), (200, 16_384));
    }
    assert_eq!(origin.connections(), 1);
    drop(slow);
}

#[test]
fn exchanges_and_not_connections_are_counted() {
    let (waiting, origin) = holding(100);
    let text = text(&origin, "queue = { size = 1, timeout = \"10s\" }\n---\n");
    let proxy = Proxy::start(&text.replace("name = \"b0\"\n", "name = \"b0\"\nmax_connections = 2\n"));
    let mut clients = ask(&proxy, &["/hold1", "/hold2"]);
    eventually("two come", || waiting.lock().unwrap().len() == 2);
    clients.extend(ask(&proxy, &["/hold3"]));
    eventually("the queue is full", || proxy.get("/no").status == 503);
    assert_eq!(waiting.lock().unwrap().len(), 2);
    let first = waiting.lock().unwrap().remove(0);
    first.send(()).unwrap();
    eventually("the third comes", || waiting.lock().unwrap().len() == 2);
    waiting.lock().unwrap().drain(..).for_each(|sender| sender.send(()).unwrap());
    assert_eq!(statuses(&mut clients), [200; 3]);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_reload_keeps_connections_and_streams() {
    let (waiting, origin) = holding(100);
    let text = text(&origin, "---\n");
    let proxy = Proxy::start(&text);
    let mut clients = ask(&proxy, &["/hold"]);
    eventually("it comes", || waiting.lock().unwrap().len() == 1);
    proxy.edit(&text.replace("protocol = \"h2\"\n", "protocol = \"h2\"\nresponse_timeout = \"20s\"\n"));
    assert_eq!(proxy.get("/after").status, 200);
    assert_eq!(origin.connections(), 1, "the new generation uses it too");
    waiting.lock().unwrap().drain(..).for_each(|sender| sender.send(()).unwrap());
    assert_eq!(statuses(&mut clients), [200]);
    proxy.edit(&text.replace("protocol = \"h2\"\n", "protocol = \"http1\"\n"));
    origin.until("what speaks otherwise ends", |seen| seen.came == Came::GoAway(0));
}

#[test]
fn a_closed_connection_is_replaced_and_no_failure() {
    let origin = Http2Origin::start(&[], |served, came| {
        let Came::Head(head) = came else { return };
        if served.number == 1 && head.stream == 3 {
            // It closed while the request was on its way.
            let _ = served.frames.stream.shutdown(std::net::Shutdown::Both);
        } else {
            served.answer(head.stream, &[(":status", "200")], b"");
        }
    });
    let proxy = in_front_of(&origin, "---\n[upstream.retry]\nattempts = 1\n");
    assert_eq!(proxy.get("/1").status, 200);
    assert_eq!(proxy.get("/2").status, 200);
    assert_eq!(proxy.logged("/2")["attempts"], 1);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_backend_that_takes_no_stream_is_not_hammered() {
    let origin = Http2Origin::start(&[(MOST_STREAMS, 0)], |_, _| {});
    let proxy = in_front_of(&origin, "---\n[upstream.retry]\nattempts = 1\n");
    for _ in 0..3 {
        assert_eq!(proxy.get("/").status, 503);
    }
    assert!(origin.connections() <= 6, "{}", origin.connections());
    origin.until("they end", |seen| seen.came == Came::GoAway(0));
}

#[test]
fn metrics_count_connections_and_streams_by_backend() {
    let origin = Http2Origin::echo();
    let text = text(&origin, "---\n") + "[admin]\naddress = \"127.0.0.1:0\"\n";
    let proxy = Proxy::start(&text);
    for _ in 0..3 {
        assert_eq!(proxy.get("/").status, 200);
    }
    let metrics = Client::connect(proxy.address("admin")).get("/metrics").text();
    let labels = "{upstream=\"u\",backend=\"b0\"}";
    for wanted in [
        format!("pointsman_backend_http2_connections{labels} 1"),
        format!("pointsman_backend_http2_streams_total{labels} 3"),
        format!("pointsman_backend_http2_connections_ended_total{labels} 0"),
    ] {
        assert!(metrics.contains(&wanted), "{wanted}:\n{metrics}");
    }
}
