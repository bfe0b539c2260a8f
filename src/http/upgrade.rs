//! Tunnels: after an upgrade or CONNECT the two connections are joined, byte for byte.

use std::{future::poll_fn, task::Poll};

use super::active::ActiveExchange;
use crate::{
    net::{
        Deadline, Http1Stream,
        tunnel::{self, Carried, Side, Silence},
    },
    upstream::Permit,
};

/// What an upgraded connection is joined with.
#[derive(Debug)]
pub struct Tunnel {
    /// The place at the backend, held as long as the tunnel is there.
    permit: Permit,
    /// The backend's side.
    backend: Http1Stream,
    /// How long it may be silent.
    silence: Silence,
    /// The exchange; it ends with the tunnel.
    exchange: ActiveExchange,
}

impl Tunnel {
    /// Of a response that switched protocols.
    pub(super) fn new(
        (permit, backend): (Permit, Http1Stream),
        silence: Silence,
        exchange: ActiveExchange,
    ) -> Self {
        Self { permit, backend, silence, exchange }
    }
}

/// Joins the client with the backend until both are done, one breaks, or both are silent for too long.
pub async fn join(client: &mut Http1Stream, deadline: &Deadline, tunnel: Tunnel) {
    let Tunnel { permit, mut backend, silence, mut exchange } = tunnel;
    // The response head goes first.
    deadline.after(silence.idle);
    let flushed = poll_fn(|cx| match client.poll_flush(cx) {
        Poll::Ready(result) => Poll::Ready(result.is_ok()),
        Poll::Pending => deadline.poll_elapsed(cx).map(|()| false),
    });
    if !flushed.await {
        return;
    }
    let input = client.take_input();
    let one = Side { stream: &mut client.stream, input };
    let input = backend.take_input();
    let other = Side { stream: &mut backend.stream, input };
    let mut counted = 0;
    let mut count = |Carried { up, down, .. }: Carried| {
        permit.count_bytes(up + down - counted);
        counted = up + down;
    };
    let (carried, _) = tunnel::join(one, other, deadline, silence, None, &mut count).await;
    exchange.facts.bytes_in += carried.up;
    exchange.facts.bytes_out += carried.down;
}
