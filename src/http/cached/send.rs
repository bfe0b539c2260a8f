//! From store or fill to the client: conditions and ranges are answered here, and nothing is copied that is large.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{CacheRequest, now};
use crate::{
    cache::{
        date::Date,
        disk::{Damaged, Reading},
        disk_tier::DiskObject,
        fill::{ReadError, Reader},
        range::Extent,
        status::{CacheStatus, Forward, StatusOutcome},
        stored_response::StoredResponse,
        validate::{is_not_modified, not_modified_fields},
    },
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    fields::Known,
    h1::Method,
    http::{
        body::{Side, Stall},
        handle::Outcome,
        proxy,
    },
    net::Buffer,
    telemetry::cache_result::CacheResult,
};

/// Where a body comes from.
pub(super) enum From {
    /// The store.
    StoredResponse(Arc<StoredResponse>),
    /// A fetch under way, and the length that its head says.
    Fill(Reader, Option<u64>),
    /// The disk; what is being read stands beside it.
    DiskObject(Box<DiskObject>, Option<Reading>),
}

impl From {
    fn length(&self) -> Option<u64> {
        match self {
            Self::StoredResponse(object) => Some(object.body.length),
            Self::Fill(_, length) => *length,
            Self::DiskObject(kept, _) => Some(kept.length),
        }
    }

