//! Initial packets of clients, opened: their keys follow from the connection id that the client made up (RFC 9001 §5.2), so
//! that anybody on the way can read them, and nobody can change one by accident. Pure.

use rustls::{
    Side, SupportedCipherSuite,
    crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
    quic::{self, Keys, Suite},
};

use super::packet::{Long, Version, number};

/// What opens the Initial packets of one client.
pub(super) struct InitialKeys(Keys);

impl InitialKeys {
    /// The keys of packets to this connection id; `None` where the cryptography has none for QUIC.
    pub(super) fn new(version: Version, destination: &[u8]) -> Option<Self> {
        let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 else { return None };
        let suite = Suite { suite, quic: suite.quic? };
        let version = match version {
            Version::One => quic::Version::V1,
            Version::Two => quic::Version::V2,
        };
        Some(Self(suite.keys(destination, Side::Server, version)))
    }

    /// Opens a packet: its frames. `None` where it is not for these keys.
    pub(super) fn open(&self, sealed: &Sealed<'_>) -> Option<Vec<u8>> {
        let keys = &self.0.remote;
        // The number is one to four bytes long, which is known once four are open (RFC 9001 §5.4.2).
        let (header, body) = sealed.packet.split_at_checked(sealed.number_at)?;
        let (number, sample) = body.split_first_chunk::<4>()?;
        let sample = sample.get(..keys.header.sample_len())?;
        let (mut first, mut opened) = (*header.first()?, *number);
        keys.header.decrypt_in_place(sample, &mut first, &mut opened).ok()?;
        let length = usize::from(first & 3) + 1;
        let opened = opened.get(..length)?;
        let mut header = header.to_vec();
        *header.first_mut()? = first;
        header.extend_from_slice(opened);
        // A client's first packets: what is left out of their number is zeros (RFC 9000 §A.3).
        let number = opened.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let mut payload = body.get(length..)?.to_vec();
        let length = keys.packet.decrypt_in_place(number, &header, &mut payload).ok()?.len();
        payload.truncate(length);
        Some(payload)
    }
}

/// An Initial packet as it came.
pub(super) struct Sealed<'a> {
    /// All of it, and nothing of what follows it in the datagram.
    packet: &'a [u8],
    /// Where its number is.
    number_at: usize,
    /// Whether a server may read it: without the fixed bit only where a token says that it let the client leave that out
    /// before (RFC 9287 §3.1).
    pub(super) may_be_read: bool,
}

impl<'a> Sealed<'a> {
    /// Finds the end of the packet that a datagram begins with, and gives what follows it too.
    pub(super) fn split(datagram: &'a [u8], long: &Long<'a>) -> Option<(Self, &'a [u8])> {
        let (token, rest) = number(long.rest)?;
        let (_, rest) = rest.split_at_checked(token)?;
        let (packet, after, number_at) = bounded(datagram, rest)?;
        Some((Self { packet, number_at, may_be_read: long.has_fixed_bit || token > 0 }, after))
    }
}

/// What follows a packet that says its length where its ids end, as those do that are neither Initial nor Retry.
pub(super) fn skip<'a>(datagram: &'a [u8], long: &Long<'a>) -> Option<&'a [u8]> {
    bounded(datagram, long.rest).map(|(_, after, _)| after)
}

/// The packet whose length is next, what follows it, and where that length ends.
fn bounded<'a>(datagram: &'a [u8], rest: &[u8]) -> Option<(&'a [u8], &'a [u8], usize)> {
    let (length, rest) = number(rest)?;
    let at = datagram.len().checked_sub(rest.len())?;
    let (packet, after) = datagram.split_at_checked(at.checked_add(length)?)?;
    Some((packet, after, at))
}
