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

    /// Sends some of the body; ready when all of `block` is gathered or written. To be called again
    /// with the same block until then.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Http1Stream,
        block: &mut Buffer,
    ) -> Poll<io::Result<()>> {
        if block.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.chunked && !self.begun {
            wire.begin_chunk(block.len());
            self.begun = true;
        }
        ready!(wire.poll_data(cx, block))?;
        if self.chunked {
            wire.output().extend_from_slice(b"\r\n");
            self.begun = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Gathers the end of the body. Trailers can only go with chunks.
    pub fn end(&mut self, wire: &mut Http1Stream, trailers: Option<&Fields>) {
        if self.chunked {
            chunked::write_end(trailers, wire.output());
        }
    }
}