    /// The bytes from an offset on, which goes up from call to call, and none from `end` on that need not be read;
    /// `None` at the end.
    fn poll_at(
        &mut self,
        offset: u64,
        end: Option<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>>> {
        match self {
            Self::StoredResponse(object) => {
                let bytes = object.body.at(offset);
                Poll::Ready(Ok((!bytes.is_empty()).then_some(bytes)))
            }
            Self::Fill(reader, _) => reader.poll_at(offset, cx).map_err(|error| match error {
                ReadError::Broken => Kind::BodyBroken.into(),
                ReadError::Behind => ProxyError::because(
                    Kind::ClientStalled,
                    "it reads more slowly than others do, by more than is kept",
                ),
            }),
            Self::DiskObject(kept, reading) => {
                let reading = reading.get_or_insert_with(|| kept.read(offset, end.unwrap_or(kept.length)));
                reading.poll_next(cx).map(|next| match next {
                    Some(Ok(bytes)) => Ok(Some(bytes)),
                    Some(Err(Damaged)) => {
                        Err(ProxyError::because(Kind::BodyBroken, "the response is damaged on disk"))
                    }
                    None => Ok(None),
                })
            }
        }
    }
}

impl CacheRequest<'_> {
    /// Serves a stored response.
    pub(super) async fn send_object<D: Downstream>(
        &self,
        object: Arc<StoredResponse>,
        status: &CacheStatus,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Outcome> {
        let head = &object.entry.head;
        exchange.response.status = head.status;
        exchange.response.fields.copy_from(&head.fields);
        let age = object.entry.freshness.age(now()).to_string();
        exchange.response.fields.push_known(Known::Age, age.as_bytes());
        let received = object.entry.received;
        self.send(From::StoredResponse(object), received, status, exchange, client).await
    }

    /// Serves a stored response that the origin validated, or that it failed to answer for.
    pub(super) async fn send_validated<D: Downstream>(
        &self,
        object: Arc<StoredResponse>,
        why: Forward,
        (status, is_collapsed): (Option<u16>, bool),
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Outcome> {
        if status != Some(304) && !is_collapsed {
            return self.send_on_error(object, status, exchange, client).await;
        }
        // What was validated was stored, if only on disk.
        let is_miss = matches!(why, Forward::UriMiss | Forward::VaryMiss);
        let why = if is_miss { Forward::Stale } else { why };
        exchange.cache = Some(if is_collapsed { CacheResult::Collapsed } else { CacheResult::Revalidated });
        let outcome = StatusOutcome::Forwarded { why, status, stored: false, collapsed: is_collapsed };
        let ttl = Some(object.freshness().ttl(now()));
        let status = CacheStatus { outcome, ttl, key: None, detail: None };
        self.send_object(object, &status, exchange, client).await
    }

    /// Serves a stored response that is stale, since the origin fails.
    pub(super) async fn send_on_error<D: Downstream>(
        &self,
        object: Arc<StoredResponse>,
        status: Option<u16>,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Outcome> {
        exchange.cache = Some(CacheResult::Stale);
        let outcome =
            StatusOutcome::Forwarded { why: Forward::Stale, status, stored: false, collapsed: false };
        let ttl = Some(object.freshness().ttl(now()));
        let status = CacheStatus { outcome, ttl, key: None, detail: Some("stale-if-error") };
        self.send_object(object, &status, exchange, client).await
    }

    /// Sends the response whose head is in `exchange.response`, or what of it answers the client's conditions and
    /// ranges.
    pub(super) async fn send<D: Downstream>(
        &self,
        from: From,
        received: Date,
        status: &CacheStatus,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Outcome> {
        let (first, last) = settle(exchange, from.length(), received);
        status.add_to(&mut exchange.response.fields);
        proxy::edit_response(self.way, exchange);
        let has_no_body = exchange.request.method == Method::Head
            || matches!(exchange.response.status, 204 | 304)
            || exchange.response.status < 200;
        let length = last.map(|last| last - first);
        client.begin(&exchange.response, !has_no_body, length)?;
        let last = if has_no_body { Some(first) } else { last };
        let patience = self.way.patience(exchange);
        let mut sending = Sending::new(from, (first, last), Stall::new(patience));
        poll_fn(|cx| sending.poll(cx, exchange, client)).await?;
        Ok(Outcome::Complete)
    }
}

/// Fields of a representation that say nothing of an error in its place, least of all how long it may be kept.
const OF_CONTENT: [&[u8]; 10] = [
    b"age",
    b"cache-control",
    b"cdn-cache-control",
    b"content-encoding",
    b"content-language",
    b"content-location",
    b"content-type",
    b"etag",
    b"expires",
    b"last-modified",
];

/// Answers the conditions and the range of the request: makes a 304, 206 or 416 of the head where that is the answer,
/// and gives which bytes of the body go out, from the first to behind the last; none when the end is not known.
fn settle(exchange: &mut Exchange, length: Option<u64>, received: Date) -> (u64, Option<u64>) {
    let (request, response) = (&exchange.request, &mut exchange.response);
    if is_not_modified(&request.method, &request.fields, response.status, &response.fields, received) {
        response.status = 304;
        response.fields = not_modified_fields(&response.fields);
        return (0, Some(0));
    }
    let Some(length) = length else { return (0, None) };
    if request.method == Method::Head && response.status != 204 {
        // A body that came in chunks has a length by now.
        response.fields.set_known(Known::ContentLength, length.to_string().as_bytes());
    }
    if response.status != 200 {
        return (0, Some(length));
    }
    let extent = Extent::of(&request.method, &request.fields, &response.fields, length, received);
    if extent == Extent::Unsatisfiable {
        // What is said of the representation would let caches on the way keep this error for it.
        response.fields.retain(|field| !OF_CONTENT.iter().any(|name| field.name.eq_ignore_ascii_case(name)));
    }
    if let Some(range) = extent.content_range(length) {
        response.fields.set("content-range", range.as_bytes());
    }
    match extent {
        Extent::Whole => (0, Some(length)),
        Extent::Part { first, last } => {
            response.status = 206;
            (first, Some(last + 1))
        }
        Extent::Unsatisfiable => {
            response.status = 416;
            (0, Some(0))
        }
    }
}

/// A body on its way to the client.
struct Sending {
    from: From,
    at: u64,
    /// Behind the last byte that goes out; none while that is not known.
    end: Option<u64>,
    block: Buffer,
    is_ended: bool,
    stall: Stall,
}

impl Sending {
    /// Of the bytes from the first to behind the last, which need not be known.
    fn new(from: From, (at, end): (u64, Option<u64>), stall: Stall) -> Self {
        Self { from, at, end, block: Buffer::default(), is_ended: false, stall }
    }

    fn poll<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Poll<Result<()>> {
        let mut side = Side::Client;
        if !self.is_ended {
            side = self.advance(cx, exchange, client)?;
        }
        if self.is_ended && client.poll_flush(cx)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.stall.poll(cx, side, exchange.bytes_out, client.deadline()).map(Err)
    }

    /// Moves what can be moved; gives who is waited for.
    fn advance<D: Downstream>(
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
                    return Ok(Side::Client);
                }
            }
            let next = match self.end {
                Some(end) if self.at >= end => Poll::Ready(Ok(None)),
                Some(_) | None => self.from.poll_at(self.at, self.end, cx),
            };
            match next {
                Poll::Ready(Ok(Some(bytes))) => {
                    let most = self.end.map_or(u64::MAX, |end| end - self.at);
                    let length = bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX));
                    self.at += length as u64;
                    self.block = Buffer::shared(bytes.slice(..length));
                }
                Poll::Ready(Ok(None)) => {
                    // Said once: where the body goes in chunks, another end would be read as another response.
                    client.end(None)?;
                    self.is_ended = true;
                    return Ok(Side::Client);
                }
                Poll::Ready(Err(error)) => {
                    // What came before is the client's, who must see that the rest is missing.
                    let _ = client.poll_flush(cx)?;
                    return Err(error);
                }
                Poll::Pending => {
                    if client.poll_gone(cx).is_ready() {
                        return Err(Kind::ClientGone.into());
                    }
                    let _ = client.poll_flush(cx)?;
                    return Ok(Side::Backend);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{task::Waker, time::Duration};

    use super::*;
    use crate::{
        cache::{
            fill::{Bounds, Fills},
            freshness::Times,
            key::{Key, KeySettings},
            policy::Policy,
            stored_head::StoredHead,
        },
        fields::Fields,
        h1::{RequestHead, ResponseHead},
        http::body::Patience,
        net::{BodyFrame, Deadline, Waiter},
    };

    /// A client that takes what it is given, and does not have it flushed at once.
    struct Slow {
        deadline: Deadline,
        taken: Vec<u8>,
        ends: usize,
        flushes: usize,
    }

    impl Waiter for Slow {
        fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }

        fn deadline(&self) -> &Deadline {
            &self.deadline
        }
    }

    impl Downstream for Slow {
        fn poll_body(&mut self, _: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
            Poll::Ready(Ok(BodyFrame::End(None)))
        }

        fn is_body_done(&self) -> bool {
            true
        }

        fn has_body_bytes(&self) -> bool {
            false
        }

        fn takes_interim(&self) -> bool {
            false
        }

        fn interim(&mut self, _: &ResponseHead) {}

        fn begin(&mut self, _: &ResponseHead, _: bool, _: Option<u64>) -> Result<()> {
            Ok(())
        }

        fn distrust(&mut self) {}

        fn is_begun(&self) -> bool {
            true
        }

        fn poll_data(&mut self, _: &mut Context<'_>, block: &mut Buffer) -> Poll<Result<()>> {
            self.taken.extend_from_slice(block);
            *block = Buffer::default();
            Poll::Ready(Ok(()))
        }

        fn end(&mut self, _: Option<&Fields>) -> Result<()> {
            self.ends += 1;
            Ok(())
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
            self.flushes += 1;
            if self.flushes < 4 { Poll::Pending } else { Poll::Ready(Ok(())) }
        }
    }

    #[test]
    fn a_body_ends_once_however_often_its_last_bytes_have_to_wait() {
        let fills = Fills::new(Bounds { max_object: 1 << 20, held: 1 << 20 });
        let key = Key::of("http", "a", None, "/", &Fields::default(), &KeySettings::default());
        let (mut source, reader) = fills.begin_alone(&key, fills.mark());
        let now = Date(1_795_000_000);
        let head = ResponseHead { status: 404, ..ResponseHead::default() };
        let times = Times { requested: now, received: now };
        let (entry, _) = StoredHead::checked(&RequestHead::default(), head, &Policy::default(), times);
        let variant = entry.vary.key(&Fields::default()).unwrap();
        source.answer(Arc::new(crate::cache::fill::Answer { entry, variant, length: None, is_open: true }));
        source.push(Bytes::from_static(b"hello"));
        source.finish(|_, _| {});
        let long = Duration::from_secs(3600);
        let stall = Stall::new(Patience { idle: long, client: long, end: None });
        let mut sending = Sending::new(From::Fill(reader, None), (0, None), stall);
        let mut client = Slow { deadline: Deadline::new(), taken: Vec::new(), ends: 0, flushes: 0 };
        let mut exchange = Exchange::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut turns = 0;
        while sending.poll(&mut cx, &mut exchange, &mut client).is_pending() {
            turns += 1;
        }
        assert_eq!((turns, client.ends, &client.taken[..]), (3, 1, &b"hello"[..]));
    }
}
