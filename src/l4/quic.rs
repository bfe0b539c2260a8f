//! QUIC as somebody sees it who passes it on: which server a client asks for, and which connection a datagram belongs to.
//! Pure but for the account of memory; `l4::udp` has the sockets and sessions.
//!
//! A client's first packets are sealed with keys that follow from what is written on them (RFC 9001 §5.2), so that the
//! ClientHello can be read; everything after it cannot. Why it is so: `docs/decisions/027-quic-by-name.md`.

mod crypto;
pub(super) mod handshake;
mod initial;
pub(super) mod packet;
pub(super) mod waiting;

/// Reads frames that have these bytes one by one, the last one first.
#[cfg(test)]
pub(crate) fn read_in_pieces(bytes: &[u8]) {
    let mut pieces = crypto::Pieces::default();
    let frames = bytes.iter().enumerate().rev().map(|(at, byte)| crypto::frame(at, &[*byte]));
    assert!(pieces.take(&frames.collect::<Vec<_>>().concat()).is_ok());
    let _ = super::hello::read_message(pieces.whole());
}

/// Reads these bytes as frames, and as a datagram.
#[cfg(test)]
pub(crate) fn read(bytes: &[u8]) {
    let _ = crypto::Pieces::default().take(bytes);
    let id = crate::runtime::flows::ConnectionId::new(b"8 bytes!").unwrap_or_else(|| unreachable!());
    let _ = handshake::Handshake::new(packet::Version::One, id).read(bytes);
}
