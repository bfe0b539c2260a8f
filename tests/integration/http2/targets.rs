//! What a request may be: the same as over HTTP/1.1, and what is wrong with one ends that one only.

use super::*;
use crate::support::frames::{Answer, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, block, get};

const PROTOCOL_ERROR: Option<u32> = Some(1);

/// Fields of a request that is changed somewhere.
fn with<'a>(name: &'a [u8], value: &'a [u8]) -> Vec<(&'a [u8], &'a [u8])> {
    let mut fields: Vec<(&[u8], &[u8])> = get("/malformed").to_vec();
    match fields.iter_mut().find(|field| field.0 == name) {
        Some(field) => field.1 = value,
        None => fields.push((name, value)),
    }
    fields
}

#[test]
fn targets_are_the_same_over_both_versions() {
    let (origin, proxy) = through(echo);
    let mut client = Frames::connect(&proxy);
    let targets = [
        "/query?query=up{job=\"x\"}",
        "/a?b=<c>&d|e`f^g[h]",
        "/a{b}|c",
        "/a?b=\\c",
        "/%7b?%zz",
        "/'()*,;:@!$&+=~",
        "/a?b?c/d//e",
    ];
    for (number, target) in targets.into_iter().enumerate() {
        let id = 2 * number as u32 + 1;
        client.ask(id, &get(target), true);
        let answer = client.answer(id);
        let plain = proxy.get(target);
        assert_eq!((answer.status, answer.reset), (Some(plain.status), None), "{target}");
        let requests = origin.requests();
        let [.., second, first] = &requests[..] else { panic!("{target}") };
        assert_eq!(second.target, first.target, "{target}");
        assert_eq!(plain.status, 200, "{target}");
    }
}

#[test]
fn requests_that_http_1_refuses_are_refused_alike() {
    let (origin, proxy) = through(echo);
    let mut client = Frames::connect(&proxy);
    let wrong: Vec<Vec<(&[u8], &[u8])>> = vec![
        with(b":path", b"*"),
        with(b":method", b"PRI"),
        with(b":method", b""),
        with(b":method", b"G T"),
        with(b":method", &[b'A'; 65]),
        with(b":path", b"?x"),
        with(b":path", b"x"),
        with(b":path", b""),
        with(b":path", b"/\xff"),
        with(b":path", "/ü".as_bytes()),
        with(b":path", b"/a#b"),
        with(b":path", b"/a b"),
        with(b":path", b"/a\0"),
        with(b":scheme", b"ftp"),
        with(b":scheme", b""),
        with(b":authority", b""),
        with(b":authority", b"\xff"),
        with(b"host", b"elsewhere"),
        with(b"content-length", b"x"),
        with(b"content-length", b"5"),
        get("/")[..3].to_vec(),
        get("/")[1..].to_vec(),
        [&get("/")[..1], &get("/")[2..]].concat(),
        [&get("/")[..2], &get("/")[3..]].concat(),
    ];
    let count = wrong.len();
    for (number, fields) in wrong.into_iter().enumerate() {
        let id = 2 * number as u32 + 1;
        client.ask(id, &fields, true);
        let answer = client.answer(id);
        let expected = (Some(400), PROTOCOL_ERROR, None);
        assert_eq!((answer.status, answer.reset, answer.goaway), expected, "{fields:?}");
    }
    let id = 2 * count as u32 + 1;
    client.ask(id, &get("/after"), true);
    assert_eq!(client.answer(id).status, Some(200), "the connection goes on");
    assert_eq!(origin.requests().len(), 1);
    eventually("each has its line", || {
        let log = proxy.access_log();
        log.iter().filter(|line| line["status"] == 400 && line["error"] == "malformed").count() == count
    });
}

