//! Two streams joined, byte for byte, until both are done, one breaks, or both are silent for too long.
//!
//! Used for upgraded connections and CONNECT (`http::upgrade`), and for whatever is passed through without being
//! understood.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::AsyncWrite;

use super::{Buffer, Deadline, Stream};
use crate::moment::Moment;

/// One end of a tunnel: a stream, and what was read of it already.
#[derive(Debug)]
pub struct Side<'a> {
    /// The stream.
    pub stream: &'a mut Stream,
    /// What came of it, and was not used.
    pub input: Buffer,
}

/// What went through a tunnel, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// From the first side to the second.
    pub up: u64,
    /// From the second side to the first.
    pub down: u64,
}

/// Joins two streams. An end of one is passed on, and the other direction goes on; after `idle` without a byte in
/// either direction, both end.
pub async fn join(one: Side<'_>, other: Side<'_>, idle: Duration) -> Carried {
    let deadline = Deadline::new();
    let (client, backend) = (one.stream, other.stream);
    let mut up = Direction { buffer: one.input, ..Direction::default() };
    let mut down = Direction { buffer: other.input, ..Direction::default() };
    let mut last_active = u64::MAX;
    let _ = poll_fn(|cx| {
        let is_up_done = up.poll(cx, client, backend)?.is_ready();
        let is_down_done = down.poll(cx, backend, client)?.is_ready();
        if is_up_done && is_down_done {
            return Poll::Ready(Ok::<(), io::Error>(()));
        }
        let active = up.bytes + down.bytes;
        if active != last_active {
            last_active = active;
            deadline.at(Moment::now().plus(idle));
        }
        deadline.poll_elapsed(cx).map(Ok)
    })
    .await;
    Carried { up: up.bytes, down: down.bytes }
}

/// One direction of a tunnel.
#[derive(Debug, Default)]
struct Direction {
    buffer: Buffer,
    bytes: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The source ended; so the sink's writing side is closed, and the other direction goes on.
    Ending,
    Done,
}

impl Direction {
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Stream, to: &mut Stream) -> Poll<io::Result<()>> {
        while self.state == State::Open {
            while !self.buffer.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.bytes += written as u64;
                self.buffer.advance(written);
            }
            match from.poll_buffer(cx) {
                Poll::Ready(buffer) => self.buffer = buffer?,
                Poll::Pending => {
                    // Empty, but of full size: who waits holds nothing.
                    self.buffer = Buffer::default();
                    let _ = Pin::new(&mut *to).poll_flush(cx)?;
                    return Poll::Pending;
                }
            }
            if self.buffer.is_empty() {
                // What the end was read into is of full size, and the other direction may go on for hours.
                self.buffer = Buffer::default();
                self.state = State::Ending;
            }
        }
        if self.state == State::Ending {
            ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
            self.state = State::Done;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::net::UnixStream;

    use super::*;
    use crate::net::Plain;

    #[tokio::test]
    async fn a_direction_that_ended_holds_no_buffer() {
        let (near, far) = UnixStream::pair().unwrap();
        let (to, _other) = UnixStream::pair().unwrap();
        drop(far);
        near.readable().await.unwrap();
        let mut from = Stream::Plain(Plain::Unix(near));
        let mut to = Stream::Plain(Plain::Unix(to));
        let mut direction = Direction::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(direction.poll(&mut cx, &mut from, &mut to).is_ready());
        assert_eq!((direction.state, direction.buffer.size()), (State::Done, 0));
    }
}
