//! A response whose head has come from a backend, and whose body is to come.
//!
//! Previous stop: `upstream::forward`. Next stop: `http::respond`, which sends it to the client, or a cache's fill.
//!
//! Invariant: its head, in `exchange.response`, has no hop-by-hop fields any more and has a Date. Only
//! `UpstreamResponse::new` makes one, and cleans the head on the way, so that nobody has to remember to.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use super::{
    Permit,
    carrier::Answering,
    judged::Judged,
    switched::{Switched, SwitchedTo},
    upload::{Upload, Waiting},
    verdict,
};
use crate::{
    error::{Kind, Result},
    exchange::{Bond, BoundConnection, Downstream, grpc},
    fields::{ConnectionOptions, Fields, Known},
    h1::ResponseHead,
    health::passive::Verdict,
    moment::Moment,
    net::{BodyFrame, BodyReader, Buffer},
    telemetry::clock,
};

/// A response whose head has come, and whose body is to come. In a box, since it passes through many hands.
#[derive(Debug)]
pub struct UpstreamResponse(Box<Parts>);

#[derive(Debug)]
struct Parts {
    permit: Permit,
    body: Answering,
    upload: Upload,
    switched: Option<SwitchedTo>,
    owner: Owner,
    ahead: Option<Ahead>,
    /// More of the request body is the client's to send.
    awaits_client: bool,
    judged: Judged,
}

/// What was read of a body before anybody was promised any of it.
#[derive(Debug)]
struct Ahead {
    /// How long the body was before that.
    length: BodyLength,
    bytes: Buffer,
    /// Its end, with trailers if there were some, once it was read.
    end: Option<Option<Box<Fields>>>,
}

impl Parts {
    /// Tells passive health that all of the body is here, where its head was a success.
    fn came_whole(&self) {
        if matches!(self.judged, Judged::ByHead(_)) {
            self.permit.worker_upstream().came_whole(self.permit.index(), Moment::recent());
        }
    }
}

/// Whose the connection is once both bodies are through.
#[derive(Debug)]
pub(super) enum Owner {
    /// Whoever comes next.
    Pool,
    /// The client connection's alone: it is logged in, or was announced with this client.
    Client(Rc<BoundConnection>, Bond),
    /// It is that, and its client has no connection of its own: it is closed.
    Nobody,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// So many bytes.
    Known(u64),
    /// Its end will be marked.
    Unknown,
    /// It ends with the connection: whether it is whole cannot be known.
    UntilClose,
}

impl BodyLength {
    /// The bytes, where they are known.
    pub fn known(self) -> Option<u64> {
        match self {
            Self::Known(length) => Some(length),
            Self::Unknown | Self::UntilClose => None,
        }
    }
}

/// A connection on which a response head has come.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) body: Answering,
    /// What the backend has switched to, where it has.
    pub(super) switched: Option<SwitchedTo>,
    /// What its head has for this hop alone.
    pub(super) options: ConnectionOptions,
}

impl UpstreamResponse {
    /// A response of the backend that the permit is for; `head` is cleaned of what ends at this hop.
    pub(super) fn new(
        answered: Answered,
        permit: Permit,
        upload: Upload,
        head: &mut ResponseHead,
        owner: Owner,
        judged: Judged,
    ) -> Self {
        let Answered { body, switched, options } = answered;
        clean(head, &options, switched.is_some());
        let (ahead, awaits_client) = (None, false);
        let new =
            Self(Box::new(Parts { permit, body, upload, switched, owner, ahead, awaits_client, judged }));
        if new.length() == BodyLength::Known(0) {
            new.0.came_whole();
        }
        new
    }

    /// How long its body is.
    pub fn length(&self) -> BodyLength {
        if let Some(ahead) = &self.0.ahead {
            return ahead.length;
        }
        match &self.0.body {
            Answering::Http1 { reader: BodyReader::Done, .. } => BodyLength::Known(0),
            Answering::Http1 { reader: BodyReader::Length(length), .. } => BodyLength::Known(*length),
            Answering::Http1 { reader: BodyReader::Chunked(_), .. } => BodyLength::Unknown,
            Answering::Http1 { reader: BodyReader::UntilClose, .. } => BodyLength::UntilClose,
            Answering::Http2(stream) => stream.body_length().map_or(BodyLength::Unknown, BodyLength::Known),
        }
    }

    /// Whether the connection is a tunnel from here ([`UpstreamResponse::into_tunnel`]).
    pub fn is_tunnel(&self) -> bool {
        self.0.switched.is_some()
    }

