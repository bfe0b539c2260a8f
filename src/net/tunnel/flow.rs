//! One direction of a WebSocket that is passed on: copied, with an eye on where its frames end, so that it can be closed
//! between two of them.

use std::{
    io,
    task::{Context, Poll, ready},
};

use super::{
    direction::{Broken, State},
    endpoint::Endpoint,
};
use crate::{
    net::{Buffer, poll_at_once},
    websocket::Frames,
};

/// One direction of a WebSocket.
#[derive(Debug)]
pub(super) struct Flow {
    /// What was read and is not written yet.
    buffer: Buffer,
    /// Bytes that were written.
    pub(super) bytes: u64,
    /// How far what was written is.
    frames: Frames,
    state: State,
    /// Whether the close frame that ends it is what the buffer holds, or has gone.
    is_closing: bool,
}

/// Reads after which others have their turn.
const ROUNDS: usize = 16;

impl Flow {
    /// A direction of which `buffer` was read already.
    pub(super) fn new(buffer: Buffer) -> Self {
        Self { buffer, bytes: 0, frames: Frames::default(), state: State::Open, is_closing: false }
    }

    /// Carries on; ready when the source ended, and all of it and its end are passed on.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Endpoint,
        to: &mut impl Endpoint,
    ) -> Poll<Result<(), Broken>> {
        let mut rounds = 0;
        while self.state == State::Open {
            if rounds == ROUNDS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            rounds += 1;
            while !self.buffer.is_empty() {
                let written = ready!(self.poll_write(cx, to, self.buffer.len()))?;
                self.frames.take_all(self.buffer.get(..written).unwrap_or_default());
                self.buffer.advance(written);
            }
            ready!(self.poll_read(cx, from, to))?;
        }
        self.poll_end(cx, to)
    }

    /// Whether some of what was read has not gone out. What TLS holds is brought out as far as that can be done at once.
    pub(super) fn has_rest(&self, to: &mut impl Endpoint) -> bool {
        !self.buffer.is_empty() || !matches!(poll_at_once(|cx| to.poll_flush(cx)), Poll::Ready(Ok(())))
    }

    /// Ends the direction in good order: what is under way of a frame goes first, then `close`, then the end. Ready when
    /// that has gone out.
    pub(super) fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&mut impl Endpoint, &mut impl Endpoint),
        close: &[u8],
    ) -> Poll<Result<(), Broken>> {
        let mut rounds = 0;
        while self.state == State::Open {
            if rounds == ROUNDS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            rounds += 1;
            if !self.is_closing && self.frames.is_between() {
                // Behind a close frame of its own there is nothing to say.
                let close = if self.frames.has_closed() { &[] } else { close };
                (self.buffer, self.is_closing) = (Buffer::copy_of(close), true);
            }
            if self.buffer.is_empty() {
                if self.is_closing {
                    self.state = State::Ending;
                } else {
                    ready!(self.poll_read(cx, from, to))?;
                }
                continue;
            }
            let most =
                if self.is_closing { self.buffer.len() } else { self.frames.clone().take(&self.buffer) };
            let written = ready!(self.poll_write(cx, to, most))?;
            if !self.is_closing {
                self.frames.take_all(self.buffer.get(..written).unwrap_or_default());
            }
            self.buffer.advance(written);
        }
        self.poll_end(cx, to)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut impl Endpoint,
        most: usize,
    ) -> Poll<Result<usize, Broken>> {
        let some = self.buffer.get(..most).unwrap_or_default();
        let written = ready!(to.poll_write(cx, some)).map_err(Broken::Sink)?;
        if written == 0 {
            return Poll::Ready(Err(Broken::Sink(io::ErrorKind::WriteZero.into())));
        }
        self.bytes += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Endpoint,
        to: &mut impl Endpoint,
    ) -> Poll<Result<(), Broken>> {
        match from.poll_read(cx) {
            Poll::Ready(buffer) => self.buffer = buffer.map_err(Broken::Source)?,
            Poll::Pending => {
                // Empty, but of full size: who waits holds nothing.
                self.buffer = Buffer::default();
                let _ = to.poll_flush(cx).map_err(Broken::Sink)?;
                return Poll::Pending;
            }
        }
        if self.buffer.is_empty() {
            self.buffer = Buffer::default();
            self.state = State::Ending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>, to: &mut impl Endpoint) -> Poll<Result<(), Broken>> {
        if self.state == State::Ending {
            ready!(to.poll_flush(cx)).map_err(Broken::Sink)?;
            ready!(to.poll_end(cx)).map_err(Broken::Sink)?;
            self.state = State::Done;
        }
        Poll::Ready(Ok(()))
    }
}
