use std::{
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use tokio::net::UnixStream;

use super::{
    direction::{Direction, State},
    *,
};
use crate::{
    moment::Moment,
    net::{Buffer, Deadline, Plain, Stream},
};

/// What waits for hours keeps this much, the two streams aside; tasks have their sizes by it (`l4::passing`).
#[test]
fn what_is_between_two_streams_is_small() {
    let (joint, framed) = (size_of::<Joint>(), size_of::<FramedJoint>());
    assert!(joint <= 160 && framed <= 216, "{joint} bytes, and {framed} of a WebSocket");
}

#[tokio::test]
async fn a_direction_that_ended_holds_no_buffer() {
    let (near, far) = UnixStream::pair().unwrap();
    let (to, _other) = UnixStream::pair().unwrap();
    drop(far);
    near.readable().await.unwrap();
    let mut from = Stream::Plain(Plain::Unix(near));
    let mut to = Stream::Plain(Plain::Unix(to));
    let mut direction = Direction::new(Buffer::default());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(direction.poll(&mut cx, &mut from, &mut to, false).is_ready());
    assert_eq!((direction.state, direction.buffer.size()), (State::Done, 0));
}

/// More than any socket holds, in memory that is in no account.
fn too_much() -> Buffer {
    Buffer::shared(vec![0; 64_000_000].into())
}

mod joined {
    use std::{io, time::Duration};

    use socket2::SockRef;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, Interest},
        net::{TcpListener, TcpStream},
        task::JoinHandle,
    };

    use super::*;

    const LONG: Silence = Silence { idle: Duration::from_secs(60), half_closed: Duration::from_secs(60) };

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (connected, listener.accept().await.unwrap().0)
    }

    /// The far ends of two connections that are joined, and what becomes of the tunnel.
    async fn tunnel(silence: Silence) -> (TcpStream, TcpStream, JoinHandle<(Carried, End)>) {
        tunnel_of((Buffer::copy_of(b"first "), Buffer::default()), Limits { silence, end: None }).await
    }

    /// The same, with what was read of either end already.
    async fn tunnel_of(
        (input, other_input): (Buffer, Buffer),
        limits: Limits,
    ) -> (TcpStream, TcpStream, JoinHandle<(Carried, End)>) {
        let ((client, near), (far, backend)) = (pair().await, pair().await);
        let joined = tokio::spawn(async move {
            let (mut near, mut far) = (Stream::Plain(Plain::Tcp(near)), Stream::Plain(Plain::Tcp(far)));
            let mut joint = Joint::new(input, other_input);
            let limits = (&Deadline::new(), &limits);
            let end = poll_fn(|cx| joint.poll(cx, (&mut near, &mut far), limits, &mut |_| {})).await;
            (joint.carried(), end)
        });
        (client, backend, joined)
    }

    /// Reads to the end, which is a reset.
    async fn assert_is_reset(stream: &mut TcpStream, who: &str) {
        let error = stream.read_to_end(&mut Vec::new()).await.expect_err(who);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{who}");
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[tokio::test]
    async fn little_is_copied_and_an_end_is_passed_on() {
        let (mut client, mut backend, joined) = tunnel(LONG).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut read = Vec::new();
        backend.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"first question");
        // The other direction goes on.
        backend.write_all(b"answer").await.unwrap();
        drop(backend);
        read.clear();
        client.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"answer");
        let (carried, end) = joined.await.unwrap();
        assert_eq!(carried, Carried { up: 14, down: 6, is_spliced: false });
        assert!(matches!(end, End::Done), "{end:?}");
    }

    #[tokio::test]
    async fn much_is_spliced_and_arrives_as_it_was() {
        let (mut client, mut backend, joined) = tunnel(LONG).await;
        let sent = bytes(20_000_000);
        let expected = [b"first ", &sent[..]].concat();
        let sending = tokio::spawn(async move {
            client.write_all(&sent).await.unwrap();
            client
        });
        let mut read = vec![0; expected.len()];
        backend.read_exact(&mut read).await.unwrap();
        assert!(read == expected, "every byte in its place");
        // And little after much.
        let mut client = sending.await.unwrap();
        client.write_all(b"more").await.unwrap();
        client.shutdown().await.unwrap();
        read.clear();
        backend.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"more");
        drop(backend);
        let (carried, _) = joined.await.unwrap();
        assert_eq!((carried.up, carried.is_spliced), (expected.len() as u64 + 4, true));
    }

    /// splice(2) stops before them, and says that nothing comes or, behind an end, that all has come.
    #[tokio::test]
    async fn what_comes_behind_urgent_data_is_passed_on() {
        for ends_at_once in [false, true] {
            let (mut client, mut backend, joined) = tunnel(LONG).await;
            let sent = bytes(8_100_000);
            let expected = [b"first ", &sent[..]].concat();
            let sending = tokio::spawn(async move {
                let (before, behind) = sent.split_at(8_000_000);
                client.write_all(before).await.unwrap();
                let urgent = || SockRef::from(&client).send_out_of_band(b"!");
                assert_eq!(client.async_io(Interest::WRITABLE, urgent).await.unwrap(), 1);
                client.write_all(behind).await.unwrap();
                if ends_at_once {
                    client.shutdown().await.unwrap();
                }
                client
            });
            let mut read = vec![0; expected.len()];
            let arrives = tokio::time::timeout(Duration::from_secs(20), backend.read_exact(&mut read));
            arrives.await.expect("it stalls").unwrap();
            assert!(read == expected, "every byte in its place, but for the urgent one");
            let mut client = sending.await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(backend.read(&mut read).await.unwrap(), 0);
            drop((client, backend));
            let (carried, end) = joined.await.unwrap();
            assert!(matches!(end, End::Done), "{end:?}");
            assert_eq!((carried.up, carried.is_spliced), (expected.len() as u64, true));
        }
    }

    #[tokio::test]
    async fn a_reset_is_passed_on_as_a_reset() {
        for client_resets in [true, false] {
            let (client, backend, joined) = tunnel(LONG).await;
            let (gone, mut other) = if client_resets { (client, backend) } else { (backend, client) };
            SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
            drop(gone);
            let mut read = Vec::new();
            let error = other.read_to_end(&mut read).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            match joined.await.unwrap().1 {
                End::FirstBroke(_) => assert!(client_resets),
                End::SecondBroke(_) => assert!(!client_resets),
                end => panic!("{end:?}"),
            }
        }
    }

    #[tokio::test]
    async fn silence_and_half_silence_have_limits_of_their_own() {
        let timer = tokio::spawn(crate::net::timer::drive());
        let short = Duration::from_millis(20);
        let (mut client, mut backend, joined) = tunnel(Silence { idle: short, ..LONG }).await;
        assert!(matches!(joined.await.unwrap().1, End::Idle));
        // Nothing was cut off.
        let mut read = Vec::new();
        assert_eq!(client.read_to_end(&mut read).await.unwrap(), 0);
        assert_eq!(backend.read_to_end(&mut read).await.unwrap(), 6);
        let (mut client, _backend, joined) = tunnel(Silence { half_closed: short, ..LONG }).await;
        client.shutdown().await.unwrap();
        assert!(matches!(joined.await.unwrap().1, End::Idle));
        assert_eq!(client.read_to_end(&mut read).await.unwrap(), 0);
        timer.abort();
    }

    /// Else what came until then would be taken for all.
    #[tokio::test]
    async fn silence_of_who_takes_nothing_is_a_reset() {
        let timer = tokio::spawn(crate::net::timer::drive());
        let short = Duration::from_millis(20);
        let limits = Limits { silence: Silence { idle: short, half_closed: short }, end: None };
        for is_of_client in [true, false] {
            let (much, none) = (too_much(), Buffer::default());
            let inputs = if is_of_client { (much, none) } else { (none, much) };
            let (mut client, mut backend, joined) = tunnel_of(inputs, limits).await;
            match joined.await.unwrap().1 {
                End::FirstStalled => assert!(!is_of_client),
                End::SecondStalled => assert!(is_of_client),
                end => panic!("{end:?}"),
            }
            assert_is_reset(&mut client, "the client").await;
            assert_is_reset(&mut backend, "the backend").await;
        }
        timer.abort();
    }

    #[tokio::test]
    async fn who_is_cut_off_by_the_time_is_reset() {
        let timer = tokio::spawn(crate::net::timer::drive());
        let end = Some(Moment::now().plus(Duration::from_millis(20)));
        let inputs = (Buffer::copy_of(b"first"), Buffer::default());
        let (mut client, mut backend, joined) = tunnel_of(inputs, Limits { silence: LONG, end }).await;
        assert!(matches!(joined.await.unwrap().1, End::Over));
        assert_is_reset(&mut client, "the client").await;
        assert_is_reset(&mut backend, "the backend").await;
        timer.abort();
    }

    #[tokio::test]
    async fn a_reader_that_stops_holds_the_sender_and_loses_nothing() {
        let (mut client, mut backend, joined) = tunnel(LONG).await;
        let sent = bytes(40_000_000);
        let expected = sent.len() + 6;
        let sending = tokio::spawn(async move {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            client
        });
        let (mut read, mut some) = (0, vec![0; 100_000]);
        while read < expected {
            // Now and then it does nothing for a while.
            if read % 7 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            read += backend.read(&mut some).await.unwrap();
        }
        assert_eq!(read, expected);
        assert_eq!(backend.read(&mut some).await.unwrap(), 0);
        drop((backend, sending.await.unwrap()));
        assert_eq!(joined.await.unwrap().0.up, expected as u64);
    }
}

