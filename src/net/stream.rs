//! A connection's byte stream, whatever carries it.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
    task::coop::unconstrained,
};

use super::buffer::Buffer;

/// Bytes without TLS.
#[derive(Debug)]
pub enum Plain {
    /// TCP.
    Tcp(TcpStream),
    /// A unix stream socket.
    Unix(UnixStream),
}

impl Plain {
    /// The socket, which the event loop knows no longer.
    ///
    /// # Errors
    ///
    /// The kernel refuses to forget it.
    pub fn into_socket(self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(OwnedFd::from),
            Self::Unix(stream) => stream.into_std().map(OwnedFd::from),
        }
    }

    /// Ready once the socket is ready to be read from, or written to, as far as the event loop knows.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        match (self, interest.is_readable()) {
            (Self::Tcp(stream), true) => stream.poll_read_ready(cx),
            (Self::Tcp(stream), false) => stream.poll_write_ready(cx),
            (Self::Unix(stream), true) => stream.poll_read_ready(cx),
            (Self::Unix(stream), false) => stream.poll_write_ready(cx),
        }
    }

    /// Does something with the socket; where that would block, the event loop is told that it is not ready.
    pub(super) fn try_io<R>(
        &self,
        interest: Interest,
        step: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        match self {
            Self::Tcp(stream) => stream.try_io(interest, step),
            Self::Unix(stream) => stream.try_io(interest, step),
        }
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A connection's byte stream.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS.
    Plain(Plain),
    /// With TLS, we being the server.
    TlsServer(Box<tokio_rustls::server::TlsStream<Plain>>),
    /// With TLS, we being the client.
    TlsClient(Box<tokio_rustls::client::TlsStream<Plain>>),
}

impl Stream {
    /// Reads what has come into a buffer of the worker's pool; an empty buffer is the end of the stream.
    pub fn poll_buffer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>> {
        let mut buffer = Buffer::take();
        let mut into = ReadBuf::new(buffer.room());
        ready!(Pin::new(self).poll_read(cx, &mut into))?;
        let length = into.filled().len();
        buffer.filled(length);
        Poll::Ready(Ok(buffer))
    }

    /// Whether nothing has come that was not read. Plain streams are asked without a system call, by what the event loop
    /// already knows.
    pub fn is_quiet(&mut self) -> bool {
        let something = poll_at_once(|cx| match self {
            Self::Plain(plain) => plain.poll_ready(cx, Interest::READABLE).map(drop),
            // Session tickets come at any time, and are not the end.
            Self::TlsServer(_) | Self::TlsClient(_) => self.poll_buffer(cx).map(drop),
        });
        something.is_pending()
    }

    /// Writes some of two slices as if they were one.
    pub fn poll_write_two(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(self);
        match (first.is_empty(), second.is_empty()) {
            (true, _) => stream.poll_write(cx, second),
            (_, true) => stream.poll_write(cx, first),
            _ => stream.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)]),
        }
    }

    /// The protocol that was agreed on by ALPN (RFC 7301), where there is TLS and one was.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::TlsServer(stream) => stream.get_ref().1.alpn_protocol(),
            Self::TlsClient(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// Has the connection reset when it is dropped, and not ended: the other end shall not take what came for all.
    pub fn reset(&self) {
        if let Plain::Tcp(stream) = self.plain() {
            // Where that fails the connection is gone.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// What carries the bytes, below TLS where there is some.
    pub(super) fn plain(&self) -> &Plain {
        match self {
            Self::Plain(plain) => plain,
            Self::TlsServer(stream) => stream.get_ref().0,
            Self::TlsClient(stream) => stream.get_ref().0,
        }
    }

    /// Tells the other end of a TLS connection that nothing was cut off (RFC 8446 §6.1), as far as that
    /// can be done at once; without TLS the kernel says so.
    pub fn say_goodbye(&mut self) {
        match self {
            Self::Plain(_) => return,
            Self::TlsServer(stream) => stream.get_mut().1.send_close_notify(),
            Self::TlsClient(stream) => stream.get_mut().1.send_close_notify(),
        }
        let _ = poll_at_once(|cx| Pin::new(&mut *self).poll_flush(cx));
    }
}

/// Polls once for what is there now, and waits for nothing. What the task has done before does not count: where its budget
/// is used up tokio has everything wait, and that nothing is there yet would be concluded from it.
pub fn poll_at_once<R>(poll: impl FnMut(&mut Context<'_>) -> Poll<R>) -> Poll<R> {
    pin!(unconstrained(poll_fn(poll))).poll(&mut Context::from_waker(Waker::noop()))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::TlsServer(stream) => Pin::new(stream).poll_read(cx, into),
            Self::TlsClient(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::TlsServer(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::TlsClient(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::TlsServer(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::TlsClient(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::TlsServer(stream) => Pin::new(stream).poll_flush(cx),
            Self::TlsClient(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::TlsServer(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::TlsClient(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
