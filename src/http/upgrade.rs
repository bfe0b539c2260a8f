//! Tunnels: after an upgrade or CONNECT the two connections are joined, byte for byte; of a WebSocket either may be a
//! stream of HTTP/2 (RFC 8441).

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use super::active::ActiveExchange;
use crate::{
    error::{Kind, ProxyError},
    exchange::Exchange,
    net::{
        Buffer, Deadline, Http1Stream, Stream,
        tunnel::{Carried, End, Endpoint, FramedJoint, Joint, Limits, Silence},
    },
    upstream::{Permit, Switched, SwitchedTo},
};

/// What an upgraded connection is joined with.
#[derive(Debug)]
pub struct Tunnel {
    /// The place at the backend, held as long as the tunnel is there.
    permit: Permit,
    /// The backend's side.
    backend: Switched,
    /// What is spoken.
    protocol: SwitchedTo,
    /// How long it may be silent.
    limits: Limits,
    /// The exchange; it ends with the tunnel.
    exchange: ActiveExchange,
}

impl Tunnel {
    /// Of a response that switched protocols.
    pub(super) fn new(
        (permit, backend, protocol): (Permit, Switched, SwitchedTo),
        silence: Silence,
        exchange: ActiveExchange,
    ) -> Self {
        Self { permit, backend, protocol, limits: Limits { silence, end: None }, exchange }
    }

    /// Gives back what was needed for the heads: it may be silent for hours, and only its log line needs them.
    fn rest(&mut self) {
        if let Switched::Http1(backend) = &mut self.backend {
            backend.rest();
        }
        let Exchange { request, response, .. } = &mut *self.exchange;
        request.fields = request.fields.compact();
        response.fields = response.fields.compact();
    }
}

/// Joins the client with the backend until both are done, one breaks, or both are silent for too long.
pub async fn join(client: &mut Http1Stream, deadline: &Deadline, mut tunnel: Box<Tunnel>) {
    // The response head goes first.
    deadline.after(tunnel.limits.silence.idle);
    let flushed = poll_fn(|cx| match client.poll_flush(cx) {
        Poll::Ready(result) => Poll::Ready(result.map_err(|_| Kind::ClientGone)),
        Poll::Pending => deadline.poll_elapsed(cx).map(|()| Err(Kind::ClientStalled)),
    });
    if let Err(kind) = flushed.await {
        client.stream.reset();
        tunnel.backend.reset();
        return note(&mut tunnel.exchange, Carried::default(), Some(kind.into()));
    }
    client.rest();
    tunnel.rest();
    let is_followed =
        !matches!(*tunnel, Tunnel { protocol: SwitchedTo::Other, backend: Switched::Http1(_), .. });
    if is_followed {
        let input = client.take_input();
        return join_frames(&mut client.stream, input, deadline, &mut tunnel).await;
    }
    let mut joined = Joined {
        joint: Joint::new(client.take_input(), tunnel.backend.take_input()),
        client: &mut client.stream,
        tunnel: &mut tunnel,
        is_over: false,
    };
    let mut counted = 0;
    let end = poll_fn(|cx| {
        let Joined { client, tunnel, joint, .. } = &mut joined;
        let Tunnel { permit, backend: Switched::Http1(backend), limits, .. } = &mut **tunnel else {
            return Poll::Ready(End::Done);
        };
        let ends = (&mut **client, &mut backend.stream);
        joint.poll(cx, ends, (deadline, &*limits), &mut |carried| count(permit, &mut counted, carried))
    })
    .await;
    joined.is_over = true;
    note(&mut joined.tunnel.exchange, joined.joint.carried(), error_of(end));
}

/// Two connections that are joined. Dropped before their end, by that of the program or an administrator, both are reset:
/// neither side shall take what came for all.
struct Joined<'a> {
    client: &'a mut Stream,
    tunnel: &'a mut Tunnel,
    joint: Joint,
    is_over: bool,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.client.reset();
        self.tunnel.backend.reset();
        note_dropped(&mut self.tunnel.exchange, self.joint.carried());
    }
}

