//! One attempt to have a backend answer: connect → send → response head. What is of HTTP/2 alone is in `attempt_http2`.
//!
//! Previous stop: `upstream::forward`, which decides whether another attempt follows.

use std::{
    borrow::Cow,
    error::Error,
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    Permit, announce,
    carrier::{Answering, Carrier},
    conf::{SendProxyProtocol, UpstreamProtocol},
    forward_request::{ClientPart, ForwardRequest},
    response::{Answered, take_hop},
    upload::Waiting,
    websocket,
};
use crate::{
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    fields::{ConnectionOptions, Known, list},
    h1::{Framing, HeadLimits, Message, Method, ResponseHead, Scan, framing::keeps_alive},
    moment::Moment,
    net::{BodyReader, Buffer, Deadline, Http1Stream, dial},
    tls::conf::Starttls,
};

/// How far an attempt is.
pub(super) struct Progress {
    scan: Scan,
    /// What the backend may send as a head.
    limits: HeadLimits,
    /// What is waited for since the deadline was set, and how much of the body had gone on then.
    waited_for: Option<(Waiting, u64)>,
    /// Until when the client, which waits for a 100, is kept waiting for the backend to say it.
    continue_at: Option<Moment>,
    /// The present, until the first wait: the clock was read for something else.
    now: Option<Moment>,
}

impl Progress {
    /// The backend is not waited for any more to say 100; whether it was.
    pub(super) fn end_patience(&mut self) -> bool {
        let was = self.continue_at.take().is_some();
        self.waited_for = self.waited_for.filter(|_| !was);
        was
    }
}

