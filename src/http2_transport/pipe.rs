//! The bytes of a connection: read into its codec, and written from it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::Link;
use crate::{
    http2::ConnectionError,
    moment::Moment,
    net::{Buffer, Stream},
};

/// A connection's stream, and what came over it and was not used.
#[derive(Debug)]
pub struct Pipe {
    /// The stream.
    pub stream: Stream,
    /// The beginning of a frame.
    input: Buffer,
    /// Nobody has looked at it yet.
    is_input_new: bool,
}

impl Pipe {
    /// Of a stream from which `input` was read already.
    pub fn new(stream: Stream, input: Buffer) -> Self {
        Self { stream, input, is_input_new: true }
    }

    /// Reads what has come behind what is there; false at the end of the stream. Once the codec's connection is over,
    /// nothing is read: only what is to be written is waited for.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<io::Result<bool>> {
        if std::mem::take(&mut self.is_input_new) && !self.input.is_empty() {
            return Poll::Ready(Ok(true));
        }
        if link.codec().is_over() {
            return Poll::Pending;
        }
        let kept = self.input.len();
        let mut buffer = Buffer::take();
        let Some((start, room)) = buffer.room().split_at_mut_checked(kept) else {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        };
        let mut into = ReadBuf::new(room);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut into))?;
        let length = into.filled().len();
        if length == 0 {
            return Poll::Ready(Ok(false));
        }
        start.copy_from_slice(&self.input);
        buffer.filled(kept + length);
        self.input = buffer;
        Poll::Ready(Ok(true))
    }

    /// Has the codec look at what came; `None` where there is nothing, or nothing that counts any more.
    pub fn take_input(&mut self, link: &Link) -> Option<Result<(), ConnectionError>> {
        let mut codec = link.codec();
        if self.input.is_empty() || codec.is_over() {
            return None;
        }
        let used = codec.receive(&self.input, Moment::now());
        drop(codec);
        let used = match used {
            Ok(used) => used,
            Err(error) => return Some(Err(error)),
        };
        self.input.advance(used);
        // Empty, but of full size: who waits holds nothing.
        match self.input.is_empty() {
            true => self.input = Buffer::default(),
            false => self.input.shrink(),
        }
        Some(Ok(()))
    }

    /// Writes what there is to write; ready when all of it is gone.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<io::Result<()>> {
        let mut codec = link.codec();
        let mut is_changed = false;
        let result = loop {
            let waiting = codec.output().waiting();
            if waiting.is_empty() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.stream).poll_write(cx, waiting) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(length)) => {
                    codec.output().advance(length);
                    is_changed = true;
                }
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        if is_changed {
            codec.written();
        }
        ready!(result)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}
