//! Tunnels: after an upgrade or CONNECT the two connections are joined, byte for byte; of a WebSocket either may be a
//! stream of HTTP/2 (RFC 8441).

use std::{future::poll_fn, task::Poll};

use super::active::ActiveExchange;
use crate::{
    error::Kind,
    exchange::Exchange,
    net::{
        Buffer, Deadline, Http1Stream,
        tunnel::{self, Carried, End, Endpoint, Side, Silence},
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
    silence: Silence,
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
        Self { permit, backend, protocol, silence, exchange }
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
    deadline.after(tunnel.silence.idle);
    let flushed = poll_fn(|cx| match client.poll_flush(cx) {
        Poll::Ready(result) => Poll::Ready(result.is_ok()),
        Poll::Pending => deadline.poll_elapsed(cx).map(|()| false),
    });
    if !flushed.await {
        return;
    }
    client.rest();
    tunnel.rest();
    let is_followed =
        !matches!(*tunnel, Tunnel { protocol: SwitchedTo::Other, backend: Switched::Http1(_), .. });
    if is_followed {
        let input = client.take_input();
        return join_frames(&mut client.stream, input, deadline, &mut tunnel).await;
    }
    let Tunnel { permit, backend, silence, exchange, .. } = &mut *tunnel;
    let Switched::Http1(backend) = backend else { return };
    let input = client.take_input();
    let one = Side { stream: &mut client.stream, input };
    let input = backend.take_input();
    let other = Side { stream: &mut backend.stream, input };
    let mut count = count(permit);
    let (carried, _) = tunnel::join(one, other, deadline, *silence, None, &mut count).await;
    exchange.facts.bytes_in += carried.up;
    exchange.facts.bytes_out += carried.down;
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
    let Tunnel { permit, backend, silence, exchange, .. } = tunnel;
    let open = exchange.worker().tunnels.enter(exchange.listener());
    let other_input = backend.take_input();
    async move {
        let mut count = count(permit);
        let closing = poll_fn(|cx| open.poll_closing(cx));
        let ends = ((client, input), (backend, other_input));
        let joined = tunnel::join_frames(ends.0, ends.1, deadline, *silence, closing, &mut count);
        let (carried, end) = joined.await;
        exchange.facts.bytes_in += carried.up;
        exchange.facts.bytes_out += carried.down;
        if matches!(end, End::Over) {
            exchange.facts.error = Some((Kind::Draining, Kind::Draining.to_string()));
        }
    }
}

/// Counts what is carried for the backend.
fn count(permit: &Permit) -> impl FnMut(Carried) {
    let mut counted = 0;
    move |Carried { up, down, .. }| {
        permit.count_bytes(up + down - counted);
        counted = up + down;
    }
}
