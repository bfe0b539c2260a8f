//! One HTTP/1.1 connection's bytes, whichever end of it we are: heads and bodies in, heads and bodies
//! out. `http::h1` speaks over it with clients, `upstream::attempt` with backends.
//!
//! Invariants: `input` holds only what came and was not used; while idle both buffers are empty and own
//! no memory. Small writes gather in `output` until [`Http1Stream::poll_flush`], so that a head and the first
//! bytes of its body leave in one write.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

use super::{buffer::Buffer, stream::Stream};
use crate::{
    fields::Fields,
    h1::{Chunk, Decoder, Framing, HeadError, Message, chunked},
};

/// What is smaller than this is gathered with what comes before it; larger buffers are written from
/// where they are.
const GATHER: usize = 16 * 1024;

/// Outputs that a worker keeps for the next that write, and how large they may be.
const MOST_SPARE: usize = 64;
const MOST_KEPT: usize = 4 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A connection's stream and what is between it and the codec.
#[derive(Debug)]
pub struct Http1Stream {
    /// The stream.
    pub stream: Stream,
    input: Buffer,
    output: Vec<u8>,
    written: usize,
    /// Nothing was written since all had left. What TLS holds is not in `output`.
    is_flushed: bool,
}

/// What a body gave.
#[derive(Debug)]
pub enum BodyFrame {
    /// Some of its bytes.
    Data(Buffer),
    /// Its end, with trailers if there were some.
    End(Option<Box<Fields>>),
}

/// Why a body could not be read to its end.
#[derive(Debug)]
pub enum BodyError {
    /// The stream failed.
    Io(io::Error),
    /// The stream ended first.
    Early,
    /// It breaks the chunked coding.
    Malformed(HeadError),
}

/// How far reading a body is.
#[derive(Debug)]
pub enum BodyReader {
    /// Read to its end.
    Done,
    /// This many bytes are to come.
    Length(u64),
    /// In chunks.
    Chunked(Box<Decoder>),
    /// Until the stream ends.
    UntilClose,
}

impl BodyReader {
    /// A reader at the beginning of a body of this framing.
    pub fn new(framing: Framing, of: Message) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::new(Decoder::of(of))),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Whether there is nothing more to read.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

impl Http1Stream {
    /// A new connection, of which `input` was read already.
    pub fn new(stream: Stream, input: Buffer) -> Self {
        Self { stream, input, output: Vec::new(), written: 0, is_flushed: true }
    }

