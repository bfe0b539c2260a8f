//! Who waits for whom: a request that finds nothing stored leads a fetch or waits for one.

use std::{
    cell::Cell,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use super::{
    conclude::is_of_origin,
    fetch::{self, FetchReply, FetchResult},
    hit::hit,
    request::{CacheRequest, Miss, ServedFrom, on_error, usable},
    send::{fetched, send_collapsed, send_fetched, send_stored},
    uncollapsed::{send_own, wants_part},
};
use crate::{
    account,
    cache::{
        cache_control::RequestControl,
        fill::{Answer, FillOutcome, Joined, Origin, Reader, Source, Want},
        freshness::Verdict,
        status::Forward,
        stored::Stored,
        stored_response::StoredResponse,
    },
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    http::{active::ActiveExchange, cache_key::now, interims::Interims},
    moment::Moment,
};

/// What came of one way to serve a request.
pub(super) enum Step {
    /// It was served.
    Served,
    /// What is stored may be another by now.
    Again,
    /// It goes on alone.
    Alone,
}

/// Leads a fetch, or waits for one that is under way.
pub(super) async fn join<D: Downstream>(
    request: &CacheRequest<'_>,
    miss: &Miss,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<Step> {
    let joined = {
        let is_stored = Cell::new(false);
        let accepts =
            |answer: &Answer| answer.entry.freshness.verdict(&request.control, now()) == Verdict::Fresh;
        let want = Want {
            key: &request.key,
            request: &exchange.request.fields,
            origin: request.origin(),
            expected: miss.expected.clone(),
            accepts: &accepts,
            now: Moment::now(),
            patience: request.cache.conf.collapse.timeout,
        };
        // HEAD may wait for GET, never GET for HEAD. At the bound of memory it may wait too, and brings nothing to others.
        let joined = request.cache.store.fills.join(&want, || {
            request.is_head || is_full() || {
                is_stored.set(request.find(exchange).is_ok());
                is_stored.get()
            }
        });
        if is_stored.get() {
            return Ok(Step::Again);
        }
        joined
    };
    match joined {
        Joined::Lead(source, reader) => lead(request, miss, (source, reader), exchange, client).await,
        Joined::Wait(reader) => wait(request, miss, reader, exchange, client).await,
        Joined::Alone => Ok(Step::Alone),
    }
}

/// Begins a fetch and serves what it brings.
async fn lead<D: Downstream>(
    request: &CacheRequest<'_>,
    miss: &Miss,
    (source, reader): (Source, Reader),
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<Step> {
    let interims = client.takes_interim().then(Rc::<Interims>::default);
    let reply = fetch::begin(request, miss, source, interims.clone(), exchange);
    let FetchReply { exchange: fork, result } =
        hear(request, reply, interims.as_deref(), exchange, client).await?;
    exchange.absorb(fork);
    match result {
        FetchResult::Shared(head) => {
            send_fetched(request, (&head, reader), miss.why, exchange, client).await?;
        }
        FetchResult::Stored(stored, ServedFrom::Hit(verdict)) => {
            drop(reader);
            hit(request, stored, verdict, exchange, client).await?;
        }
        FetchResult::Stored(stored, from) => {
            drop(reader);
            send_stored(request, stored, from, exchange, client).await?;
        }
        FetchResult::Own { answer, why } => {
            drop(reader);
            exchange.cache = Some(fetched(exchange));
            if wants_part(exchange) {
                return Ok(Step::Alone);
            }
            send_own(request, (*answer, why), (miss.why, false), exchange, client).await?;
        }
        FetchResult::Failed(error) => return Err(error),
    }
    Ok(Step::Served)
}

/// Waits for one's own fetch to have a head.
async fn hear<D: Downstream>(
    request: &CacheRequest<'_>,
    mut reply: oneshot::Receiver<FetchReply>,
    interims: Option<&Interims>,
    exchange: &Exchange,
    client: &mut D,
) -> Result<FetchReply> {
    client.deadline().clear();
    if let Some(end) = request.context.end(exchange) {
        client.deadline().at(end);
    }
    poll_fn(|cx| {
        if let Some(interims) = interims {
            // What cannot be sent yet goes with what follows.
            if let Poll::Ready(Err(error)) = interims.pass_to(client, cx) {
                return Poll::Ready(Err(error));
            }
        }
        if let Poll::Ready(reply) = std::pin::Pin::new(&mut reply).poll(cx) {
            return Poll::Ready(reply.map_err(|_| ProxyError::new(Kind::Draining)));
        }
        poll_given_up(client, cx).map(Err)
    })
    .await
}

/// Waits for another's fetch, and serves what it brings.
async fn wait<D: Downstream>(
    request: &CacheRequest<'_>,
    miss: &Miss,
    mut reader: Reader,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<Step> {
    if request.is_head {
        reader.follow_only();
    }
    let patience = Moment::now().plus(request.cache.conf.collapse.timeout);
    let end = request.context.end(exchange);
    client.deadline().at(end.map_or(patience, |end| end.min(patience)));
    let outcome = poll_fn(|cx| {
        if let Poll::Ready(outcome) = reader.poll_outcome(cx) {
            return Poll::Ready(Ok(Some(outcome)));
        }
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(ProxyError::new(Kind::ClientGone)));
        }
        let is_over = || end.is_some_and(|end| end <= Moment::now());
        client
            .deadline()
            .poll_elapsed(cx)
            .map(|()| if is_over() { Err(Kind::RouteTimeout.into()) } else { Ok(None) })
    });
    let Some(outcome) = outcome.await? else { return Ok(Step::Alone) };
    match outcome {
        FillOutcome::Coming(head) if head.entry.freshness.is_validated_each_time() => Ok(Step::Alone),
        FillOutcome::Coming(head) if head.matches(&exchange.request.fields) => {
            if !is_for(&head, &request.control) {
                return Ok(Step::Again);
            }
            send_collapsed(request, (&head, reader), miss.why, exchange, client).await?;
            Ok(Step::Served)
        }
        // It is another variant, of which there may be one fetch too.
        FillOutcome::Coming(_) => Ok(Step::Again),
        FillOutcome::Stored(response, origin) => {
            take_stored(request, miss.why, (response, origin), exchange, client).await
        }
        FillOutcome::Released => Ok(Step::Alone),
        FillOutcome::Lead(source) => lead(request, miss, (source, reader), exchange, client).await,
        FillOutcome::Failed(failure) => {
            let error = ProxyError::because(failure.kind, failure.text);
            let stored = on_error(miss.stored.as_ref(), &request.control).filter(|_| is_of_origin(&error));
            let Some(stored) = stored else { return Err(error) };
            send_stored(request, stored.clone(), ServedFrom::Failed(None), exchange, client).await?;
            Ok(Step::Served)
        }
    }
}

/// Serves the stored response that answered another's request, if it is for this one.
async fn take_stored<D: Downstream>(
    request: &CacheRequest<'_>,
    why: Forward,
    (response, origin): (Arc<StoredResponse>, Origin),
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<Step> {
    if !response.as_variant().matches(&exchange.request.fields) {
        return Ok(Step::Again);
    }
    let stored = Stored::Memory(response.clone());
    match origin {
        // It was, for another.
        Origin::Validated | Origin::Peer if response.entry.freshness.is_validated_each_time() => {
            return Ok(Step::Alone);
        }
        Origin::Peer if usable(&stored.freshness(), &request.control).is_none() => return Ok(Step::Again),
        Origin::Validated | Origin::Peer => {
            // What was validated was stored, if only on disk.
            let is_miss = matches!(why, Forward::UriMiss | Forward::VaryMiss);
            let why = if is_miss { Forward::Stale } else { why };
            let from = ServedFrom::Validated { why, is_collapsed: true };
            send_stored(request, stored, from, exchange, client).await?;
        }
        Origin::Failed if on_error(Some(&stored), &request.control).is_some() => {
            send_stored(request, stored, ServedFrom::Failed(None), exchange, client).await?;
        }
        Origin::Failed => return Ok(Step::Alone),
        Origin::Unasked => match usable(&stored.freshness(), &request.control) {
            Some(verdict) => hit(request, stored, verdict, exchange, client).await?,
            None => return Ok(Step::Again),
        },
    }
    Ok(Step::Served)
}

/// Whether an answer to another's request is for one that asks like this. What comes from the origin is as new as can be;
/// what a peer had stored was chosen by what the other one accepts.
fn is_for(answer: &Answer, control: &RequestControl) -> bool {
    !answer.is_of_peer || usable(&answer.entry.freshness, control).is_some()
}

/// Whether nothing more may be held for others; that is counted.
fn is_full() -> bool {
    let is_full = account::is_full();
    if is_full {
        account::refuse();
    }
    is_full
}

/// Ready with the reason when nobody waits for the response any more, or not longer.
fn poll_given_up<D: Downstream>(client: &mut D, cx: &mut Context<'_>) -> Poll<ProxyError> {
    if client.poll_gone(cx).is_ready() {
        return Poll::Ready(Kind::ClientGone.into());
    }
    client.deadline().poll_elapsed(cx).map(|()| Kind::RouteTimeout.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::{freshness::Times, policy::Policy, stored_head::StoredHead},
        fields::Fields,
        h1::{RequestHead, ResponseHead},
    };

    /// An answer that is fresh for a minute, and was of this age when it came.
    fn answer(age: u64, is_of_peer: bool) -> Answer {
        let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
        head.fields.push("Cache-Control", b"max-age=60");
        head.fields.push("Age", age.to_string().as_bytes());
        let times = Times { requested: now(), received: now() };
        let (entry, _) = StoredHead::checked(&RequestHead::default(), head, &Policy::default(), times);
        let variant = entry.vary.key(&Fields::default()).unwrap();
        Answer { entry, variant, length: None, is_open: true, is_of_peer }
    }

    /// Else a stranger who accepts what is stale has all get it who wait for the same.
    #[test]
    fn what_a_peer_had_is_for_those_who_accept_it() {
        for (asks, expected) in [
            ("", [true, false]),
            ("no-cache", [false, false]),
            ("max-age=5", [false, false]),
            ("min-fresh=55", [false, false]),
            ("max-stale", [true, true]),
            ("max-stale=3", [true, false]),
        ] {
            let mut fields = Fields::default();
            fields.push("Cache-Control", asks.as_bytes());
            let control = RequestControl::of(&fields);
            assert_eq!([30, 90].map(|age| is_for(&answer(age, true), &control)), expected, "{asks}");
            assert!(is_for(&answer(90, false), &control), "what the origin sent just now: {asks}");
        }
    }
}