impl<'a> ForwardRequest<'a> {
    /// One attempt. A kept connection that the backend had closed already is replaced by a new one,
    /// once, and that is no failure of the backend: the two closed and sent at the same time.
    pub(super) async fn run<D: Downstream>(
        &mut self,
        permit: &Permit,
        mut begun: Moment,
        bound: Option<Http1Stream>,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Answered> {
        self.client_part = ClientPart::None;
        // What is here already waits for nothing, and a backend that is told so might leave it unread.
        if self.head.expects_continue && self.has_some_body(client) {
            self.head.expects_continue = false;
        }
        let may_speak_http2 = self.may_speak_http2(exchange)?;
        let must_speak_http2 = self.target.worker_upstream.upstream.conf.protocol == UpstreamProtocol::H2;
        // A client that is logged in over its connection would be nobody over one that others share.
        if may_speak_http2 && (must_speak_http2 || bound.is_none()) {
            if let Some(answered) = self.run_http2(permit, exchange, client).await? {
                return Ok(answered);
            }
            // That it speaks HTTP/1.1 may have been learned by connecting, which has a time of its own.
            begun = Moment::now();
        }
        exchange.facts.backend_version = None;
        // What may not be sent twice goes over a connection that was used a moment ago, or over a new one: the backend
        // may be closing one that was idle for longer.
        let is_idempotent = exchange.request.method.is_idempotent();
        let most_idle = if is_idempotent { Duration::MAX } else { FRESH };
        let conf = &self.target.worker_upstream.upstream.conf;
        let is_shared = conf.proxy_protocol == SendProxyProtocol::Off;
        let pooled = || is_shared.then(|| permit.reuse(begun, most_idle)).flatten();
        if let Some(stream) = bound.or_else(pooled) {
            match self.exchange((stream, begun), exchange, client).await {
                Err(error)
                    if matches!(error.kind(), Kind::Reset | Kind::ResetInUpload)
                        && self.may_replace(exchange) =>
                {
                    self.upload.begin_again();
                }
                result => return result,
            }
        }
        let header = announce::header(conf, &exchange.facts, None);
        // Each new connection asks again whether the backend speaks HTTP/2 by now; a WebSocket that comes here is to be one of
        // HTTP/1.1.
        let offers_http2 = may_speak_http2 && self.head.websocket.is_none();
        let mut opening = announce::Opening { header, starttls: Starttls::Off, offers_http2 };
        let mut stream = self.target.dial(permit, client, &opening).await?;
        if stream.alpn() == Some(b"h2") {
            permit.share_http2(stream);
            if let Some(answered) = self.run_http2(permit, exchange, client).await? {
                return Ok(answered);
            }
            // To others it has said meanwhile that it does not.
            opening.offers_http2 = false;
            stream = self.target.dial(permit, client, &opening).await?;
        }
        let stream = Http1Stream::new(stream, Buffer::default());
        let result = self.exchange((stream, Moment::now()), exchange, client).await;
        result.map_err(|error| {
            // Only on a new connection is it the handshake that failed.
            let refusal = error.source().filter(|cause| dial::is_late_refusal(*cause));
            let refusal = refusal.map(ToString::to_string);
            refusal.map_or(error, |why| ProxyError::because(Kind::UpstreamTls, why))
        })
    }

    /// Whether the attempt goes over HTTP/2 where the backend speaks it: a protocol that is switched to needs a connection
    /// of its own, but for WebSockets, where the backend takes them so (RFC 8441).
    fn may_speak_http2(&mut self, exchange: &Exchange) -> Result<bool> {
        let upstream = &self.target.worker_upstream.upstream;
        match upstream.conf.protocol {
            UpstreamProtocol::Http1 => Ok(false),
            UpstreamProtocol::Auto => {
                Ok(upstream.tls.is_some() && (!self.head.is_upgrade || self.head.websocket.is_some()))
            }
            UpstreamProtocol::H2 if exchange.request.method == Method::Connect => {
                Err(Kind::NotAllowed.into())
            }
            // RFC 9110 §7.8: an upgrade may be declined by ignoring it.
            UpstreamProtocol::H2 => {
                self.head.is_upgrade = self.head.websocket.is_some();
                Ok(true)
            }
        }
    }

    pub(super) fn may_replace(&self, exchange: &Exchange) -> bool {
        let upload = &self.upload;
        // RFC 9110 §9.2.2: also an empty POST may have been done.
        exchange.request.method.is_idempotent() && upload.is_replayable() && !self.is_interim_sent
    }

    /// Sends the request over `stream` and reads the response head; `now` is the present.
    async fn exchange<D: Downstream>(
        &mut self,
        (mut stream, now): (Http1Stream, Moment),
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Answered> {
        stream.output().reserve(1024);
        self.head.backend_host = self.host_of(exchange.facts.backend);
        self.head.write_http1(exchange, stream.output());
        let mut progress = self.begin_progress(client, now);
        poll_fn(|cx| self.poll_response(cx, &mut stream, exchange, client, &mut progress)).await?;
        let reader = Framing::of_response(&exchange.response, &exchange.request.method)
            .map(|framing| BodyReader::new(framing, Message::Response))
            .map_err(|what| ProxyError::new(Kind::BadResponse(what)))?;
        let is_reusable = keeps_alive(exchange.response.version, &exchange.response.fields)
            && !matches!(reader, BodyReader::UntilClose)
            && exchange.response.status != 101;
        let options = ConnectionOptions::of(&exchange.response.fields)
            .map_err(|what| ProxyError::new(Kind::BadResponse(what)))?;
        let is_tunnel = self.head.is_upgrade && is_switched(exchange)?;
        if is_tunnel {
            self.send_rest(&mut stream, client, &mut progress).await?;
        }
        if is_tunnel && let Some(key) = &self.head.websocket {
            websocket::check(key, &exchange.response)?;
            websocket::answer(exchange);
        }
        let body = Answering::Http1 { stream, reader, is_reusable };
        Ok(Answered { body, switched: is_tunnel.then(|| self.head.switched_to()), options })
    }

    /// The beginning of an attempt whose head is written. A client of whose body some is here, or all, waits for nothing.
    pub(super) fn begin_progress<D: Downstream>(&self, client: &D, now: Moment) -> Progress {
        let is_waiting_for_100 = self.head.expects_continue && !self.has_some_body(client);
        Progress {
            scan: Scan::default(),
            limits: self.target.worker_upstream.upstream.conf.limits.of_head(),
            waited_for: None,
            continue_at: is_waiting_for_100.then(|| now.plus(CONTINUE_PATIENCE)),
            now: Some(now),
        }
    }

    /// Whether some of the request body is here, or went on, or all has.
    fn has_some_body<D: Downstream>(&self, client: &D) -> bool {
        self.upload.bytes > 0 || self.upload.is_ended() || client.has_body_bytes()
    }

    /// The Host that a backend gets by its upstream; `None` where that is the client's.
    pub(super) fn host_of(&self, index: Option<usize>) -> Option<Cow<'a, str>> {
        let upstream = &self.target.worker_upstream.upstream;
        let backend = index.and_then(|index| upstream.backends.get(index));
        upstream.conf.host.of(backend.map(|backend| &**backend))
    }

    /// Ready with a final response head. The request body goes up meanwhile.
    pub(super) fn poll_response<D: Downstream, C: Carrier>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut C,
        exchange: &mut Exchange,
        client: &mut D,
        progress: &mut Progress,
    ) -> Poll<Result<()>> {
        loop {
            let waiting = match progress.continue_at {
                None => self.upload.poll(cx, client, stream)?,
                Some(_) => Waiting::Client,
            };
            // A backend that takes no more may have answered already: reading shows it.
            stream.flush(cx);
            let head = stream.poll_head(cx, &mut exchange.response, &mut progress.scan, &progress.limits);
            match head.map_err(|error| blame_upload(error, waiting))? {
                Poll::Ready(()) if exchange.response.status >= 200 || exchange.response.status == 101 => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(()) => {
                    progress.scan = Scan::default();
                    self.pass_interim(exchange, client, progress)?;
                    if let Some(patience) = &mut self.patience {
                        patience.first = patience.then;
                        progress.waited_for = None;
                    }
                    let _ = client.poll_flush(cx)?;
                    continue;
                }
                Poll::Pending => {}
            }
            if self.upload.is_sent() && client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Kind::ClientGone.into()));
            }
            self.renew_deadline(client.deadline(), waiting, progress);
            if client.deadline().poll_elapsed(cx).is_pending() {
                return Poll::Pending;
            }
            if progress.end_patience() {
                // The backend does not say 100, as HTTP/1.0 does not: the client is told to go on.
                self.say_continue(client);
                let _ = client.poll_flush(cx)?;
                continue;
            }
            return Poll::Ready(Err(self.late(waiting)));
        }
    }

    /// Sets the deadline anew where another is waited for, or more of the body has gone on: gone on and not come, since of
    /// a body that is here whole, all has come from the start.
    pub(super) fn renew_deadline(&mut self, deadline: &Deadline, waiting: Waiting, progress: &mut Progress) {
        let now_waited_for = (waiting, self.upload.progress());
        if progress.waited_for != Some(now_waited_for) {
            progress.waited_for = Some(now_waited_for);
            let now = progress.now.take().unwrap_or_else(Moment::now);
            self.client_part = match self.client_part {
                // While it waits for a 100 it is the backend's turn.
                _ if waiting == Waiting::Client && progress.continue_at.is_none() => ClientPart::Awaited,
                ClientPart::Awaited => ClientPart::Came(now),
                part @ (ClientPart::None | ClientPart::Came(_)) => part,
            };
            self.set_deadline(deadline, waiting, progress.continue_at, now);
        }
    }

    /// That the deadline is over.
    pub(super) fn late(&self, waiting: Waiting) -> ProxyError {
        let kind = if waiting == Waiting::Client { Kind::BodyTimeout } else { Kind::ResponseTimeout };
        self.target.elapsed(kind).into()
    }

    fn set_deadline(
        &mut self,
        deadline: &Deadline,
        waiting: Waiting,
        continue_at: Option<Moment>,
        now: Moment,
    ) {
        let at = match waiting {
            Waiting::Client => {
                let too_slow = self.rate.begin(self.upload.bytes, now);
                let silent = continue_at.unwrap_or_else(|| now.plus(self.body_timeout));
                too_slow.map_or(silent, |at| at.min(silent))
            }
            Waiting::Nothing | Waiting::Backend => {
                self.rate.end(now);
                now.plus(self.patience.map_or(self.response_timeout, |patience| patience.first))
            }
        };
        deadline.at(self.target.end.map_or(at, |end| end.min(at)));
    }

    fn pass_interim<D: Downstream>(
        &mut self,
        exchange: &mut Exchange,
        client: &mut D,
        progress: &mut Progress,
    ) -> Result<()> {
        let is_continue = exchange.response.status == 100;
        let fields = exchange.response.fields.iter();
        self.interim_bytes +=
            fields.map(|field| field.name.len() + field.value.len() + 4).sum::<usize>() + 32;
        if self.interim_bytes > MOST_INTERIM_BYTES {
            return Err(Kind::BadResponse("too many interim responses").into());
        }
        // RFC 9110 §15.2: a proxy passes interim responses on, save a 100 that it asked for itself.
        if client.takes_interim() && (!is_continue || progress.continue_at.is_some()) {
            let head = &mut exchange.response;
            let options = ConnectionOptions::of(&head.fields)
                .map_err(|what| ProxyError::new(Kind::BadResponse(what)))?;
            take_hop(head, &options, false);
            // It has no content, whose length could be said (RFC 9110 §8.6).
            head.fields.remove_known(Known::ContentLength);
            if let Some(left) = self.withheld.and_then(|withheld| withheld.taken_out_of(&head.fields)) {
                head.fields = left;
            }
            client.interim(head);
            self.is_interim_sent |= !is_continue;
            // Another attempt asks for no other.
            self.head.expects_continue &= !is_continue;
        }
        if is_continue {
            // Now it is the client's turn, which has a time of its own.
            progress.end_patience();
        }
        Ok(())
    }

    /// Tells the client to go on, once for all attempts.
    pub(super) fn say_continue<D: Downstream>(&mut self, client: &mut D) {
        self.head.expects_continue = false;
        if client.takes_interim() {
            client.interim(&ResponseHead { status: 100, ..ResponseHead::default() });
        }
    }
}

