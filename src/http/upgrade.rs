//! Tunnels: after an upgrade or CONNECT the two connections are joined, byte for byte.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

use super::{h1::Connection, handle::Tunnel};
use crate::{
    moment::Moment,
    net::{Buffer, Deadline, Http1Stream},
};

/// Joins the client with the backend until both are done, one breaks, or both are silent for too long.
pub async fn join(mut connection: Box<Connection>, tunnel: Tunnel) {
    let client = &mut connection.wire;
    let Tunnel { mut live, idle, mut exchange } = tunnel;
    let deadline = Deadline::new();
    let mut up = Direction { block: client.take_input(), ..Direction::default() };
    let mut down = Direction { block: live.wire.take_input(), ..Direction::default() };
    let (mut last_active, mut is_flushed) = (u64::MAX, false);
    let _ = poll_fn(|cx| {
        // The response head goes first.
        if !is_flushed {
            ready!(client.poll_flush(cx))?;
            is_flushed = true;
        }
        let is_up_done = up.poll(cx, client, &mut live.wire)?.is_ready();
        let is_down_done = down.poll(cx, &mut live.wire, client)?.is_ready();
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
    exchange.bytes_in += up.bytes;
    exchange.bytes_out += down.bytes;
    live.permit.count_bytes(up.bytes + down.bytes);
}

/// One direction of a tunnel.
#[derive(Debug, Default)]
struct Direction {
    block: Buffer,
    bytes: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The source ended; the sink is told so, and the other direction goes on.
    Ending,
    Done,
}

impl Direction {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Http1Stream,
        to: &mut Http1Stream,
    ) -> Poll<io::Result<()>> {
        while self.state == State::Open {
            while !self.block.is_empty() {
                let written = ready!(Pin::new(&mut to.stream).poll_write(cx, &self.block))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.bytes += written as u64;
                self.block.advance(written);
            }
            match from.stream.poll_block(cx) {
                Poll::Ready(block) => self.block = block?,
                Poll::Pending => {
                    // Empty, but of full size: who waits holds nothing.
                    self.block = Buffer::default();
                    let _ = Pin::new(&mut to.stream).poll_flush(cx)?;
                    return Poll::Pending;
                }
            }
            if self.block.is_empty() {
                self.state = State::Ending;
            }
        }
        if self.state == State::Ending {
            ready!(Pin::new(&mut to.stream).poll_shutdown(cx))?;
            self.state = State::Done;
        }
        Poll::Ready(Ok(()))
    }
}
