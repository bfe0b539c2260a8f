//! The backend's end of a tunnel: a connection of its own, or a stream of one that others share.

use std::{
    io,
    task::{Context, Poll},
};

use crate::{
    http2_transport::RequestStream,
    net::{Buffer, Http1Stream, tunnel::Endpoint},
};

/// What a backend has switched to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchedTo {
    /// WebSocket, whose frames are known.
    WebSocket,
    /// Another protocol, or what CONNECT leads to.
    Other,
}

/// The backend's end of a tunnel.
#[derive(Debug)]
pub enum Switched {
    /// A connection that was one of HTTP/1.1.
    Http1(Http1Stream),
    /// A stream of HTTP/2 (RFC 8441).
    Http2(RequestStream),
}

impl Switched {
    /// What came behind the head of the response.
    pub fn take_input(&mut self) -> Buffer {
        match self {
            Self::Http1(stream) => stream.take_input(),
            Self::Http2(_) => Buffer::default(),
        }
    }
}

impl Endpoint for Switched {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>> {
        match self {
            Self::Http1(stream) => stream.stream.poll_read(cx),
            Self::Http2(stream) => stream.poll_read(cx),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Http1(stream) => stream.stream.poll_write(cx, bytes),
            Self::Http2(stream) => stream.poll_write(cx, bytes),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1(stream) => stream.stream.poll_flush(cx),
            Self::Http2(stream) => stream.poll_flush(cx),
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1(stream) => stream.stream.poll_end(cx),
            Self::Http2(stream) => stream.poll_end(cx),
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(stream) => stream.stream.poll_gone(cx),
            Self::Http2(stream) => stream.poll_gone(cx),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Http1(stream) => stream.stream.reset(),
            Self::Http2(stream) => stream.reset(),
        }
    }
}
