//! Sending what was read: whole datagrams, and never a part of one.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
};

use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use rustix::{io::Errno, net::SendFlags};
use socket2::SockRef;

use super::batch::Received;
use crate::telemetry::datagrams::Dropped;

/// Whom datagrams go to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// Whom the socket is for.
    Connected,
    /// A client, from the address that it had asked where the socket has several.
    To(SocketAddr, Option<IpAddr>),
}

/// Datagrams and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
}

impl Carried {
    pub(super) fn add(&mut self, other: Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
    }
}

/// What became of datagrams.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) carried: Carried,
    /// How many were not sent, and why the last of them was not.
    pub(super) failed: u64,
    pub(super) error: Option<io::Error>,
}

/// Sends datagrams, in one call where the kernel takes them apart (UDP_SEGMENT). It ends at a refusal, which is of
/// datagrams before these: nothing was sent then.
pub(super) fn send(state: &UdpSocketState, socket: &impl AsFd, way: Way, received: Received<'_>) -> Sent {
    let count = received.count();
    if count > 1 && count <= state.max_gso_segments() {
        match send_one(state, socket, way, received, received.bytes, Some(received.each)) {
            Ok(()) => {
                let carried = Carried { datagrams: count as u64, bytes: received.bytes.len() as u64 };
                return Sent { carried, ..Sent::default() };
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock || is_refusal(&error) => {
                return Sent { failed: count as u64, error: Some(error), ..Sent::default() };
            }
            // The way out, or its MTU, does not allow it: one by one.
            Err(_) => {}
        }
    }
    let mut sent = Sent::default();
    for datagram in received.datagrams() {
        match again(way, || send_one(state, socket, way, received, datagram, None)) {
            Ok(()) => sent.carried.add(Carried { datagrams: 1, bytes: datagram.len() as u64 }),
            Err(error) => {
                sent.failed += 1;
                let is_over = is_refusal(&error) && sent.carried.datagrams == 0;
                sent.error = Some(error);
                if is_over {
                    sent.failed = count as u64;
                    break;
                }
            }
        }
    }
    sent
}

/// Sends datagrams to whom the socket is for, each behind its header, if any, for which there is room in `joined`.
pub(super) fn send_behind<'h>(
    state: &UdpSocketState,
    socket: &impl AsFd,
    header: impl Fn(&[u8]) -> &'h [u8],
    joined: &mut Vec<u8>,
    received: Received<'_>,
) -> Sent {
    let mut sent = Sent::default();
    for datagram in received.datagrams() {
        joined.clear();
        joined.extend_from_slice(header(datagram));
        joined.extend_from_slice(datagram);
        match again(Way::Connected, || send_one(state, socket, Way::Connected, received, joined, None)) {
            Ok(()) => sent.carried.add(Carried { datagrams: 1, bytes: datagram.len() as u64 }),
            Err(error) => {
                sent.failed += 1;
                let is_over = is_refusal(&error) && sent.carried.datagrams == 0;
                sent.error = Some(error);
                if is_over {
                    sent.failed = received.count() as u64;
                    break;
                }
            }
        }
    }
    sent
}

/// Sends, and once more where what failed may have been an earlier datagram: what came back for that by ICMP (it was too
/// large for a router, or is filtered) is told to whoever uses the connected socket next, and once. The same error again is
/// this one's own.
fn again(way: Way, mut send: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    match (way, send()) {
        (Way::Connected, Err(error)) if reason(&error) != Dropped::SendBuffer && !is_refusal(&error) => {
            send()
        }
        (Way::Connected | Way::To(..), sent) => sent,
    }
}

fn send_one(
    state: &UdpSocketState,
    socket: &impl AsFd,
    way: Way,
    received: Received<'_>,
    contents: &[u8],
    segment_size: Option<usize>,
) -> io::Result<()> {
    let is_plain = received.ecn.is_none() && segment_size.is_none();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let (destination, src_ip) = match way {
        // Without control messages the kernel uses the route that it knows.
        Way::Connected if is_plain => {
            return Ok(rustix::net::send(socket, contents, flags).map(drop)?);
        }
        Way::To(client, None) if is_plain => {
            return Ok(rustix::net::sendto(socket, contents, flags, &client).map(drop)?);
        }
        Way::To(client, asked) => (client, asked),
        Way::Connected => {
            let backend = SockRef::from(socket).peer_addr()?.as_socket();
            (backend.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?, None)
        }
    };
    let transmit = Transmit { destination, ecn: received.ecn, contents, segment_size, src_ip };
    state.try_send(UdpSockRef::from(socket), &transmit)
}

/// Whether an error says that nobody is where a socket's datagrams go to: what came back for an earlier one by ICMP.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN | Errno::NETDOWN)
    )
}

/// Why a datagram was not sent.
pub(super) fn reason(error: &io::Error) -> Dropped {
    match Errno::from_io_error(error) {
        Some(Errno::MSGSIZE) => Dropped::TooLarge,
        Some(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => Dropped::SendBuffer,
        _ => Dropped::Unsent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_sent_again_after_the_error_of_another() {
        let client = Way::To("192.0.2.1:5".parse().unwrap(), None);
        for (way, errors, calls, is_sent) in [
            (Way::Connected, &[Errno::MSGSIZE][..], 2, true),
            (Way::Connected, &[Errno::ACCESS], 2, true),
            (Way::Connected, &[Errno::PROTO], 2, true),
            (Way::Connected, &[Errno::MSGSIZE, Errno::MSGSIZE], 2, false),
            // Of these the caller makes something else.
            (Way::Connected, &[Errno::CONNREFUSED], 1, false),
            (Way::Connected, &[Errno::AGAIN], 1, false),
            (Way::Connected, &[Errno::NOBUFS], 1, false),
            (client, &[Errno::MSGSIZE], 1, false),
        ] {
            let mut count = 0;
            let result = again(way, || {
                count += 1;
                errors.get(count - 1).map_or(Ok(()), |error| Err((*error).into()))
            });
            assert_eq!((count, result.is_ok()), (calls, is_sent), "{errors:?} {way:?}");
        }
    }
}
