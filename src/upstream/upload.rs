//! The request body on its way to a backend, and what is kept of it for another attempt.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::carrier::Carrier;
use crate::{
    account::{self, Held, Owner},
    error::{Kind, ProxyError, Result},
    exchange::Downstream,
    fields::Fields,
    h1::trailers::Withheld,
    net::{BodyFrame, BodyWriter, Buffer},
};

/// How far sending a request body is. One upload serves every attempt of an exchange; the default is that of no body.
#[derive(Debug)]
pub struct Upload {
    outgoing: BodyWriter,
    chunked: bool,
    buffer: Buffer,
    /// What came so far, while it is small enough to be sent again.
    replay: Option<Replay>,
    replay_limit: usize,
    /// What came behind the body, for another attempt.
    trailers: Option<Box<Fields>>,
    held: Held,
    /// How much of the replay the present attempt was given.
    replayed: usize,
    /// Most bytes that the listener takes; 0 is unlimited.
    limit: u64,
    /// Bytes that came from the client.
    pub bytes: u64,
    /// The body's end came from the client.
    is_ended: bool,
    /// The body's end was given to the present attempt.
    is_sent: bool,
    /// The backend takes no more; the rest of the body goes nowhere.
    is_refused: bool,
    /// Some of what is kept was given to an attempt.
    is_given: bool,
    /// What its trailers may not have.
    withheld: Withheld,
}

/// What is kept of a body.
#[derive(Debug)]
enum Replay {
    /// What came so far.
    Growing(Vec<u8>),
    /// All of it; boxed, since what nearly every request has is moved with the room of both.
    Whole(Box<Bytes>),
}

impl Replay {
    fn len(&self) -> usize {
        match self {
            Self::Growing(kept) => kept.len(),
            Self::Whole(body) => body.len(),
        }
    }

    /// What is there from `start` on.
    fn from(&self, start: usize) -> Buffer {
        match self {
            Self::Growing(kept) => Buffer::copy_of(kept.get(start..).unwrap_or_default()),
            Self::Whole(body) => Buffer::shared(body.slice(start.min(body.len())..)),
        }
    }
}

/// What [`Upload::poll`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing: all of it is sent.
    Nothing,
    /// The client, for more of the body.
    Client,
    /// The backend, to take what is there.
    Backend,
}

impl Default for Upload {
    fn default() -> Self {
        Self::new(false, false, 0, 0)
    }
}

impl Upload {
    /// Of a body that goes upstream in chunks, or by length; `limit` and `replay_limit` are in bytes.
    #[inline]
    pub fn new(has_body: bool, chunked: bool, limit: u64, replay_limit: usize) -> Self {
        Self {
            outgoing: BodyWriter::new(chunked),
            chunked,
            buffer: Buffer::default(),
            replay: (replay_limit > 0).then(|| Replay::Growing(Vec::new())),
            replay_limit,
            trailers: None,
            held: Held::new(Owner::Replays, 0),
            replayed: 0,
            limit,
            bytes: 0,
            is_ended: !has_body,
            is_sent: !has_body,
            is_refused: false,
            is_given: false,
            withheld: Withheld::default(),
        }
    }

    /// Of a body that is here whole, with what came behind it: it goes upstream in chunks where that is something, and else
    /// by length. `held` is what it holds of memory.
    pub fn of_whole((body, trailers): (Bytes, Option<Box<Fields>>), held: Held) -> Self {
        let (bytes, chunked) = (body.len() as u64, trailers.is_some());
        let (replay, is_sent) = (Some(Replay::Whole(Box::new(body))), bytes == 0 && !chunked);
        Self { replay, trailers, held, bytes, is_ended: true, is_sent, ..Self::new(true, chunked, 0, 0) }
    }

    /// Has trailers of these names go no further.
    pub fn withhold(&mut self, names: &Withheld) {
        self.withheld = names.clone();
    }

    /// Whether all of the body was given to the present attempt.
    pub fn is_sent(&self) -> bool {
        self.is_sent
    }

