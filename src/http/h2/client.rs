//! The client's side of one stream.

use std::{
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

use crate::{
    config::listen::LingerConf,
    error::{Kind, ProxyError, Result},
    exchange::Downstream,
    fields::{Fields, Known},
    h1::ResponseHead,
    http2::{Body, Fault},
    http2_transport::Link,
    moment::Moment,
    net::{BodyFrame, Buffer, Deadline, Waiter, tunnel::Endpoint},
    runtime::{ListenerId, Worker},
};

/// The client's side of one stream. The stream ends when this is dropped.
#[derive(Debug)]
pub(super) struct Client {
    link: Rc<Link>,
    id: u32,
    /// Bytes of the body that were handed out last: once the next are asked for, they have gone on.
    taken: usize,
    is_begun: bool,
    /// Whether it was opened by an extended CONNECT, of which a success is a tunnel (RFC 8441 §5).
    is_tunnel: bool,
    deadline: Deadline,
}

impl Client {
    pub(super) fn new(link: Rc<Link>, id: u32, is_tunnel: bool) -> Self {
        Self { link, id, taken: 0, is_begun: false, is_tunnel, deadline: Deadline::new() }
    }

    /// Whether the response is whole, and the client goes on with its request.
    pub(super) fn is_answered_early(&self) -> bool {
        self.link.codec().is_answered_early(self.id)
    }

    /// Reads and forgets what the client still sends, for a while: one that is told at once that the rest is of no use
    /// (RST_STREAM with NO_ERROR, RFC 9113 §8.1) may take that for a failure, and not read its response.
    pub(super) async fn linger(&mut self, worker: &Worker, listener: ListenerId) {
        let snapshot = worker.snapshot_for(listener);
        let conf = snapshot.shared.listener(listener).map(|listener| listener.conf.linger.clone());
        drop(snapshot);
        let Some(LingerConf { time, bytes }) = conf else { return };
        let mut left = bytes.0;
        self.deadline.after(time);
        poll_fn(|cx| {
            while left > 0 {
                match self.poll_body(cx) {
                    Poll::Ready(Ok(BodyFrame::Data(data))) => left = left.saturating_sub(data.len() as u64),
                    Poll::Ready(Ok(BodyFrame::End(_)) | Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return self.deadline.poll_elapsed(cx),
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut codec = self.link.codec();
        if self.taken > 0 {
            codec.passed_on(self.id, self.taken);
        }
        // The end of the exchange has just read the clock.
        codec.release(self.id, Moment::recent());
        drop(codec);
        self.link.wake();
    }
}

/// What a stream's end is to its exchange.
fn failed(fault: Fault) -> ProxyError {
    match fault {
        Fault::Gone(reason) => ProxyError::because(Kind::ClientGone, reason.name()),
        Fault::Broken(what) => ProxyError::because(Kind::ClientGone, what),
        Fault::Malformed(what) => Kind::Malformed(what).into(),
    }
}

impl Waiter for Client {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.codec().poll_gone(self.id, cx)
    }

    fn deadline(&self) -> &Deadline {
        &self.deadline
    }
}

impl Downstream for Client {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
        let mut codec = self.link.codec();
        if self.taken > 0 {
            codec.passed_on(self.id, std::mem::take(&mut self.taken));
            if !codec.output().waiting().is_empty() {
                self.link.wake();
            }
        }
        let frame = match ready!(codec.poll_body(self.id, cx)).map_err(failed)? {
            Body::Data(data) => {
                self.taken = data.len();
                BodyFrame::Data(data)
            }
            Body::End(trailers) => BodyFrame::End(trailers),
        };
        Poll::Ready(Ok(frame))
    }

    fn is_body_done(&self) -> bool {
        self.link.codec().is_body_done(self.id)
    }

    fn has_body_bytes(&self) -> bool {
        self.link.codec().has_body_bytes(self.id)
    }

    fn takes_interim(&self) -> bool {
        true
    }

    fn interim(&mut self, head: &ResponseHead) {
        // 101 has no meaning in HTTP/2 (RFC 9113 §8.6), and is never passed here. What the client does not want any more
        // is noticed by what comes next.
        let _ = self.link.codec().send_head(self.id, head, false, None, false);
        self.link.wake();
    }

    fn begin(&mut self, head: &ResponseHead, has_body: bool, length: Option<u64>) -> Result<()> {
        if self.is_tunnel && (200..300).contains(&head.status) {
            // Its client would take it for the WebSocket that there is none of.
            return Err(Kind::BadResponse(
                "a 2xx response to a WebSocket handshake, but no WebSocket was opened",
            )
            .into());
        }
        self.is_begun = true;
        if head.status == 101 {
            // RFC 8441 §5; what has no meaning in HTTP/2 is left out with the fields of the connection.
            let mut head = ResponseHead { status: 200, ..head.clone() };
            head.fields.remove_known(Known::SecWebsocketAccept);
            self.link.codec().send_head(self.id, &head, true, None, false).map_err(failed)?;
            self.link.wake();
            return Ok(());
        }
        // Not also where its length is 0: trailers may come. An end that comes at once is said by this frame all the same.
        self.link.codec().send_head(self.id, head, has_body, length, !has_body).map_err(failed)?;
        self.link.wake();
        Ok(())
    }

    fn distrust(&mut self) {
        // The frames around it were sound; only this stream is not.
    }

    fn end_connection(&mut self) {
        self.link.codec().begin_closing();
        self.link.wake();
    }

    fn is_begun(&self) -> bool {
        self.is_begun
    }

    fn poll_data(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<()>> {
        while !buffer.is_empty() {
            let length = ready!(self.link.codec().poll_send(self.id, cx, buffer)).map_err(failed)?;
            self.link.wake();
            buffer.advance(length);
        }
        Poll::Ready(Ok(()))
    }

    fn end(&mut self, trailers: Option<&Fields>) -> Result<()> {
        self.link.codec().end_response(self.id, trailers).map_err(failed)?;
        self.link.wake();
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        // The connection's own task writes.
        self.link.codec().poll_room(self.id, cx).map_err(failed)
    }
}

impl Endpoint for Client {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>> {
        Poll::Ready(match ready!(self.poll_body(cx)).map_err(io::Error::other)? {
            BodyFrame::Data(data) => Ok(data),
            BodyFrame::End(_) => Ok(Buffer::default()),
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.link.codec().poll_send(self.id, cx, bytes));
        self.link.wake();
        Poll::Ready(written.map_err(failed).map_err(io::Error::other))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes.
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end(None).map_err(io::Error::other))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.codec().poll_gone(self.id, cx)
    }

    fn reset(&mut self) {
        self.link.codec().cancel(self.id);
        self.link.wake();
    }
}
