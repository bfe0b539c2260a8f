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

/// Takes all that came of a stream's body, which are so many bytes, and has it go on.
fn pass_on(connection: &mut Connection, id: u32, bytes: usize) {
    let mut taken = 0;
    while let Poll::Ready(Ok(Body::Data(data))) = connection.poll_body(id, &mut context()) {
        taken += data.len();
        connection.passed_on(id, data.len());
    }
    assert_eq!(taken, bytes);
}