    /// How many of its bytes went on, about.
    pub fn progress(&self) -> u64 {
        self.bytes.saturating_sub(self.buffer.len() as u64)
    }

    /// Whether the backend takes no more of it.
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Whether the body is read to its end.
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether another attempt could send the whole body.
    pub fn is_replayable(&self) -> bool {
        self.replay.is_some() || self.bytes == 0
    }

    /// Most bytes that may come; 0 is unlimited.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether any of it may have gone on, by whichever attempt.
    pub fn is_begun(&self) -> bool {
        match self.replay {
            Some(Replay::Whole(_)) => self.is_given,
            Some(Replay::Growing(_)) | None => self.bytes > 0,
        }
    }

    /// The body and what came behind it, where it was here whole before any of it went on.
    pub fn whole(&self) -> Option<(&Bytes, Option<&Fields>)> {
        match &self.replay {
            Some(Replay::Whole(body)) => {
                let body: &Bytes = body;
                Some((body, self.trailers.as_deref()))
            }
            Some(Replay::Growing(_)) | None => None,
        }
    }

    /// Begins another attempt. Only when [`Upload::is_replayable`].
    pub fn begin_again(&mut self) {
        self.outgoing = BodyWriter::new(self.chunked);
        self.buffer = Buffer::default();
        self.replayed = 0;
        self.is_sent = self.is_ended && self.bytes == 0 && !self.chunked && self.trailers.is_none();
        self.is_refused = false;
    }

    /// Sends what came. Errors are the client's; a backend that takes nothing more is no error here,
    /// since it may have answered already.
    pub fn poll<D: Downstream, C: Carrier>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut D,
        stream: &mut C,
    ) -> Result<Waiting> {
        loop {
            if self.is_sent || self.is_refused {
                return Ok(Waiting::Nothing);
            }
            match stream.poll_send(cx, &mut self.outgoing, &mut self.buffer) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    self.is_refused = true;
                    return Ok(Waiting::Nothing);
                }
                Poll::Pending => return Ok(Waiting::Backend),
            }
            if let Some(kept) = self.replay.as_ref().filter(|kept| self.replayed < kept.len()) {
                self.buffer = kept.from(self.replayed);
                self.replayed = kept.len();
                self.is_given = true;
                continue;
            }
            if self.is_ended {
                stream.end(&mut self.outgoing, self.trailers.as_deref());
                self.is_sent = true;
                return Ok(Waiting::Nothing);
            }
            match client.poll_body(cx) {
                Poll::Ready(piece) => self.take(piece?, stream)?,
                Poll::Pending => {
                    // Empty, but of full size: who waits holds nothing.
                    self.buffer = Buffer::default();
                    return Ok(Waiting::Client);
                }
            }
        }
    }

    fn take<C: Carrier>(&mut self, piece: BodyFrame, stream: &mut C) -> Result<()> {
        match piece {
            BodyFrame::Data(buffer) => {
                self.bytes += buffer.len() as u64;
                if self.limit > 0 && self.bytes > self.limit {
                    return Err(ProxyError::new(Kind::BodyTooLarge));
                }
                match &mut self.replay {
                    Some(Replay::Growing(kept))
                        if kept.len() + buffer.len() <= self.replay_limit && !account::is_full() =>
                    {
                        self.held.grow(buffer.len());
                        kept.extend_from_slice(&buffer);
                        self.replayed = kept.len();
                    }
                    kept => {
                        *kept = None;
                        self.held = Held::new(Owner::Replays, 0);
                    }
                }
                self.buffer = buffer;
            }
            BodyFrame::End(mut trailers) => {
                if let Some(trailers) = &mut trailers
                    && let Some(left) = self.withheld.taken_out_of(trailers)
                {
                    **trailers = left;
                }
                self.is_ended = true;
                self.is_sent = true;
                stream.end(&mut self.outgoing, trailers.as_deref());
                self.trailers = trailers.filter(|_| self.is_replayable());
            }
        }
        Ok(())
    }
}
