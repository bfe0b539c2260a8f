//! Sending a body over a [`Http1Stream`], by length or in chunks.

use std::{
    io,
    task::{Context, Poll, ready},
};

use super::{buffer::Buffer, http1_stream::Http1Stream};
use crate::{fields::Fields, h1::chunked};

/// How far sending a body is.
#[derive(Clone, Copy, Debug, Default)]
pub struct BodyWriter {
    chunked: bool,
    begun: bool,
}

impl BodyWriter {
    /// A body that will be sent in chunks, or as it is.
    pub fn new(chunked: bool) -> Self {
        Self { chunked, begun: false }
    }

    /// Sends some of the body; ready when all of `buffer` is gathered or written. To be called again
    /// with the same buffer until then.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Http1Stream,
        buffer: &mut Buffer,
    ) -> Poll<io::Result<()>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.chunked && !self.begun {
            stream.begin_chunk(buffer.len());
            self.begun = true;
        }
        ready!(stream.poll_data(cx, buffer))?;
        if self.chunked {
            stream.output().extend_from_slice(b"\r\n");
            self.begun = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Gathers the end of the body. Trailers can only go with chunks.
    pub fn end(&mut self, stream: &mut Http1Stream, trailers: Option<&Fields>) {
        if self.chunked {
            chunked::write_end(trailers, stream.output());
        }
    }
}
