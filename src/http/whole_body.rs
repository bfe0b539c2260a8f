//! A request body that is read whole before anything is done with it.

use std::{future::poll_fn, task::Poll, time::Duration};

use bytes::Bytes;

use super::{
    answer::expects_continue,
    context::{RequestPlan, RouteContext},
};
use crate::{
    account::{self, Held, Owner},
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    fields::Fields,
    h1::{Framing, ResponseHead, trailers::Withheld},
    moment::Moment,
    net::{BodyFrame, LeastRate},
    upstream::upload::Upload,
};

/// Reads the body of a request whole, within `buffer` of its route.
pub(super) async fn gather<D: Downstream>(
    context: &RouteContext<'_>,
    framing: Framing,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<Gathered> {
    let (limit, buffer) = (context.body_limit(), context.route.buffer);
    let most = if limit > 0 { limit.min(buffer) } else { buffer };
    if matches!(framing, Framing::Length(length) if length > most) {
        return Err(Kind::BodyTooLarge.into());
    }
    if expects_continue(exchange) && !client.has_body_bytes() && client.takes_interim() {
        client.interim(&ResponseHead { status: 100, ..ResponseHead::default() });
    }
    let gathered = WholeBody::of(Owner::Replays, most, context, exchange).read(exchange, client).await?;
    Ok(gathered.without(&context.route.withheld))
}

/// A body that is here whole.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) body: Bytes,
    /// What came behind it, where that is anything.
    pub(super) trailers: Option<Box<Fields>>,
    /// What it holds of memory.
    pub(super) held: Held,
}

impl Gathered {
    /// The same, with no trailers of these names.
    pub(super) fn without(mut self, withheld: &Withheld) -> Self {
        if let Some(left) = self.trailers.as_ref().and_then(|trailers| withheld.taken_out_of(trailers)) {
            self.trailers = (!left.is_empty()).then(|| Box::new(left));
        }
        self
    }

    /// How it goes on: by its length, or in chunks where trailers are to come behind it.
    pub(super) fn onward(self, plan: RequestPlan) -> (RequestPlan, Box<Upload>) {
        let Self { body, trailers, held } = self;
        let framing = match trailers {
            Some(_) => Framing::Chunked,
            None => Framing::Length(body.len() as u64),
        };
        (RequestPlan { framing, ..plan }, Box::new(Upload::of_whole((body, trailers), held)))
    }
}

/// Bounds on a body that is read whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct WholeBody {
    /// Who has it in the account of memory.
    pub(super) owner: Owner,
    /// Bytes.
    pub(super) most: u64,
    /// The longest time between two pieces.
    pub(super) patience: Duration,
    /// Bytes per second that must come, on average; 0 = any.
    pub(super) min_rate: u64,
    /// When all of it must be there.
    pub(super) end: Option<Moment>,
}

impl WholeBody {
    /// Of a body of so many bytes at most, within what its listener and route say of time.
    pub(super) fn of(owner: Owner, most: u64, context: &RouteContext<'_>, exchange: &Exchange) -> Self {
        let (patience, end) = (context.request_body_timeout(), context.end(exchange));
        Self { owner, most, patience, min_rate: context.route.min_rate_of_place(), end }
    }

    /// Reads it.
    pub(super) async fn read<D: Downstream>(
        self,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Gathered> {
        let Self { owner, most, patience, min_rate, end } = self;
        let mut rate = LeastRate::new(min_rate);
        let mut deadline = |bytes| {
            let now = Moment::now();
            let others = rate.begin(bytes, now).into_iter().chain(end);
            others.fold(now.plus(patience), Moment::min)
        };
        client.deadline().at(deadline(0));
        let mut body = Vec::new();
        let mut held = Held::new(owner, 0);
        let trailers = poll_fn(|cx| {
            loop {
                match client.poll_body(cx) {
                    Poll::Ready(Ok(BodyFrame::Data(buffer))) => {
                        exchange.facts.bytes_in += buffer.len() as u64;
                        if exchange.facts.bytes_in > most {
                            return Poll::Ready(Err(ProxyError::new(Kind::BodyTooLarge)));
                        }
                        if account::is_full() {
                            account::refuse();
                            return Poll::Ready(Err(ProxyError::new(Kind::MemoryFull)));
                        }
                        held.grow(buffer.len());
                        body.extend_from_slice(&buffer);
                        client.deadline().at(deadline(exchange.facts.bytes_in));
                    }
                    Poll::Ready(Ok(BodyFrame::End(trailers))) => return Poll::Ready(Ok(trailers)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        // The 100 may be on its way.
                        let _ = client.poll_flush(cx)?;
                        let is_late = client.deadline().poll_elapsed(cx);
                        let is_over = end.is_some_and(|end| end <= Moment::now());
                        let kind = if is_over { Kind::RouteTimeout } else { Kind::BodyTimeout };
                        return is_late.map(|()| Err(kind.into()));
                    }
                }
            }
        })
        .await?;
        let trailers = trailers.filter(|trailers| !trailers.is_empty());
        Ok(Gathered { body: body.into_boxed_slice().into(), trailers, held })
    }
}
