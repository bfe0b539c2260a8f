//! One end of a tunnel, whatever carries it: a connection, or a stream of one that others share.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;

use crate::net::{Buffer, Stream};

/// One end of a tunnel.
pub trait Endpoint {
    /// Reads what has come; an empty buffer is the end of what the other side sends.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>>;

    /// Takes some of these bytes; gives how many.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Brings out what was taken.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Says that no more comes; the other direction goes on.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when the other side has broken off, where that can be known without reading.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Breaks off, so that the other side does not take what came for all.
    fn reset(&mut self);
}

impl Endpoint for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>> {
        self.poll_buffer(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_flush(cx)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(cx)
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn reset(&mut self) {
        Self::reset(self);
    }
}
