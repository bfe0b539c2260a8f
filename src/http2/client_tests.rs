//! A connection of which we are the client, and what a server may do with it.

use std::task::{Context, Poll, Waker};

use super::{
    Body, Connection, Fault, Reason, RequestStart,
    budget::{Allowance, Rate},
    frame,
    settings::OwnSettings,
};
use crate::{
    h1::{HeadLimits, ResponseHead},
    moment::Moment,
};

const OWN: OwnSettings = OwnSettings {
    max_streams: 8,
    stream_window: 100_000,
    connection_window: 0,
    header_list: 65_536,
    takes_websockets: true,
};
const ALLOWED: Allowance =
    Allowance { nuisance: Rate { most: 100, per_second: 10 }, resets: Rate { most: 50, per_second: 5 } };

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_head(payload.len(), kind, flags, stream, &mut out);
    out.extend_from_slice(payload);
    out
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// A client whose server has sent its settings.
fn client() -> Connection {
    let mut client = Connection::client(HeadLimits::default(), OWN, ALLOWED, Moment(0));
    receive(&mut client, &frame(4, 0, 0, b""));
    client
}

fn receive(connection: &mut Connection, bytes: &[u8]) {
    assert_eq!(connection.receive(bytes, Moment(0)), Ok(bytes.len()));
}

fn start(method: &'static str, is_end: bool) -> RequestStart<'static> {
    RequestStart { method, is_tls: false, authority: "a", path: "/p", protocol: None, is_end }
}

fn open(client: &mut Connection) -> u32 {
    client.open(&start("POST", false)).unwrap().finish()
}

/// A head of these bytes: `0x88` is `:status: 200`.
fn ok(stream: u32, is_end: bool) -> Vec<u8> {
    frame(1, 4 | u8::from(is_end), stream, &[0x88])
}

/// Moves what one end has to say to the other.
fn carry(from: &mut Connection, to: &mut Connection) {
    let bytes = from.output().waiting().to_vec();
    from.output().advance(bytes.len());
    from.written();
    receive(to, &bytes);
}

#[test]
fn a_client_and_a_server_of_ours_understand_each_other() {
    let mut client = Connection::client(HeadLimits::default(), OWN, ALLOWED, Moment(0));
    let server_own = OwnSettings { connection_window: 100_000, ..OWN };
    let mut server = Connection::new(HeadLimits::default(), server_own, ALLOWED, Moment(0));
    assert!(client.open(&start("GET", true)).is_none(), "not before the server has said anything");
    carry(&mut client, &mut server);
    carry(&mut server, &mut client);
    let mut writer = client.open(&start("POST", false)).unwrap();
    writer.field(b"X-Own", b"1");
    let id = writer.finish();
    assert!(matches!(client.poll_send(id, &mut context(), b"hello"), Poll::Ready(Ok(5))));
    client.end_response(id, None).unwrap();
    carry(&mut client, &mut server);
    let opened = server.next_opened().unwrap();
    assert_eq!((opened.id, opened.problem, &*opened.head.authority), (1, None, "a"));
    assert_eq!(opened.head.request.fields.iter().next().unwrap().name, b"x-own");
    let head = crate::h1::ResponseHead { status: 204, ..Default::default() };
    server.send_head(1, &head, false, None, true).unwrap();
    carry(&mut server, &mut client);
    let Poll::Ready(Ok(head)) = client.poll_head(id, &mut context()) else { panic!("no head") };
    assert_eq!((head.status, client.body_length(id)), (204, Some(0)));
    assert!(matches!(client.poll_body(id, &mut context()), Poll::Ready(Ok(Body::End(None)))));
    client.release(id, Moment(0));
    assert!(client.is_idle() && client.takes_streams());
}

#[test]
fn streams_are_opened_up_to_the_limit_of_now() {
    let mut client = client();
    receive(&mut client, &frame(4, 0, 0, &[0, 3, 0, 0, 0, 2]));
    assert_eq!((open(&mut client), open(&mut client)), (1, 3));
    assert!(client.open(&start("GET", true)).is_none());
    receive(&mut client, &frame(4, 0, 0, &[0, 3, 0, 0, 0, 3]));
    assert_eq!(open(&mut client), 5);
    receive(&mut client, &frame(4, 0, 0, &[0, 3, 0, 0, 0, 0]));
    client.release(1, Moment(0));
    assert!(client.open(&start("GET", true)).is_none() && client.takes_streams());
}

#[test]
fn goaway_leaves_what_it_names_alone() {
    let mut client = client();
    let (first, second) = (open(&mut client), open(&mut client));
    receive(&mut client, &frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    assert!(!client.takes_streams());
    assert!(client.poll_head(first, &mut context()).is_pending());
    let refused = client.poll_head(second, &mut context());
    assert!(matches!(refused, Poll::Ready(Err(Fault::Gone(Reason::REFUSED_STREAM)))));
    receive(&mut client, &ok(first, true));
    assert!(matches!(client.poll_head(first, &mut context()), Poll::Ready(Ok(head)) if head.status == 200));
    let higher = frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]);
    assert!(client.receive(&higher, Moment(0)).is_err(), "it never names a higher one");
}