/// The ends of a WebSocket that are joined. Each side knows by its frames what it has not got, so that neither is reset where
/// this is dropped before the end; what was carried is noted.
struct JoinedFrames<'a> {
    tunnel: &'a mut Tunnel,
    joint: FramedJoint,
}

impl Drop for JoinedFrames<'_> {
    fn drop(&mut self) {
        if !self.joint.is_over() {
            note_dropped(&mut self.tunnel.exchange, self.joint.carried());
        }
    }
}

/// Joins a client whose side is a stream with the backend.
pub(super) async fn join_stream(client: &mut impl Endpoint, mut tunnel: Box<Tunnel>) {
    tunnel.rest();
    let deadline = Deadline::new();
    join_frames(client, Buffer::default(), &deadline, &mut tunnel).await;
}

/// Joins the ends of a WebSocket. It ends with its listener, or with the program, in good order.
fn join_frames<'a>(
    client: &'a mut impl Endpoint,
    input: Buffer,
    deadline: &'a Deadline,
    tunnel: &'a mut Tunnel,
) -> impl Future<Output = ()> + 'a {
    // Made before the future, which would keep what it is made of, too.
    let joint = FramedJoint::new(input, tunnel.backend.take_input());
    let open = tunnel.exchange.worker().tunnels.enter(tunnel.exchange.listener());
    let mut joined = JoinedFrames { tunnel, joint };
    async move {
        let mut counted = 0;
        let end = poll_fn(|cx| {
            let JoinedFrames { tunnel, joint } = &mut joined;
            let Tunnel { permit, backend, limits, .. } = &mut **tunnel;
            let closing = |cx: &mut Context<'_>| open.poll_closing(cx);
            let mut watch = |carried| count(permit, &mut counted, carried);
            joint.poll(cx, (&mut *client, backend), (deadline, &*limits), closing, &mut watch)
        })
        .await;
        let error = if matches!(end, End::Over) { Some(Kind::Draining.into()) } else { error_of(end) };
        note(&mut joined.tunnel.exchange, joined.joint.carried(), error);
    }
}

/// What the end of a tunnel is to the log. Many break off once they have said in their own protocol that it is over, so that
/// this is worth no word.
fn error_of(end: End) -> Option<ProxyError> {
    match end {
        End::FirstBroke(_) | End::SecondBroke(_) => None,
        End::Done | End::Idle | End::FirstStalled | End::SecondStalled | End::Over => end.into_error(),
    }
}

/// Counts what is carried for the backend.
fn count(permit: &Permit, counted: &mut u64, Carried { up, down, .. }: Carried) {
    permit.count_bytes(up + down - *counted);
    *counted = up + down;
}

/// Notes what was carried of a tunnel that is dropped before its end: by that of the program, or an administrator.
fn note_dropped(exchange: &mut ActiveExchange, carried: Carried) {
    let is_closing = exchange.worker().is_closing(exchange.listener());
    let kind = if is_closing { Kind::Draining } else { Kind::Ended };
    note(exchange, carried, Some(kind.into()));
}

/// Notes what was carried in all, and what cut it off.
fn note(exchange: &mut ActiveExchange, carried: Carried, error: Option<ProxyError>) {
    exchange.facts.bytes_in += carried.up;
    exchange.facts.bytes_out += carried.down;
    if let Some(error) = error {
        exchange.facts.error = Some((error.kind(), error.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of a function's future.
    fn size_of_future<'a, F: Future>(
        _: impl FnOnce(&'a mut Http1Stream, &'a Deadline, Box<Tunnel>) -> F,
    ) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_a_websocket_waits_with_is_small() {
        // Sizes that the allocator has.
        let (future, tunnel) = (size_of_future(join), size_of::<Tunnel>());
        assert!(future <= 384 && tunnel <= 320, "{future} bytes, and {tunnel} of what is kept for its end");
    }
}
