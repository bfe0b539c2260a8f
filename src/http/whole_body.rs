//! A request body that is read whole before anything is done with it.

use std::{future::poll_fn, task::Poll, time::Duration};

use bytes::Bytes;

use super::{answer::expects_continue, context::RouteContext};
use crate::{
    account::{self, Held, Owner},
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    h1::{Framing, ResponseHead},
    moment::Moment,
    net::{BodyFrame, LeastRate},
};

/// Reads the body of a request whole, within `buffer` of its route.
pub(super) async fn gather<D: Downstream>(
    context: &RouteContext<'_>,
    framing: Framing,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<(Bytes, Held)> {
    let (limit, buffer) = (context.body_limit(), context.route.buffer);
    let most = if limit > 0 { limit.min(buffer) } else { buffer };
    if matches!(framing, Framing::Length(length) if length > most) {
        return Err(Kind::BodyTooLarge.into());
    }
    if expects_continue(exchange) && !client.has_body_bytes() && client.takes_interim() {
        client.interim(&ResponseHead { status: 100, ..ResponseHead::default() });
    }
    WholeBody::of(Owner::Replays, most, context, exchange).read(exchange, client).await
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

    /// Reads it. What it holds of memory is given back with the second value.
    pub(super) async fn read<D: Downstream>(
        self,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<(Bytes, Held)> {
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
        poll_fn(|cx| {
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
                    Poll::Ready(Ok(BodyFrame::End(_))) => return Poll::Ready(Ok(())),
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
        Ok((body.into_boxed_slice().into(), held))
    }
}
