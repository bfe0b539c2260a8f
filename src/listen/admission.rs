//! Whether a connection is let in: `allow`, `deny`, and the limit by address. Asked by `listen::accept`, and again by
//! `listen::connection` once a PROXY header has named the client.

use std::net::IpAddr;

use crate::runtime::{Listener, permit::AddressPlace};

/// Lets a connection of a client at this address in by `allow`, `deny` and `max_connections_per_address`: its place, where
/// there is a limit. One of a trusted proxy is let in; the clients behind it are judged with each request.
pub(super) fn judge(listener: &Listener, address: Option<IpAddr>) -> Result<Option<AddressPlace>, Refused> {
    let Some(address) = address.filter(|address| !listener.judges_requests_from(*address)) else {
        return Ok(None);
    };
    if !listener.admits(address) {
        return Err(Refused);
    }
    AddressPlace::take(listener, Some(address)).map_err(|_| Refused)
}

/// A connection is not let in.
#[derive(Debug)]
pub(super) struct Refused;