mod frames {
    use std::{io::Read, pin::Pin, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::oneshot,
    };

    use super::*;

    const LONG: Silence = Silence { idle: Duration::from_secs(60), half_closed: Duration::from_secs(60) };

    /// Joins the ends of a WebSocket, until its end.
    async fn join(
        mut near: Stream,
        mut far: Stream,
        input: Buffer,
        mut closing: oneshot::Receiver<()>,
    ) -> End {
        let mut joint = FramedJoint::new(input, Buffer::default());
        let limits = (&Deadline::new(), &Limits { silence: LONG, end: None });
        poll_fn(|cx| {
            let closing = |cx: &mut Context<'_>| Pin::new(&mut closing).poll(cx).map(drop);
            joint.poll(cx, (&mut near, &mut far), limits, closing, &mut |_| {})
        })
        .await
    }

    #[tokio::test]
    async fn silence_of_who_takes_nothing_is_no_end() {
        let timer = tokio::spawn(crate::net::timer::drive());
        let short = Duration::from_millis(20);
        let limits = Limits { silence: Silence { idle: short, half_closed: short }, end: None };
        for is_of_client in [true, false] {
            let (_client, near) = UnixStream::pair().unwrap();
            let (_backend, far) = UnixStream::pair().unwrap();
            let (mut near, mut far) = (Stream::Plain(Plain::Unix(near)), Stream::Plain(Plain::Unix(far)));
            let (much, none) = (too_much(), Buffer::default());
            let (input, other_input) = if is_of_client { (much, none) } else { (none, much) };
            let mut joint = FramedJoint::new(input, other_input);
            let limits = (&Deadline::new(), &limits);
            let end =
                poll_fn(|cx| joint.poll(cx, (&mut near, &mut far), limits, |_| Poll::Pending, &mut |_| {}));
            match end.await {
                End::FirstStalled => assert!(!is_of_client),
                End::SecondStalled => assert!(is_of_client),
                end => panic!("{end:?}"),
            }
        }
        timer.abort();
    }