#[test]
fn a_whole_response_outlives_reset_and_close() {
    let mut client = client();
    let (first, second) = (open(&mut client), open(&mut client));
    receive(&mut client, &[ok(1, false), frame(0, 1, 1, b"abc"), frame(3, 0, 1, &[0; 4])].concat());
    receive(&mut client, &[ok(3, false), frame(0, 0, 3, b"abc")].concat());
    client.close();
    for id in [first, second] {
        assert!(matches!(client.poll_head(id, &mut context()), Poll::Ready(Ok(_))));
    }
    assert!(
        matches!(client.poll_body(1, &mut context()), Poll::Ready(Ok(Body::Data(data))) if *data == *b"abc")
    );
    assert!(matches!(client.poll_body(1, &mut context()), Poll::Ready(Ok(Body::End(None)))));
    assert!(
        matches!(client.poll_body(3, &mut context()), Poll::Ready(Err(Fault::Gone(_)))),
        "this one was not"
    );
}

#[test]
fn a_stream_that_is_given_up_is_cancelled() {
    let mut client = client();
    let id = open(&mut client);
    let length = client.output().waiting().len();
    client.output().advance(length);
    client.release(id, Moment(0));
    assert_eq!(client.output().waiting(), frame(3, 0, 1, &[0, 0, 0, 8]));
    assert!(client.takes_streams());
    // What was on its way is no offence.
    receive(&mut client, &[ok(1, false), frame(0, 1, 1, b"abc")].concat());
}

#[test]
fn a_ping_of_ours_is_answered_or_not() {
    let mut client = client();
    client.ping();
    assert!(client.is_pinged());
    receive(&mut client, &frame(6, 1, 0, b"another\0"));
    assert!(client.is_pinged());
    receive(&mut client, &frame(6, 1, 0, b"alive?\0\0"));
    assert!(!client.is_pinged());
}

#[test]
fn what_a_server_may_not_do_ends_the_connection() {
    for (name, bytes) in [
        ("a push", frame(5, 4, 1, &[0, 0, 0, 2, 0x82])),
        ("a stream of its own", ok(2, true)),
        ("a stream that is not open", ok(9, true)),
        ("data before any stream", frame(0, 1, 9, b"x")),
        ("something before its settings", frame(6, 0, 0, &[0; 8])),
    ] {
        let mut client = match name {
            "something before its settings" => {
                Connection::client(HeadLimits::default(), OWN, ALLOWED, Moment(0))
            }
            _ => client(),
        };
        if client.has_begun() {
            open(&mut client);
        }
        assert!(client.receive(&bytes, Moment(0)).is_err(), "{name}");
    }
}

#[test]
fn the_window_of_the_connection_never_stalls_streams() {
    let mut client = client();
    let ids: Vec<u32> = (0..8).map(|_| open(&mut client)).collect();
    for id in &ids {
        receive(&mut client, &ok(*id, false));
        // Each fills its own window, and nobody reads.
        (0..6).for_each(|_| receive(&mut client, &frame(0, 0, *id, &[0; 16_384])));
    }
    assert!(ids.iter().all(|id| client.stream(*id).unwrap().fault.is_none()));
}