#[test]
fn malformed_fields_end_their_stream_and_no_other() {
    let (sender, receiver) = mpsc::channel::<()>();
    let receiver = Mutex::new(Some(receiver));
    let (origin, proxy) = through(move |request| match request.target.as_str() {
        "/neighbour" => {
            let receiver = receiver.lock().unwrap().take().unwrap();
            Reply::Take(Box::new(move |connection| {
                receiver.recv().unwrap();
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }))
        }
        _ => Reply::Text(200, "other".into()),
    });
    let mut client = Frames::connect(&proxy);
    client.ask(1, &get("/neighbour"), true);
    eventually("the neighbour is there", || origin.requests().len() == 1);
    let mut late = get("/malformed").to_vec();
    late.insert(1, (b"x-a", b"1"));
    let mut twice = get("/malformed").to_vec();
    twice.push((b":path", b"/malformed"));
    let wrong: Vec<Vec<(&[u8], &[u8])>> = vec![
        with(b"X-Upper", b"1"),
        with(b"", b"1"),
        with(b"x y", b"1"),
        with(b"x:y", b"1"),
        with(b"x\xff", b"1"),
        with(b"x-a", b"1\r\nevil: 1"),
        with(b"x-a", b"1\0"),
        with(b"x-a", b" 1"),
        with(b"x-a", b"1\t"),
        with(b"x-a", b"\x7f"),
        with(b"connection", b"close"),
        with(b"keep-alive", b"1"),
        with(b"proxy-connection", b"close"),
        with(b"transfer-encoding", b"chunked"),
        with(b"upgrade", b"h2c"),
        with(b"te", b"gzip"),
        with(b":status", b"200"),
        with(b":protocol", b"websocket"),
        late,
        twice,
    ];
    let mut id = 1;
    for fields in &wrong {
        id += 2;
        client.ask(id, fields, true);
        let answer = client.answer(id);
        assert_eq!((answer.status, answer.reset), (Some(400), PROTOCOL_ERROR), "{fields:?}");
    }
    client.ask(id + 2, &with(b"te", b"trailers"), true);
    assert_eq!(client.answer(id + 2).status, Some(200));
    sender.send(()).unwrap();
    let answer = client.answer(1);
    assert_eq!((answer.status, &answer.body[..]), (Some(200), &b"ok"[..]), "the neighbour is served");
    eventually("each has its line", || {
        proxy.access_log().iter().filter(|line| line["error"] == "malformed").count() == wrong.len()
    });
}

/// Type, flags and payload of a frame.
type Part = (u8, u8, Vec<u8>);

#[test]
fn malformed_bodies_and_trailers_end_their_stream_only() {
    let (origin, proxy) = through(echo);
    let mut client = Frames::connect(&proxy);
    let post = |length: &'static [u8]| {
        let mut fields = get("/post").to_vec();
        fields[0].1 = b"POST";
        if !length.is_empty() {
            fields.push((b"content-length", length));
        }
        fields
    };
    let trailers = |fields: &[(&[u8], &[u8])]| (HEADERS, END_HEADERS | END_STREAM, block(fields));
    let cases: Vec<(&[u8], Vec<Part>)> = vec![
        (b"", vec![(DATA, 0, b"abc".to_vec()), trailers(&[(b":path", b"/")])]),
        (b"", vec![(DATA, 0, b"abc".to_vec()), trailers(&[(b"X-Upper", b"1")])]),
        (b"", vec![(DATA, 0, b"abc".to_vec()), trailers(&[(b"connection", b"close")])]),
        (b"", vec![(HEADERS, END_HEADERS, block(&[(b"x-a", b"1")]))]),
        (b"5", vec![(DATA, END_STREAM, b"abc".to_vec())]),
        (b"2", vec![(DATA, 0, b"abc".to_vec())]),
        (b"5", vec![(DATA, 0, b"abc".to_vec()), trailers(&[(b"x-a", b"1")])]),
    ];
    let mut id = 1;
    for (length, frames) in cases {
        client.ask(id, &post(length), false);
        for (kind, flags, payload) in &frames {
            client.send(*kind, *flags, id, payload);
        }
        let Answer { status, reset, goaway, .. } = client.answer(id);
        assert_eq!((status, reset, goaway), (Some(400), PROTOCOL_ERROR, None), "{frames:?}");
        id += 2;
    }
    client.ask(id, &post(b"3"), false);
    client.send(DATA, END_STREAM, id, b"abc");
    assert_eq!(client.answer(id).status, Some(200));
    assert_eq!(origin.requests().len(), 1, "none of the others was whole");
}

#[test]
fn connect_has_an_authority_and_nothing_else() {
    let (origin, proxy) = through(echo);
    let mut client = Frames::connect(&proxy);
    let method: (&[u8], &[u8]) = (b":method", b"CONNECT");
    client.ask(1, &[method, (b":authority", b"a.test:443")], true);
    assert_eq!(client.answer(1).status, Some(403), "no route allows it");
    for (id, other) in [(3, (&b":path"[..], &b"/"[..])), (5, (b":scheme", b"http"))] {
        client.ask(id, &[method, (b":authority", b"a.test:443"), other], true);
        let answer = client.answer(id);
        assert_eq!((answer.status, answer.reset), (Some(400), PROTOCOL_ERROR));
    }
    client.ask(7, &[(b":method", b"OPTIONS"), get("/")[1], get("/")[2], (b":path", b"*")], true);
    assert_eq!(client.answer(7).status, Some(200));
    assert_eq!(origin.last().target, "*");
}
