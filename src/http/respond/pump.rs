//! A body on its way from where it comes from to where it goes, with back-pressure, and without gathering more than a
//! buffer.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    patience::{Patience, Side, Stall},
    source::Source,
};
use crate::{
    error::{Kind, Result},
    exchange::{Downstream, Exchange, grpc},
    fields::Fields,
    h1::trailers::Withheld,
    net::{BodyFrame, Buffer, Deadline},
    upstream::UpstreamResponse,
};

/// Where a body goes.
pub(in crate::http) trait Sink {
    /// Ready when more may come; an error when nobody wants it.
    fn poll_room(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Takes some of the body; ready when the whole buffer is taken.
    fn poll_data(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<()>>;

    /// Ends the body. Where it is only kept, trailers are not.
    fn end(&mut self, _: Option<&Fields>) -> Result<()> {
        Ok(())
    }

    /// Brings out what was taken and ended.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Nothing can be moved on: what else is under way goes on meanwhile. An error when nobody wants the body any more.
    fn poll_idle(&mut self, _: &mut Context<'_>, _: Option<&mut UpstreamResponse>) -> Result<()> {
        Ok(())
    }

    /// The response has ended: ready when its backend may be let go.
    fn poll_ended(&mut self, _: &mut Context<'_>, _: &mut UpstreamResponse) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Whether a body that another stands for, and that is not here yet, is waited for behind the end.
    fn waits_for_rest(&self) -> bool {
        true
    }

    /// The backend's part is over.
    fn source_ended(&mut self, _: &UpstreamResponse) {}

    /// How many bytes went on.
    fn sent(&self) -> u64;

    /// The deadline of whatever is waited for.
    fn deadline(&self) -> &Deadline;
}

/// Brings a body to its end. When one of a backend breaks off, health and metrics record how.
pub(in crate::http) async fn pump<S: Sink>(source: Source, patience: Patience, sink: &mut S) -> Result<()> {
    let mut pump = Pump::new(source, patience);
    let result = poll_fn(|cx| pump.poll(cx, sink)).await;
    if let (Err(error), Some(source)) = (&result, &mut pump.source)
        && let Some(response) = source.upstream()
    {
        match error.kind() {
            kind if pump.is_quiet => response.record_quiet(kind),
            // A server gives up at some time what it cannot get rid of.
            Kind::BodyBroken if pump.stall.client_took() >= HELD_UP => {
                response.record_failure(Kind::ClientStalled);
            }
            // It may know the client's deadline (gRPC), and we may be a tick late.
            Kind::BodyBroken if pump.stall.is_over() => response.record_failure(Kind::RouteTimeout),
            kind => response.record_failure(kind),
        }
    }
    result
}

/// How long a client must have held a body up for its breaking off to be no fault of the backend. No server that is known
/// gives up sooner.
const HELD_UP: Duration = Duration::from_secs(5);

/// How long what is left of a body is waited for that another stands for: the client may want to ask for more, and its
/// places are held meanwhile.
const REST: Duration = Duration::from_secs(1);

struct Pump {
    /// Given back once its part is over, while the client may still be reading.
    source: Option<Source>,
    buffer: Buffer,
    is_ended: bool,
    /// It was ended because nothing came of it for as long as that is waited for.
    is_quiet: bool,
    /// It has ended, and what is read is a body that it stands for.
    is_resting: bool,
    /// All of it went out, and what becomes of the client is no part of it any more: whoever has it may leave.
    is_out: bool,
    stall: Stall,
}

impl Pump {
    fn new(source: Source, patience: Patience) -> Self {
        Self {
            source: Some(source),
            buffer: Buffer::default(),
            is_ended: false,
            is_quiet: false,
            is_resting: false,
            is_out: false,
            stall: Stall::new(patience),
        }
    }

    fn poll<S: Sink>(&mut self, cx: &mut Context<'_>, sink: &mut S) -> Poll<Result<()>> {
        let side = self.advance(cx, sink)?;
        if self.is_ended && self.source.is_none() && self.is_out(cx, sink)? {
            return Poll::Ready(Ok(()));
        }
        // Both bodies may be under way, and either of them is progress.
        let uploaded = self.source.as_mut().and_then(Source::upstream).map_or(0, |it| it.upload_progress());
        // Of a fetch what comes is progress too, and none of the client's.
        let fetched = match (side, &self.source) {
            (Side::Backend, Some(source)) => source.fetched(),
            (Side::Backend | Side::Client | Side::Upload, _) => 0,
        };
        let progress = sink.sent() + uploaded + fetched;
        let stalled = ready!(self.stall.poll(cx, side, progress, sink.deadline()));
        if self.is_resting {
            // The client has all of its response, and nothing else is waited for.
            (self.source, self.is_resting) = (None, false);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.is_quiet = side == Side::Backend;
        Poll::Ready(Err(stalled))
    }

    /// Moves what can be moved; gives who is waited for.
    fn advance<S: Sink>(&mut self, cx: &mut Context<'_>, sink: &mut S) -> Result<Side> {
        loop {
            if !self.buffer.is_empty() && sink.poll_data(cx, &mut self.buffer)?.is_pending() {
                self.idle(cx, sink)?;
                return Ok(Side::Client);
            }
            if self.is_ended {
                return self.end(cx, sink);
            }
            let Some(source) = &mut self.source else { return Ok(Side::Client) };
            if sink.poll_room(cx)?.is_pending() {
                return Ok(Side::Client);
            }
            match source.poll(cx) {
                Poll::Ready(Ok(BodyFrame::Data(buffer))) => self.buffer = buffer,
                Poll::Ready(Ok(BodyFrame::End(trailers))) => {
                    // Said once: where the body goes in chunks, another end would be read as another response.
                    sink.end(trailers.as_deref())?;
                    self.is_ended = true;
                }
                Poll::Ready(Err(error)) => {
                    // What came before is the client's, who must see that the rest is missing.
                    let _ = sink.poll_flush(cx)?;
                    return Err(error);
                }
                Poll::Pending => {
                    // Empty, but of full size: who waits holds nothing.
                    self.buffer = Buffer::default();
                    self.idle(cx, sink)?;
                    let _ = sink.poll_flush(cx)?;
                    return Ok(self.waits_for());
                }
            }
        }
    }

    fn idle<S: Sink>(&mut self, cx: &mut Context<'_>, sink: &mut S) -> Result<()> {
        sink.poll_idle(cx, self.source.as_mut().and_then(Source::upstream))
    }

    /// Who is to bring the next byte: the client, where the backend waits for the rest of the request.
    fn waits_for(&mut self) -> Side {
        match self.source.as_mut().and_then(Source::upstream) {
            Some(response) if response.awaits_client() => Side::Upload,
            _ => Side::Backend,
        }
    }

    /// Lets the backend go, once the sink does.
    fn end<S: Sink>(&mut self, cx: &mut Context<'_>, sink: &mut S) -> Result<Side> {
        self.is_resting = self.reads_rest(cx, sink)?;
        if self.is_resting {
            return Ok(Side::Backend);
        }
        if let Some(response) = self.source.as_mut().and_then(Source::upstream)
            && sink.poll_ended(cx, response)?.is_pending()
        {
            return Ok(self.waits_for());
        }
        if let Some(response) = self.source.take().and_then(Source::into_upstream) {
            sink.source_ended(&response);
            response.release();
        }
        self.stall.free_backend();
        Ok(Side::Client)
    }

    /// Whether the backend has the whole request, or there is none.
    fn is_uploaded(&mut self) -> bool {
        self.source.as_mut().and_then(Source::upstream).is_none_or(|response| response.is_uploaded())
    }

    /// Whether all that was ended is out; from then on the sink is not asked again.
    fn is_out<S: Sink>(&mut self, cx: &mut Context<'_>, sink: &mut S) -> Result<bool> {
        self.is_out = self.is_out || sink.poll_flush(cx)?.is_ready();
        Ok(self.is_out)
    }

    /// Whether more is to come of a body that this one stands for. Whatever becomes of that, the client has its response.
    fn reads_rest<S: Sink>(&mut self, cx: &mut Context<'_>, sink: &mut S) -> Result<bool> {
        match self.source.as_mut().map_or(Poll::Ready(true), |source| source.poll_rest(cx)) {
            Poll::Ready(true) => Ok(false),
            Poll::Ready(false) => {
                self.source = None;
                Ok(false)
            }
            Poll::Pending => {
                self.stall.hurry(REST);
                // What the client was to send of its request does not come then, and the backend may wait for it.
                let is_in_vain = self.idle(cx, sink).is_err() && !self.is_uploaded();
                self.is_out(cx, sink)?;
                if is_in_vain || !sink.waits_for_rest() {
                    self.source = None;
                    return Ok(false);
                }
                Ok(true)
            }
        }
    }
}

/// The client of an exchange.
pub(super) struct ClientSink<'a, D> {
    pub(super) client: &'a mut D,
    pub(super) exchange: &'a mut Exchange,
    /// What trailers may not have.
    pub(super) withheld: Option<&'a Withheld>,
}

impl<D: Downstream> Sink for ClientSink<'_, D> {
    fn poll_data(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<()>> {
        let length = buffer.len();
        let taken = self.client.poll_data(cx, buffer)?;
        self.exchange.facts.bytes_out += (length - buffer.len()) as u64;
        taken.map(Ok)
    }

    fn end(&mut self, trailers: Option<&Fields>) -> Result<()> {
        if let Some(code) = trailers.and_then(grpc::status).filter(|_| self.exchange.is_grpc()) {
            self.exchange.facts.grpc_status = Some(code);
        }
        let left = trailers.and_then(|trailers| self.withheld?.taken_out_of(trailers));
        self.client.end(left.as_ref().or(trailers))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.client.poll_flush(cx)
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>, source: Option<&mut UpstreamResponse>) -> Result<()> {
        let Some(response) = source else {
            return if self.client.poll_gone(cx).is_ready() { Err(Kind::ClientGone.into()) } else { Ok(()) };
        };
        response.poll_upload(cx, self.client)?;
        self.exchange.facts.bytes_in = response.uploaded();
        Ok(())
    }

    fn waits_for_rest(&self) -> bool {
        // Its next request comes over another connection, and it may be waiting for the end of this one.
        !self.client.ends_connection()
    }

    fn source_ended(&mut self, response: &UpstreamResponse) {
        self.exchange.facts.bytes_in = response.uploaded();
    }

    fn sent(&self) -> u64 {
        self.exchange.facts.bytes_out
    }

    fn deadline(&self) -> &Deadline {
        self.client.deadline()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::Bytes;

    use super::*;
    use crate::{
        cache::{
            fill::{Bounds, Fills, Mark},
            key::{Key, KeySettings},
        },
        http::respond::source::Part,
    };

    /// A client that leaves as soon as it has all.
    struct Leaving {
        flushes: u32,
        deadline: Deadline,
    }

    impl Sink for Leaving {
        fn poll_data(&mut self, _: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<()>> {
            *buffer = Buffer::default();
            Poll::Ready(Ok(()))
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
            self.flushes += 1;
            Poll::Ready(if self.flushes == 1 { Ok(()) } else { Err(Kind::ClientGone.into()) })
        }

        fn sent(&self) -> u64 {
            0
        }

        fn deadline(&self) -> &Deadline {
            &self.deadline
        }
    }

    /// Else it would be logged as gone, though it has its page whole. A stream of HTTP/2 that is over takes nothing any more.
    #[test]
    fn who_has_all_may_leave_before_the_rest_is_read() {
        let fills = Fills::new(Bounds { max_object: 1 << 20, held: 8 << 20 });
        let key = Key::of("http", "a", None, "/", &Fields::default(), &KeySettings::default());
        let (_fetch, reader) = fills.begin_alone(&key, Mark::default());
        let rest = Source::Fill(Part::whole(None), reader).behind(Bytes::from_static(b"page"));
        let backend = Duration::from_secs(30);
        let patience = Patience { backend, client: None, min_rate: 0, holds_place: false, end: None };
        let mut pump = Pump::new(rest, patience);
        let mut sink = Leaving { flushes: 0, deadline: Deadline::new() };
        let mut cx = Context::from_waker(Waker::noop());
        // No timer runs here: the rest is waited for without end.
        for _ in 0..3 {
            assert!(pump.poll(&mut cx, &mut sink).is_pending());
            assert!(pump.is_resting);
        }
        pump.source = None;
        assert!(matches!(pump.poll(&mut cx, &mut sink), Poll::Ready(Ok(()))));
        assert_eq!(sink.flushes, 1, "it is asked no more once it has all");
    }
}