#[test]
fn whatever_a_server_sends_is_taken_or_ends_the_connection() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..3000 {
        let mut client = client();
        let ids: Vec<u32> = (0..rng.u32(0..4)).map(|_| open(&mut client)).collect();
        for _ in 0..rng.usize(1..30) {
            let stream = if rng.u8(0..4) == 0 { rng.u32(0..12) } else { [0, 1, 3][rng.usize(0..3)] };
            let mut payload = vec![0; [0, 4, 5, 8, 6, 17][rng.usize(0..6)]];
            payload.iter_mut().for_each(|byte| *byte = [0, 1, 0x88, 0x82, 0xff, rng.u8(..)][rng.usize(0..6)]);
            let bytes = frame(rng.u8(0..11), rng.u8(..), stream, &payload);
            match client.receive(&bytes, Moment(0)) {
                Ok(used) => assert_eq!(used, bytes.len()),
                Err(error) => {
                    client.fail(error);
                    break;
                }
            }
            for id in &ids {
                let _ = client.poll_head(*id, &mut context());
                if let Poll::Ready(Ok(Body::Data(data))) = client.poll_body(*id, &mut context()) {
                    client.passed_on(*id, data.len());
                }
            }
        }
        ids.iter().for_each(|id| client.release(*id, Moment(0)));
        assert!(client.is_idle());
    }
}

#[test]
fn extended_connect_is_asked_where_the_server_announces_it() {
    let mut client = client();
    assert!(!client.takes_websockets());
    receive(&mut client, &frame(4, 0, 0, &[0, 8, 0, 0, 0, 1]));
    assert!(client.takes_websockets());
    let mut server = Connection::new(HeadLimits::default(), OWN, ALLOWED, Moment(0));
    let start = RequestStart { protocol: Some("websocket"), ..start("CONNECT", false) };
    assert_eq!(client.open(&start).unwrap().finish(), 1);
    carry(&mut client, &mut server);
    assert!(server.next_opened().unwrap().head.opens_websocket());
    // RFC 9110 §9.3.6: the length of a success is none.
    let head = ResponseHead { status: 200, ..ResponseHead::default() };
    server.send_head(1, &head, true, Some(3), false).unwrap();
    carry(&mut server, &mut client);
    let mut cx = context();
    assert!(matches!(client.poll_head(1, &mut cx), Poll::Ready(Ok(head)) if head.status == 200));
    assert_eq!(client.body_length(1), None);
    for (value, is_fine) in [(1, true), (0, false)] {
        let settings = frame(4, 0, 0, &[0, 8, 0, 0, 0, value]);
        assert_eq!(client.receive(&settings, Moment(0)).is_ok(), is_fine, "RFC 8441 §3: never back");
    }
    assert!(self::client().receive(&frame(4, 0, 0, &[0, 8, 0, 0, 0, 2]), Moment(0)).is_err());
}

#[test]
fn a_smaller_window_holds_once_the_server_knows_it() {
    let own = OwnSettings { stream_window: 4096, ..OWN };
    let mut client = Connection::client(HeadLimits::default(), own, ALLOWED, Moment(0));
    receive(&mut client, &frame(4, 0, 0, b""));
    let (first, second) = (open(&mut client), open(&mut client));
    // RFC 9113 §6.9.3: it answers before it has taken our settings.
    receive(&mut client, &[ok(first, false), frame(0, 0, first, &[0; 16_000])].concat());
    let fault = |client: &mut Connection, id: u32| client.stream(id).unwrap().fault;
    assert_eq!(fault(&mut client, first), None);
    receive(&mut client, &frame(4, 1, 0, b""));
    receive(&mut client, &[ok(second, false), frame(0, 0, second, &[0; 4096])].concat());
    assert_eq!((fault(&mut client, first), fault(&mut client, second)), (None, None));
    for id in [first, second] {
        receive(&mut client, &frame(0, 0, id, b"x"));
        assert!(matches!(fault(&mut client, id), Some(Fault::Broken(_))), "{id}");
    }
}

/// As Go's net/http reads an upload: it tells the connection and the stream of each 4 KiB.
#[test]
fn windows_a_server_opens_by_each_read_are_no_nuisance() {
    let mut client = client();
    let id = open(&mut client);
    let opened = |id: u32| frame(8, 0, id, &4096_u32.to_be_bytes());
    let reads = [opened(0), opened(id)].concat().repeat(4);
    for _ in 0..3000 {
        let sent = client.poll_send(id, &mut context(), &[0; 16_384]);
        assert!(matches!(sent, Poll::Ready(Ok(16_384))), "{sent:?}");
        let length = client.output().waiting().len();
        client.output().advance(length);
        client.written();
        receive(&mut client, &reads);
    }
    let dribbles = frame(8, 0, 0, &1_u32.to_be_bytes()).repeat(200);
    assert!(client.receive(&dribbles, Moment(0)).is_err());
}