    /// TLS says so with a close_notify, without which it were cut off.
    #[tokio::test]
    async fn silence_is_an_end_that_both_are_told() {
        let timer = tokio::spawn(crate::net::timer::drive());
        let (client, near) = UnixStream::pair().unwrap();
        let (backend, far) = UnixStream::pair().unwrap();
        let (mut near, mut far) = (Stream::Plain(Plain::Unix(near)), Stream::Plain(Plain::Unix(far)));
        let mut joint = FramedJoint::new(Buffer::default(), Buffer::default());
        let short = Silence { idle: Duration::from_millis(20), ..LONG };
        let limits = (&Deadline::new(), &Limits { silence: short, end: None });
        let end = poll_fn(|cx| joint.poll(cx, (&mut near, &mut far), limits, |_| Poll::Pending, &mut |_| {}));
        assert!(matches!(end.await, End::Idle));
        // Our ends are still there, so that it was said, and does not come of their being dropped.
        for stream in [client, backend] {
            assert_eq!(stream.into_std().unwrap().read(&mut [0]).unwrap(), 0);
        }
        timer.abort();
    }

    /// Frames of many lengths, and where each ends.
    fn frames(random: &mut fastrand::Rng) -> (Vec<u8>, Vec<usize>) {
        let (mut all, mut ends) = (Vec::new(), vec![0]);
        for _ in 0..40 {
            let length = [0, 3, 125, 126, 5_000, 70_000][random.usize(..6)];
            match length {
                0..126 => all.extend([0x82, length as u8]),
                126..65_536 => all.extend([&[0x82, 126][..], &(length as u16).to_be_bytes()].concat()),
                _ => all.extend([&[0x82, 127][..], &(length as u64).to_be_bytes()].concat()),
            }
            all.resize(all.len() + length, 0x88);
            ends.push(all.len());
        }
        (all, ends)
    }

