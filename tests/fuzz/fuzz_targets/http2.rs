//! A connection of HTTP/2, in any cut: it ends or goes on, what it sends is whole frames, and what it holds has a bound.
#![no_main]

use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use pointsman::{
    h1::{HeadLimits, ResponseHead},
    http2::{
        Body, Connection,
        budget::{Allowance, Rate},
        settings::OwnSettings,
        spare,
    },
    moment::Moment,
};

const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fuzz_target!(|input: (u16, &[u8])| {
    let (step, bytes) = input;
    let rate = |most, per_second| Rate { most, per_second };
    let own = OwnSettings {
        max_streams: 8,
        stream_window: 100_000,
        connection_window: 200_000,
        header_list: 65_536,
        takes_websockets: true,
    };
    let allowed = Allowance { nuisance: rate(2000, 200), resets: rate(500, 50) };
    let mut connection = Connection::new(HeadLimits::default(), own, allowed, Moment(0));
    let all = [HELLO, bytes].concat();
    let (mut used, mut end) = (0, 0);
    while end < all.len() {
        end = (end + usize::from(step) + 1).min(all.len());
        match connection.receive(&all[used..end], Moment(0)) {
            Ok(length) => used += length,
            Err(error) => {
                connection.fail(error);
                return check(&mut connection);
            }
        }
        assert!(used <= end);
        serve(&mut connection, end);
        assert!(connection.memory() < 500_000, "{}", connection.memory());
        check(&mut connection);
    }
});

/// What tasks of streams do.
fn serve(connection: &mut Connection, turn: usize) {
    let mut cx = Context::from_waker(Waker::noop());
    while let Some(opened) = connection.next_opened() {
        spare::recycle_request(opened.head);
    }
    for id in (1..20).step_by(2) {
        if let Poll::Ready(Ok(Body::Data(data))) = connection.poll_body(id, &mut cx) {
            connection.passed_on(id, data.len());
        }
        match (turn + id as usize) % 5 {
            0 => drop(connection.send_head(id, &ResponseHead { status: 200, ..ResponseHead::default() }, true, None, false)),
            1 => drop(connection.poll_send(id, &mut cx, &[7; 3000])),
            2 => drop(connection.end_response(id, None)),
            3 => connection.release(id, Moment(0)),
            _ => {}
        }
    }
}

/// What is to be sent is frames.
fn check(connection: &mut Connection) {
    let bytes = connection.output().waiting().to_vec();
    let mut rest = &bytes[..];
    while let Some((head, behind)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        assert!(length <= 16_384);
        rest = behind.get(length..).expect("only whole frames");
    }
    assert!(rest.is_empty());
    connection.output().advance(bytes.len());
    connection.written();
}