/// Whether the backend took the protocol that was asked for, by Upgrade or CONNECT.
fn is_switched(exchange: &Exchange) -> Result<bool> {
    let (request, response) = (&exchange.request, &exchange.response);
    if request.method == Method::Connect {
        return Ok((200..300).contains(&response.status));
    }
    if response.status != 101 {
        return Ok(false);
    }
    // RFC 9110 §7.8: to what was asked for, and to nothing else.
    let asks_for = |protocol: &[u8]| {
        list(request.fields.all_known(Known::Upgrade)).any(|asked| asked.eq_ignore_ascii_case(protocol))
    };
    let mut protocols = list(response.fields.all_known(Known::Upgrade)).peekable();
    if protocols.peek().is_none() || !protocols.all(asks_for) {
        return Err(Kind::WrongUpgrade.into());
    }
    Ok(true)
}

/// A backend that closes while the client still sends its body, and is waited for, may be right to.
fn blame_upload(error: ProxyError, waiting: Waiting) -> ProxyError {
    match (error.kind(), waiting) {
        (Kind::Reset, Waiting::Client) => ProxyError::because(Kind::ResetInUpload, error),
        _ => error,
    }
}

/// How long a connection may have been idle for a request that may not be sent twice. No server that is known closes
/// sooner.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// What a backend may send of interim responses for one request: a client that does not read them holds them here.
const MOST_INTERIM_BYTES: usize = 256 * 1024;

/// How long a client that waits for a 100 is kept waiting for the backend to say it.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);
