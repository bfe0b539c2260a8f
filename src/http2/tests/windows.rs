//! Windows that our settings make smaller than streams begin with.

use super::*;

/// Settings whose streams have a smaller window than they begin with.
const SMALL: OwnSettings = OwnSettings {
    max_streams: 8,
    stream_window: 4096,
    connection_window: 2_000_000,
    header_list: 65_536,
    takes_websockets: false,
};
const ALLOWED: Allowance =
    Allowance { nuisance: Rate { most: 2000, per_second: 200 }, resets: Rate { most: 500, per_second: 50 } };

#[test]
fn a_smaller_window_holds_once_the_client_knows_it() {
    let (zeros, reset) = ([0; 16_000], Reason::FLOW_CONTROL_ERROR.0.to_be_bytes().to_vec());
    let mut connection = Connection::new(HeadLimits::default(), SMALL, ALLOWED, Moment(0));
    take_output(&mut connection);
    // All in its first flight (RFC 9113 §6.9.3).
    receive(&mut connection, &[PREFACE, &frame(4, 0, 0, b"")].concat());
    for id in [1, 3, 5] {
        receive(&mut connection, &frame(1, 4, id, &block(&POST)));
        receive(&mut connection, &frame(0, 0, id, &zeros));
    }
    let frames = take_output(&mut connection);
    assert!(frames.iter().all(|frame| frame.0 == 4), "{frames:?}");
    // Of the first, all has gone on before the client knows; of the second, afterwards; of the third, nothing has.
    pass_on(&mut connection, 1, 16_000);
    receive(&mut connection, &frame(4, 1, 0, b""));
    pass_on(&mut connection, 3, 16_000);
    let frames = take_output(&mut connection);
    let given =
        |id| frames.iter().any(|frame| (frame.0, frame.2) == (8, id) && frame.3 == 16_000_u32.to_be_bytes());
    assert!(given(1) && given(3), "{frames:?}");
    for id in [1, 3] {
        receive(&mut connection, &frame(0, 0, id, &zeros[..4096]));
        assert_eq!(take_output(&mut connection), [], "{id}");
        receive(&mut connection, &frame(0, 0, id, b"x"));
        assert_eq!(take_output(&mut connection), [(3, 0, id, reset.clone())]);
    }
    receive(&mut connection, &frame(0, 0, 5, b""));
    assert_eq!(take_output(&mut connection), [], "there is always room for nothing");
    receive(&mut connection, &frame(0, 0, 5, b"x"));
    assert_eq!(take_output(&mut connection), [(3, 0, 5, reset.clone())]);
    // One that is opened now is known to be small.
    receive(&mut connection, &frame(1, 4, 7, &block(&POST)));
    receive(&mut connection, &frame(0, 0, 7, &zeros[..4097]));
    assert_eq!(take_output(&mut connection), [(3, 0, 7, reset)]);
}

#[test]
fn no_stream_brings_more_than_anybody_may_at_first() {
    let mut connection = Connection::new(HeadLimits::default(), SMALL, ALLOWED, Moment(0));
    receive(&mut connection, &[PREFACE, &frame(4, 0, 0, b"")].concat());
    receive(&mut connection, &frame(1, 4, 1, &block(&POST)));
    (0..4).for_each(|_| receive(&mut connection, &frame(0, 0, 1, &[0; 16_000])));
    take_output(&mut connection);
    receive(&mut connection, &frame(0, 0, 1, &[0; 1535]));
    assert_eq!(take_output(&mut connection), []);
    receive(&mut connection, &frame(0, 0, 1, b"x"));
    let reset = Reason::FLOW_CONTROL_ERROR.0.to_be_bytes().to_vec();
    assert_eq!(take_output(&mut connection), [(3, 0, 1, reset)]);
}

/// As Go's net/http reads: it tells the connection and the stream of each 4 KiB.
#[test]
fn windows_that_are_opened_by_each_read_are_no_nuisance() {
    let mut connection = connection();
    receive(&mut connection, &frame(1, 5, 1, &block(&POST)));
    connection.send_head(1, &ok(&[]), true, None, false).unwrap();
    let reads = [opened(0, 4096), opened(1, 4096)].concat().repeat(4);
    for _ in 0..3000 {
        send_piece(&mut connection, 1);
        receive(&mut connection, &reads);
    }
}

#[test]
fn what_is_read_after_its_stream_has_ended_is_told() {
    let mut connection = connection();
    // As much as a client of Go takes ahead.
    receive(&mut connection, &frame(4, 0, 0, &[0, 4, 0, 0x40, 0, 0]));
    receive(&mut connection, &opened(0, 4 << 20));
    for id in (1..20).step_by(2) {
        receive(&mut connection, &frame(1, 5, id, &block(&POST)));
        connection.send_head(id, &ok(&[]), true, None, false).unwrap();
        (0..256).for_each(|_| send_piece(&mut connection, id));
        connection.end_response(id, None).unwrap();
        connection.release(id, Moment(0));
        receive(&mut connection, &[opened(0, 4096), opened(id, 4096)].concat().repeat(1024));
    }
}

#[test]
fn windows_opened_in_dribbles_or_beyond_need_are_a_flood() {
    for (id, increment) in [(0, 1), (0, 1023), (0, 1024), (1, 1), (1, 1024), (3, 1024)] {
        let mut connection = connection();
        for id in [1, 3] {
            receive(&mut connection, &frame(1, 5, id, &block(&POST)));
            connection.send_head(id, &ok(&[]), true, None, false).unwrap();
            send_piece(&mut connection, id);
        }
        connection.end_response(3, None).unwrap();
        connection.release(3, Moment(0));
        let flood = opened(id, increment).repeat(2100);
        let error = connection.receive(&flood, Moment(0)).unwrap_err();
        assert_eq!(error.reason, Reason::ENHANCE_YOUR_CALM, "{id} by {increment}");
    }
}

fn opened(id: u32, increment: u32) -> Vec<u8> {
    frame(8, 0, id, &increment.to_be_bytes())
}

/// Sends 16 KiB on a stream, all of which is written.
fn send_piece(connection: &mut Connection, id: u32) {
    let sent = connection.poll_send(id, &mut context(), &[0; 16_384]);
    assert!(matches!(sent, Poll::Ready(Ok(16_384))), "{sent:?}");
    take_output(connection);
}

/// Takes all that came of a stream's body, which are so many bytes, and has it go on.
fn pass_on(connection: &mut Connection, id: u32, bytes: usize) {
    let mut taken = 0;
    while let Poll::Ready(Ok(Body::Data(data))) = connection.poll_body(id, &mut context()) {
        taken += data.len();
        connection.passed_on(id, data.len());
    }
    assert_eq!(taken, bytes);
}