    /// What came and was not used.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Whether more came than was asked for: a body where there is none, say. What follows would be read as the next answer.
    pub fn has_rest(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether nothing came since the last message. An end, an answer to nothing, and what came with the last message
    /// beyond its end all make an idle connection useless.
    pub fn is_quiet(&mut self) -> bool {
        self.input.is_empty() && self.stream.is_quiet()
    }

    /// Uses up the first `length` bytes of [`Http1Stream::input`].
    pub fn consume(&mut self, length: usize) {
        self.input.advance(length);
        if self.input.is_empty() {
            self.input = Buffer::default();
        }
    }

    /// Takes all of the input, for a tunnel.
    pub fn take_input(&mut self) -> Buffer {
        std::mem::take(&mut self.input)
    }

    /// Reads more input; false at the end of the stream. Before it says that it waits, it gives back
    /// memory that it does not need.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Poll::Ready(buffer) = self.stream.poll_buffer(cx) else {
            self.input.shrink();
            return Poll::Pending;
        };
        let buffer = buffer?;
        if buffer.is_empty() {
            return Poll::Ready(Ok(false));
        }
        if self.input.is_empty() {
            self.input = buffer;
        } else {
            self.input.append(&buffer);
        }
        Poll::Ready(Ok(true))
    }

    /// The next of a body.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut BodyReader,
    ) -> Poll<Result<BodyFrame, BodyError>> {
        loop {
            if let BodyReader::Done = body {
                return Poll::Ready(Ok(BodyFrame::End(None)));
            }
            if self.input.is_empty() && !ready!(self.poll_fill(cx)).map_err(BodyError::Io)? {
                if let BodyReader::UntilClose = body {
                    *body = BodyReader::Done;
                    return Poll::Ready(Ok(BodyFrame::End(None)));
                }
                return Poll::Ready(Err(BodyError::Early));
            }
            if let Some(piece) = self.cut(body)? {
                return Poll::Ready(Ok(piece));
            }
        }
    }

    /// Cuts the next piece of a body from the input; `None` when all of it was framing.
    fn cut(&mut self, body: &mut BodyReader) -> Result<Option<BodyFrame>, BodyError> {
        match body {
            BodyReader::Done => Ok(Some(BodyFrame::End(None))),
            BodyReader::UntilClose => Ok(Some(BodyFrame::Data(self.take_input()))),
            BodyReader::Length(left) => {
                let length = self.input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                if *left == 0 {
                    *body = BodyReader::Done;
                }
                Ok(Some(BodyFrame::Data(self.take_first(length))))
            }
            BodyReader::Chunked(decoder) => match decoder.next(&self.input).map_err(BodyError::Malformed)? {
                Chunk::Data { skip, length } => {
                    self.input.advance(skip);
                    Ok(Some(BodyFrame::Data(self.take_first(length))))
                }
                Chunk::More => {
                    self.input = Buffer::default();
                    Ok(None)
                }
                Chunk::End(used) => {
                    let trailers = decoder.take_trailers().map_err(BodyError::Malformed)?;
                    self.consume(used);
                    *body = BodyReader::Done;
                    Ok(Some(BodyFrame::End(trailers.map(Box::new))))
                }
            },
        }
    }

    /// The first `length` bytes of the input; the smaller side of the cut is copied.
    fn take_first(&mut self, length: usize) -> Buffer {
        if length == self.input.len() {
            return self.take_input();
        }
        if length <= self.input.len() / 2 {
            let first = Buffer::copy_of(self.input.get(..length).unwrap_or_default());
            self.input.advance(length);
            return first;
        }
        let rest = self.input.split_off(length);
        std::mem::replace(&mut self.input, rest)
    }

    /// Where heads are written; they leave with [`Http1Stream::poll_flush`] or the first data.
    pub fn output(&mut self) -> &mut Vec<u8> {
        self.is_flushed = false;
        if self.output.capacity() == 0 {
            self.output = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        &mut self.output
    }

    /// Whether everything written has left, as far as [`Http1Stream::poll_flush`] has brought it.
    pub fn is_flushed(&self) -> bool {
        self.is_flushed
    }

    /// Adds the line before a chunk of this length.
    pub fn begin_chunk(&mut self, length: usize) {
        self.is_flushed = false;
        chunked::write_size(length, &mut self.output);
    }

    /// Writes a buffer of body; ready when it is gathered or written whole.
    pub fn poll_data(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<io::Result<()>> {
        while !buffer.is_empty() {
            self.is_flushed = false;
            let waiting = self.output.len() - self.written;
            if waiting + buffer.len() <= GATHER {
                self.output.extend_from_slice(buffer);
                break;
            }
            let first = self.output.get(self.written..).unwrap_or_default();
            let mut length = ready!(self.stream.poll_write_two(cx, first, buffer))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_output = length.min(waiting);
            self.written += of_output;
            length -= of_output;
            if self.written == self.output.len() {
                self.forget_output();
            }
            buffer.advance(length);
        }
        *buffer = Buffer::default();
        Poll::Ready(Ok(()))
    }

    /// Writes everything that is gathered.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let rest = self.output.get(self.written..).unwrap_or_default();
            let length = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += length;
        }
        self.forget_output();
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    /// Gives back the memory of buffers; to be called before a long wait.
    pub fn rest(&mut self) {
        if self.output.is_empty() {
            let output = std::mem::take(&mut self.output);
            SPARE.with_borrow_mut(|spare| {
                if (1..=MOST_KEPT).contains(&output.capacity()) && spare.len() < MOST_SPARE {
                    spare.push(output);
                }
            });
        }
        self.input.shrink();
    }

    fn forget_output(&mut self) {
        self.output.clear();
        self.written = 0;
    }
}
