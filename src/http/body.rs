//! Bringing the response body to the client, and what is left of the request body to the backend, as
//! they come, with back-pressure in both directions and without gathering more than a block.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::{
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    h1::Framing,
    moment::Moment,
    net::{BodyFrame, BodyReader, Buffer, Deadline, http1_stream::BodyError},
    upstream::{forward::UpstreamResponse, upload::Waiting, verdict},
};

/// How long a body may stand still.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// While the backend sends nothing.
    pub idle: Duration,
    /// While the client takes nothing.
    pub client: Duration,
    /// When the whole exchange must be over.
    pub end: Option<Moment>,
}

/// Sends the response, whose head is in `exchange.response`, to its end.
pub async fn relay<D: Downstream>(
    live: UpstreamResponse,
    exchange: &mut Exchange,
    client: &mut D,
    patience: Patience,
) -> Result<()> {
    let framing = match &live.incoming {
        BodyReader::Done => Framing::None,
        BodyReader::Length(length) => Framing::Length(*length),
        BodyReader::Chunked(_) => Framing::Chunked,
        BodyReader::UntilClose => Framing::UntilClose,
    };
    let has_no_body = exchange.request.method == crate::h1::Method::Head
        || matches!(exchange.response.status, 204 | 304)
        || exchange.response.status < 200;
    let length = match framing {
        Framing::Length(length) => Some(length),
        Framing::None => Some(0),
        Framing::Chunked | Framing::UntilClose => None,
    };
    client.begin(&exchange.response, !has_no_body, length)?;
    let mut relay =
        Relay { live: Some(live), block: Buffer::default(), is_ended: false, stall: Stall::new(patience) };
    let result = poll_fn(|cx| relay.poll(cx, exchange, client)).await;
    if let (Err(error), Some(live)) = (&result, &relay.live) {
        observe(live, error.kind());
    }
    result
}

/// Tells health and metrics how a body broke off.
pub(super) fn observe(live: &UpstreamResponse, kind: Kind) {
    let (verdict, outcome) = verdict::of_error(kind);
    let group = live.permit.group();
    if let Some(series) = group.series.get(live.permit.index()).filter(|_| kind == Kind::BodyBroken) {
        series.record(outcome);
    }
    group.record_health(live.permit.index(), verdict, Moment::now());
}

struct Relay {
    /// Given back once the backend's part is over, while the client may still be reading.
    live: Option<UpstreamResponse>,
    block: Buffer,
    is_ended: bool,
    stall: Stall,
}

/// Who a body waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Who reads it.
    Client,
    /// Who brings it: a backend, or what others fetch from one.
    Backend,
}

/// Watches that a body does not stand still for longer than it may.
#[derive(Debug)]
pub(super) struct Stall {
    /// What is waited for since the deadline was set, and how far the body was then.
    since: Option<(Side, u64)>,
    patience: Patience,
}

impl Stall {
    pub(super) fn new(patience: Patience) -> Self {
        Self { since: None, patience }
    }

    /// Ready when it has stood still too long; `bytes` is how far it is.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        bytes: u64,
        deadline: &Deadline,
    ) -> Poll<ProxyError> {
        if self.since != Some((side, bytes)) {
            self.since = Some((side, bytes));
            let patience = if side == Side::Client { self.patience.client } else { self.patience.idle };
            let at = Moment::now().plus(patience);
            deadline.at(self.patience.end.map_or(at, |end| end.min(at)));
        }
        ready!(deadline.poll_elapsed(cx));
        let is_over = self.patience.end.is_some_and(|end| end <= Moment::now());
        Poll::Ready(ProxyError::new(match side {
            _ if is_over => Kind::RouteTimeout,
            Side::Client => Kind::ClientStalled,
            Side::Backend => Kind::BodyBroken,
        }))
    }
}

impl Relay {
    fn poll<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Poll<Result<()>> {
        let mut side = self.download(cx, exchange, client)?;
        if self.is_ended {
            match client.poll_flush(cx)? {
                Poll::Ready(()) => return Poll::Ready(Ok(())),
                Poll::Pending => side = Side::Client,
            }
        }
        self.stall.poll(cx, side, exchange.bytes_out, client.deadline()).map(Err)
    }

    /// Moves what can be moved, in both directions; gives who is waited for.
    fn download<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Side> {
        loop {
            let length = self.block.len();
            if length > 0 {
                let taken = client.poll_data(cx, &mut self.block)?;
                exchange.bytes_out += (length - self.block.len()) as u64;
                if taken.is_pending() {
                    self.upload(cx, exchange, client)?;
                    return Ok(Side::Client);
                }
            }
            let Some(live) = &mut self.live else { return Ok(Side::Client) };
            match live.wire.poll_body(cx, &mut live.incoming) {
                Poll::Ready(Ok(BodyFrame::Data(block))) => {
                    live.permit.count_bytes(block.len() as u64);
                    self.block = block;
                }
                Poll::Ready(Ok(BodyFrame::End(trailers))) => {
                    client.end(trailers.as_deref())?;
                    self.is_ended = true;
                    exchange.bytes_in = live.upload.bytes;
                    if let Some(live) = self.live.take() {
                        release(live);
                    }
                    return Ok(Side::Client);
                }
                Poll::Ready(Err(error)) => {
                    // What came before is the client's, who must see that the rest is missing.
                    let _ = client.poll_flush(cx)?;
                    return Err(broken(error));
                }
                Poll::Pending => {
                    // Empty, but of full size: who waits holds nothing.
                    self.block = Buffer::default();
                    self.upload(cx, exchange, client)?;
                    let _ = client.poll_flush(cx)?;
                    return Ok(Side::Backend);
                }
            }
        }
    }

    /// A backend may answer before it has the whole request; then both bodies are under way.
    fn upload<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<()> {
        let Some(live) = &mut self.live else { return Ok(()) };
        if live.upload.is_sent() {
            if client.poll_gone(cx).is_ready() {
                return Err(Kind::ClientGone.into());
            }
            return Ok(());
        }
        if live.upload.poll(cx, client, &mut live.wire)? != Waiting::Backend {
            // What could not be written now is written when the wire says so; the backend's response
            // is what counts.
            let _ = live.wire.poll_flush(cx);
        }
        exchange.bytes_in = live.upload.bytes;
        Ok(())
    }
}

/// The backend's part is over: the connection is kept if both bodies are through, and the place is free.
pub(super) fn release(live: UpstreamResponse) {
    let UpstreamResponse { permit, wire, upload, is_reusable, .. } = live;
    if is_reusable && upload.is_sent() && wire.is_flushed() {
        permit.keep(wire, Moment::now());
    }
}

pub(super) fn broken(error: BodyError) -> ProxyError {
    match error {
        BodyError::Io(error) => ProxyError::because(Kind::BodyBroken, error),
        BodyError::Early => Kind::BodyBroken.into(),
        BodyError::Malformed(_) => ProxyError::because(Kind::BodyBroken, "a chunk is malformed"),
    }
}
