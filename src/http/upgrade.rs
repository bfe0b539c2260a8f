//! Tunnels: after an upgrade or CONNECT the two connections are joined, byte for byte; of a WebSocket either may be a
//! stream of HTTP/2 (RFC 8441).

use std::{future::poll_fn, task::Poll};

use super::active::ActiveExchange;
use crate::{
    error::Kind,
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
}

/// Joins the client with the backend until both are done, one breaks, or both are silent for too long.
pub async fn join(client: &mut Http1Stream, deadline: &Deadline, tunnel: Tunnel) {
    // The response head goes first.
    deadline.after(tunnel.silence.idle);
    let flushed = poll_fn(|cx| match client.poll_flush(cx) {
        Poll::Ready(result) => Poll::Ready(result.is_ok()),
        Poll::Pending => deadline.poll_elapsed(cx).map(|()| false),
    });
    if !flushed.await {
        return;
    }
    let input = client.take_input();
    match tunnel {
        Tunnel { protocol: SwitchedTo::Other, backend: Switched::Http1(mut backend), .. } => {
            let Tunnel { permit, silence, mut exchange, .. } = tunnel;
            let one = Side { stream: &mut client.stream, input };
            let input = backend.take_input();
            let other = Side { stream: &mut backend.stream, input };
            let mut count = count(&permit);
            let (carried, _) = tunnel::join(one, other, deadline, silence, None, &mut count).await;
            exchange.facts.bytes_in += carried.up;
            exchange.facts.bytes_out += carried.down;
        }
        tunnel => join_frames(&mut client.stream, input, tunnel).await,
    }
}

/// Joins a client whose side is a stream with the backend.
pub(super) async fn join_stream(client: &mut impl Endpoint, tunnel: Tunnel) {
    join_frames(client, Buffer::default(), tunnel).await;
}

/// Joins the ends of a WebSocket. It ends with its listener, or with the program, in good order.
async fn join_frames(client: &mut impl Endpoint, input: Buffer, tunnel: Tunnel) {
    let Tunnel { permit, mut backend, silence, mut exchange, .. } = tunnel;
    let open = exchange.worker().tunnels.enter(exchange.listener());
    let backend_input = backend.take_input();
    let mut count = count(&permit);
    let (carried, end) = tunnel::join_frames(
        (client, input),
        (&mut backend, backend_input),
        silence,
        open.closing(),
        &mut count,
    )
    .await;
    exchange.facts.bytes_in += carried.up;
    exchange.facts.bytes_out += carried.down;
    if matches!(end, End::Over) {
        exchange.facts.error = Some((Kind::Draining, Kind::Draining.to_string()));
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