    /// What an end sends in pieces cut anywhere, and says when it is somewhere in the middle.
    async fn send(
        bytes: Vec<u8>,
        mut to: impl AsyncWriteExt + Unpin,
        seed: u64,
        close: Option<oneshot::Sender<()>>,
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut at, when) = (0, random.usize(..bytes.len()));
        let mut close = close;
        while at < bytes.len() {
            let cut = (at + random.usize(1..=20_000)).min(bytes.len());
            if to.write_all(&bytes[at..cut]).await.is_err() {
                return;
            }
            at = cut;
            if at > when
                && let Some(close) = close.take()
            {
                let _ = close.send(());
            }
        }
    }

    #[tokio::test]
    async fn a_close_comes_between_two_frames_whenever_it_comes() {
        let timer = tokio::spawn(crate::net::timer::drive());
        let mut closed = 0;
        for seed in 0..60 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (up, down) = (frames(&mut random), frames(&mut random));
            let (client, near) = UnixStream::pair().unwrap();
            let (backend, far) = UnixStream::pair().unwrap();
            let (close, closing) = oneshot::channel();
            let (near, far) = (Stream::Plain(Plain::Unix(near)), Stream::Plain(Plain::Unix(far)));
            let joined = tokio::spawn(join(near, far, Buffer::default(), closing));
            let (mut from_client, to_client) = client.into_split();
            let (mut from_backend, to_backend) = backend.into_split();
            let one = tokio::spawn(send(up.0.clone(), to_client, seed, Some(close)));
            let other = tokio::spawn(send(down.0.clone(), to_backend, seed + 1, None));
            let (mut at_client, mut at_backend) = (Vec::new(), Vec::new());
            let (one_read, other_read) = tokio::join!(
                from_client.read_to_end(&mut at_client),
                from_backend.read_to_end(&mut at_backend)
            );
            assert!(one_read.is_ok() && other_read.is_ok(), "seed {seed}");
            for (came, (sent, ends), length) in [(at_client, down, 4), (at_backend, up, 8)] {
                if came == sent {
                    // It had ended before.
                    continue;
                }
                let (frames, close) = came.split_at(came.len() - length);
                assert!(sent.starts_with(frames) && ends.contains(&frames.len()), "seed {seed}");
                assert_eq!(close[0], 0x88, "seed {seed}");
                closed += 1;
            }
            joined.await.unwrap();
            let _ = tokio::join!(one, other);
        }
        assert!(closed > 60, "{closed} directions were closed in the middle");
        timer.abort();
    }

    #[tokio::test]
    async fn behind_a_close_of_its_own_comes_no_other() {
        let (mut client, near) = UnixStream::pair().unwrap();
        let (mut backend, far) = UnixStream::pair().unwrap();
        let (close, closing) = oneshot::channel::<()>();
        let (near, far) = (Stream::Plain(Plain::Unix(near)), Stream::Plain(Plain::Unix(far)));
        let joined = tokio::spawn(join(near, far, Buffer::copy_of(b"\x88\x80mask"), closing));
        let mut six = [0; 6];
        backend.read_exact(&mut six).await.unwrap();
        close.send(()).unwrap();
        let mut rest = Vec::new();
        backend.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"", "to who was told already");
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, [0x88, 2, 3, 0xe9]);
        client.shutdown().await.unwrap();
        drop(backend);
        assert!(matches!(joined.await.unwrap(), End::Over));
    }
}
