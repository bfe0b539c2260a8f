//! One exchange with a backend: a stream.

use std::{
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

use super::backend::BackendConnection;
use crate::{
    fields::Fields,
    h1::ResponseHead,
    http2::{Body, Fault, Reason, RequestStart, RequestWriter},
    moment::Moment,
    net::{BodyFrame, Buffer, tunnel::Endpoint},
};

/// A stream whose request's head is sent. Dropped before both sides have ended, it is cancelled; its connection goes on.
#[derive(Debug)]
pub struct RequestStream {
    connection: Rc<BackendConnection>,
    id: u32,
    /// Bytes of the body that were handed out last: once the next are asked for, they have gone on.
    taken: usize,
}

impl RequestStream {
    /// Opens a stream, where that may be done now; `fields` writes what follows the pseudo-fields.
    pub fn open(
        connection: &Rc<BackendConnection>,
        start: &RequestStart<'_>,
        fields: impl FnOnce(&mut RequestWriter<'_>),
    ) -> Option<Self> {
        let mut codec = connection.link.codec();
        let mut writer = codec.open(start)?;
        fields(&mut writer);
        let id = writer.finish();
        drop(codec);
        connection.link.wake();
        Some(Self { connection: connection.clone(), id, taken: 0 })
    }

    /// Whether its connection has carried another before.
    pub fn is_of_used_connection(&self) -> bool {
        self.id > 1
    }

    /// Whether its connection takes others still.
    pub fn takes_streams(&self) -> bool {
        self.connection.takes_streams()
    }

    /// Why it ended, for people: `reason`, or what became of its connection.
    pub fn why(&self, reason: Reason) -> String {
        match (reason, self.connection.failure()) {
            (Reason::NO_ERROR, Some(failure)) if !failure.why.is_empty() => failure.why,
            (Reason::NO_ERROR, _) => "the connection was closed".into(),
            (reason, _) => format!("the backend reset the stream: {}", reason.name()),
        }
    }

    /// Has its connection take no more streams.
    pub fn retire_connection(&self) {
        self.connection.retire();
    }

    /// The next head of a response: interim ones, and then the final one.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Fault>> {
        self.connection.link.codec().poll_head(self.id, cx)
    }

    /// The length of the response's body, where it is known.
    pub fn body_length(&self) -> Option<u64> {
        self.connection.link.codec().body_length(self.id)
    }

    /// The next of the response's body. The backend may send more of it once what came has gone on.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame, Fault>> {
        let link = &self.connection.link;
        let mut codec = link.codec();
        if self.taken > 0 {
            codec.passed_on(self.id, std::mem::take(&mut self.taken));
            if !codec.output().waiting().is_empty() {
                link.wake();
            }
        }
        Poll::Ready(Ok(match ready!(codec.poll_body(self.id, cx))? {
            Body::Data(data) => {
                self.taken = data.len();
                BodyFrame::Data(data)
            }
            Body::End(trailers) => BodyFrame::End(trailers),
        }))
    }

    /// Sends some of the request's body; ready when all of `buffer` is taken.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<(), Fault>> {
        let link = &self.connection.link;
        while !buffer.is_empty() {
            let length = ready!(link.codec().poll_send(self.id, cx, buffer))?;
            link.wake();
            buffer.advance(length);
        }
        *buffer = Buffer::default();
        Poll::Ready(Ok(()))
    }

    /// Ends the request's body. What the backend does not want any more is noticed by what is read.
    pub fn end(&mut self, trailers: Option<&Fields>) {
        let link = &self.connection.link;
        let _ = link.codec().end_response(self.id, trailers);
        link.wake();
    }
}

/// What came of a fault is told by [`RequestStream::why`] where somebody asks.
fn broken(fault: Fault) -> io::Error {
    match fault {
        Fault::Gone(reason) => io::Error::new(io::ErrorKind::ConnectionReset, reason.name()),
        Fault::Broken(what) | Fault::Malformed(what) => io::Error::new(io::ErrorKind::InvalidData, what),
    }
}

impl Endpoint for RequestStream {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>> {
        Poll::Ready(match ready!(self.poll_body(cx)).map_err(broken)? {
            BodyFrame::Data(data) => Ok(data),
            BodyFrame::End(_) => Ok(Buffer::default()),
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let link = &self.connection.link;
        let written = ready!(link.codec().poll_send(self.id, cx, bytes)).map_err(broken);
        link.wake();
        Poll::Ready(written)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes.
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end(None);
        Poll::Ready(Ok(()))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.link.codec().poll_gone(self.id, cx)
    }

    fn reset(&mut self) {
        self.connection.link.codec().cancel(self.id);
        self.connection.link.wake();
    }
}

impl Drop for RequestStream {
    fn drop(&mut self) {
        let mut codec = self.connection.link.codec();
        if self.taken > 0 {
            codec.passed_on(self.id, self.taken);
        }
        // The end of the attempt or of the exchange has just read the clock.
        codec.release(self.id, Moment::recent());
        let is_of_interest = codec.is_of_interest();
        drop(codec);
        if is_of_interest {
            self.connection.link.wake();
        }
    }
}
