//! One direction of a tunnel: copied, or, once it carries much, spliced.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

use super::pipe::Pipe;
use crate::net::{Buffer, Plain, Stream, buffer, poll_at_once};

/// Which end of a direction broke, and how.
pub(super) enum Broken {
    /// What it reads from.
    Source(io::Error),
    /// What it writes to.
    Sink(io::Error),
}

/// One direction of a tunnel.
#[derive(Debug)]
pub(super) struct Direction {
    /// What was read and is not written yet.
    pub(super) buffer: Buffer,
    /// Bytes that were written.
    pub(super) bytes: u64,
    /// Whether some of them went through a pipe.
    pub(super) has_spliced: bool,
    pub(super) state: State,
    /// Buffers in a row that a read filled.
    full: u8,
    /// What it goes through while it is spliced. Boxed, since those that wait have none.
    pipe: Option<Box<Pipe>>,
    /// Whether the kernel cannot splice these sockets, such as those of MPTCP where it is old.
    is_copied: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Open,
    /// The source ended; so the sink's writing side is closed, and the other direction goes on.
    Ending,
    Done,
}

/// So many full buffers in a row say that there is much to carry.
const MANY: u8 = 2;
/// Reads after which others have their turn.
const ROUNDS: usize = 16;
/// What is spliced at once and is less is copied from then on: for little, a pipe costs two system calls more.
const LITTLE: usize = 32 * 1024;

impl Direction {
    pub(super) fn new(buffer: Buffer) -> Self {
        Self {
            buffer,
            bytes: 0,
            has_spliced: false,
            state: State::Open,
            full: 0,
            pipe: None,
            is_copied: false,
        }
    }

    /// Carries on; ready when the source ended, and all of it and its end are passed on. `is_last` says that the other
    /// direction is done: both sockets are closed then, which tells the sink without a call of its own.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        is_last: bool,
    ) -> Poll<Result<(), Broken>> {
        let mut rounds = 0;
        while self.state == State::Open {
            if rounds == ROUNDS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            rounds += 1;
            ready!(self.poll_round(cx, from, to))?;
        }
        if self.state == State::Ending {
            // The sink was read to its end, so that closing it sends no reset. Over TLS there is something to say.
            if !(is_last && matches!(to, Stream::Plain(_))) {
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Broken::Sink)?;
            }
            self.state = State::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether its source ended, and that is passed on.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether some of what was read has not gone out: who is told that it is over would take what came for all. What TLS
    /// holds is brought out as far as that can be done at once.
    pub(super) fn has_rest(&self, to: &mut Stream) -> bool {
        let flushed = poll_at_once(|cx| Pin::new(&mut *to).poll_flush(cx));
        let is_piped = self.pipe.as_ref().is_some_and(|pipe| !pipe.is_empty());
        is_piped || !self.buffer.is_empty() || !matches!(flushed, Poll::Ready(Ok(())))
    }

    /// Writes what there is, and splices or reads once.
    fn poll_round(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<Result<(), Broken>> {
        ready!(self.poll_write(cx, to))?;
        if self.full >= MANY
            && !self.is_copied
            && let (Stream::Plain(source), Stream::Plain(sink)) = (&*from, &*to)
            && ready!(self.poll_splice(cx, source, sink))?
        {
            return Poll::Ready(Ok(()));
        }
        self.poll_read(cx, from, to)
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<Result<(), Broken>> {
        match from.poll_buffer(cx) {
            Poll::Ready(buffer) => self.buffer = buffer.map_err(Broken::Source)?,
            Poll::Pending => {
                // Empty, but of full size: who waits holds nothing.
                self.buffer = Buffer::default();
                let _ = Pin::new(&mut *to).poll_flush(cx).map_err(Broken::Sink)?;
                return Poll::Pending;
            }
        }
        self.full = if self.buffer.len() == buffer::SIZE { self.full.saturating_add(1) } else { 0 };
        if self.buffer.is_empty() {
            // What the end was read into is of full size, and the other direction may go on for hours.
            self.buffer = Buffer::default();
            self.state = State::Ending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<Result<(), Broken>> {
        while !self.buffer.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer)).map_err(Broken::Sink)?;
            if written == 0 {
                return Poll::Ready(Err(Broken::Sink(io::ErrorKind::WriteZero.into())));
            }
            self.bytes += written as u64;
            self.buffer.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Carries what a pipe holds, and fills it once; false where nothing could be carried so, and a read is to say why.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        source: &Plain,
        sink: &Plain,
    ) -> Poll<Result<bool, Broken>> {
        // The memory that a read was tried with goes back.
        self.buffer = Buffer::default();
        let Some(pipe) = self.pipe.take().or_else(|| Pipe::take().map(Box::new)) else {
            // Without a pipe it is copied, until much has come again.
            self.full = 0;
            return Poll::Ready(Ok(false));
        };
        let pipe = self.pipe.insert(pipe);
        let mut filled = None;
        if pipe.is_empty() {
            match pipe.poll_fill(cx, source) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                    // Nothing was moved.
                    (self.pipe, self.full, self.is_copied) = (None, 0, true);
                    return Poll::Ready(Ok(false));
                }
                // Empty, so that another tunnel may use it meanwhile.
                Poll::Ready(Ok(0)) => {
                    self.pipe = None;
                    return Poll::Ready(Ok(false));
                }
                Poll::Pending => {
                    self.pipe = None;
                    return Poll::Pending;
                }
                Poll::Ready(result) => filled = Some(result.map_err(Broken::Source)?),
            }
        }
        while !pipe.is_empty() {
            self.bytes += ready!(pipe.poll_drain(cx, sink)).map_err(Broken::Sink)? as u64;
            self.has_spliced = true;
        }
        if filled.is_some_and(|filled| filled < LITTLE) {
            (self.pipe, self.full) = (None, 0);
        }
        Poll::Ready(Ok(true))
    }
}