    /// Reads its body to the end before anybody is promised any of it; [`UpstreamResponse::poll_body`] gives it then. One of
    /// more than `most` bytes, or that ends with its connection, is left to be read by that. An error says that it broke off
    /// ([`Kind::BodyBroken`]).
    pub fn poll_whole(&mut self, cx: &mut Context<'_>, most: u64) -> Poll<Result<()>> {
        let length = self.length();
        if length == BodyLength::UntilClose || length.known().is_some_and(|length| length > most) {
            return Poll::Ready(Ok(()));
        }
        loop {
            // What was read is kept where it is not the end yet, and is asked for again.
            let frame = ready!(self.poll_next(cx)?);
            let ahead = Ahead { length, bytes: Buffer::default(), end: None };
            let ahead = self.0.ahead.get_or_insert(ahead);
            match frame {
                BodyFrame::Data(buffer) => {
                    ahead.bytes.append(&buffer);
                    if ahead.bytes.len() as u64 > most {
                        return Poll::Ready(Ok(()));
                    }
                }
                BodyFrame::End(trailers) => {
                    ahead.end = Some(trailers);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// The next of its body. An error says that it broke off ([`Kind::BodyBroken`]).
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
        if let Some(ahead) = &mut self.0.ahead {
            if !ahead.bytes.is_empty() {
                return Poll::Ready(Ok(BodyFrame::Data(std::mem::take(&mut ahead.bytes))));
            }
            if let Some(trailers) = ahead.end.take() {
                return Poll::Ready(Ok(BodyFrame::End(trailers)));
            }
        }
        self.poll_next(cx)
    }

    /// The next that comes over the connection.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
        let frame = self.0.body.poll_body(cx);
        let Parts { permit, judged, .. } = &*self.0;
        match (&frame, judged) {
            (Poll::Ready(Ok(BodyFrame::Data(buffer))), _) => permit.count_bytes(buffer.len() as u64),
            (Poll::Ready(Ok(BodyFrame::End(Some(trailers)))), Judged::ByTrailers(call)) => {
                if let Some(code) = grpc::status(trailers) {
                    let verdict = call.verdict(code);
                    permit.worker_upstream().record_health(permit.index(), verdict, Moment::recent());
                }
            }
            (Poll::Ready(Ok(BodyFrame::End(_))), _) => self.0.came_whole(),
            (Poll::Ready(Err(_)) | Poll::Pending, _) => {}
        }
        frame
    }

    /// Brings on what is left of the request body: a backend may answer before it has all of it, and then both bodies
    /// are under way. Once it is through, says by an error when the client leaves.
    pub fn poll_upload<D: Downstream>(&mut self, cx: &mut Context<'_>, client: &mut D) -> Result<()> {
        let Parts { body, upload, awaits_client, .. } = &mut *self.0;
        // What could not be written now is written when the stream says so; the backend's response is what counts. The last
        // of the body may be gathered still, and nobody else brings it out.
        let waiting = match body {
            Answering::Http1 { stream, .. } => {
                let waiting = upload.poll(cx, client, stream)?;
                let is_written =
                    waiting == Waiting::Backend || stream.is_flushed() || stream.poll_flush(cx).is_ready();
                if waiting == Waiting::Nothing && !is_written { Waiting::Backend } else { waiting }
            }
            Answering::Http2(stream) => upload.poll(cx, client, stream)?,
        };
        *awaits_client = waiting == Waiting::Client;
        if waiting == Waiting::Nothing && upload.is_sent() && client.poll_gone(cx).is_ready() {
            return Err(Kind::ClientGone.into());
        }
        Ok(())
    }

    /// How many bytes of the request body went on, about.
    pub fn upload_progress(&self) -> u64 {
        self.0.upload.progress()
    }

    /// Whether the backend waits for more of the request body, and the client does not send it.
    pub fn awaits_client(&self) -> bool {
        self.0.awaits_client
    }

    /// Whether the whole request body has left; never where the backend took no more of it.
    pub fn is_uploaded(&self) -> bool {
        let Parts { body, upload, .. } = &*self.0;
        upload.is_sent()
            && match body {
                Answering::Http1 { stream, .. } => stream.is_flushed(),
                Answering::Http2(_) => true,
            }
    }

    /// Whether nothing more of the request body will go to the backend.
    pub fn is_upload_over(&self) -> bool {
        self.is_uploaded() || self.0.upload.is_refused()
    }

    /// Bytes of the request body that came from the client.
    pub fn uploaded(&self) -> u64 {
        self.0.upload.bytes
    }

    /// The backend's part is over: the connection is kept if both bodies are through, and the place is free.
    pub fn release(self) {
        let is_uploaded = self.is_uploaded();
        let Parts { permit, body, owner, .. } = *self.0;
        let Answering::Http1 { stream, is_reusable, .. } = body else { return };
        if !is_reusable || !is_uploaded {
            return;
        }
        match owner {
            Owner::Pool => permit.keep(stream, Moment::recent()),
            Owner::Client(bound, bond) => {
                if let Some(backend) = permit.backend() {
                    bound.put(backend.clone(), stream, bond, Moment::recent());
                }
            }
            Owner::Nobody => {}
        }
    }

    /// Tells health and metrics that nothing came of the body for longer than that is waited for. Where its length says
    /// that there is more, the backend owes that; a stream of events, a call that waits or a watch may have nothing to
    /// say, and it is we who end it.
    pub fn record_quiet(&self, kind: Kind) {
        if self.length().known().is_some() {
            self.record_failure(kind);
        }
    }

    /// Tells health and metrics that the body broke off, or that the client did not take it.
    pub fn record_failure(&self, kind: Kind) {
        let (verdict, outcome) = verdict::of_error(kind);
        let Parts { permit, judged, .. } = &*self.0;
        let worker_upstream = permit.worker_upstream();
        if matches!(kind, Kind::BodyBroken | Kind::ResponseTooLarge) {
            permit.set_outcome(outcome);
        }
        match (*judged, verdict) {
            (Judged::ByHead(said), Verdict::Failure(kind)) => {
                worker_upstream.take_back(permit.index(), (said, kind), Moment::now());
            }
            (Judged::ByTrailers(_), _) => {
                worker_upstream.record_health(permit.index(), verdict, Moment::now())
            }
            (Judged::ByHead(_), Verdict::Success | Verdict::Neutral) | (Judged::Already, _) => {}
        }
    }

    /// The backend's end of a tunnel, and the place at the backend, which is held as long as the tunnel is there; `None`
    /// where it is no tunnel.
    pub fn into_tunnel(self) -> Option<(Permit, Switched, SwitchedTo)> {
        let Parts { permit, body, switched, .. } = *self.0;
        if switched.is_some() {
            // It may last for days, and how it ends is between its two ends.
            permit.count_outcome();
        }
        let end = match body {
            Answering::Http1 { stream, .. } => Switched::Http1(stream),
            Answering::Http2(stream) => Switched::Http2(stream),
        };
        switched.map(|to| (permit, end, to))
    }
}

/// What is of this hop alone, whatever it switches to.
const OF_THIS_HOP: [Known; 4] =
    [Known::Connection, Known::KeepAlive, Known::ProxyConnection, Known::TransferEncoding];

/// Takes out of a response's head what ends at this hop, and adds the time of its arrival where it has no Date (RFC 9110
/// §6.6.1).
fn clean(head: &mut ResponseHead, options: &ConnectionOptions, is_tunnel: bool) {
    take_hop(head, options, is_tunnel);
    if !head.fields.has(Known::Date) {
        clock::with_date(|date| head.fields.push_known(Known::Date, date.as_bytes()));
    }
}

/// Takes out of a response's head, an interim one's too, what ends at this hop (RFC 9110 §7.6.1).
#[inline]
pub(super) fn take_hop(head: &mut ResponseHead, options: &ConnectionOptions, is_tunnel: bool) {
    head.fields.remove_all_known(&OF_THIS_HOP);
    match is_tunnel {
        // RFC 9110 §8.6: neither a 101 nor a success of CONNECT has a length; what follows is the tunnel's.
        true => head.fields.remove_known(Known::ContentLength),
        false => head.fields.remove_known(Known::Upgrade),
    }
    if !options.is_empty() {
        // Content-Length frames the message, whatever Connection says.
        head.fields.retain(|field| field.known == Known::ContentLength || !options.name(field.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(fields: &[(&str, &str)], is_tunnel: bool) -> Vec<(String, String)> {
        let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
        fields.iter().for_each(|(name, value)| head.fields.push(name, value.as_bytes()));
        let options = ConnectionOptions::of(&head.fields).unwrap();
        clean(&mut head, &options, is_tunnel);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        head.fields.iter().map(|field| (text(field.name).to_lowercase(), text(field.value))).collect()
    }

    fn names(fields: &[(&str, &str)], is_tunnel: bool) -> Vec<String> {
        cleaned(fields, is_tunnel).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn hop_by_hop_and_connection_named_fields_are_removed() {
        let fields = [
            ("Connection", "close, X-Hop"),
            ("Keep-Alive", "timeout=5"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("x-hop", "1"),
            ("x-end", "2"),
            ("Date", "Sat, 28 Nov 2026 00:00:00 GMT"),
        ];
        assert_eq!(names(&fields, false), ["x-end", "date"]);
        assert_eq!(names(&fields, true), ["upgrade", "x-end", "date"]);
    }

    #[test]
    fn a_date_is_added_only_where_there_is_none() {
        assert_eq!(names(&[("server", "a")], false), ["server", "date"]);
        let kept = cleaned(&[("date", "Thu, 01 Jan 1970 00:00:00 GMT")], false);
        assert_eq!(kept, [("date".to_owned(), "Thu, 01 Jan 1970 00:00:00 GMT".to_owned())]);
    }
}
