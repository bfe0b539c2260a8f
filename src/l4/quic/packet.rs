//! QUIC packets as far as anybody can read them who has no keys: what holds for every version (RFC 8999), and the kinds of
//! packets of versions 1 and 2 (RFC 9000 §17.2, RFC 9369 §3.2). Pure.

use crate::runtime::flows::MOST_ID;

/// A version of QUIC whose packets can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l4) enum Version {
    /// RFC 9000.
    One,
    /// RFC 9369.
    Two,
}

/// A packet with a long header: those of handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l4) struct Long<'a> {
    /// The version; 0 is of Version Negotiation, which only servers send.
    pub(in crate::l4) version: u32,
    /// The two bits that say which packet it is, in a way that depends on the version.
    bits: u8,
    /// Whether the bit is set without which a packet of a version that is known is to be dropped (RFC 9000 §17.2), unless
    /// both ends agreed that it may be so (RFC 9287).
    pub(super) has_fixed_bit: bool,
    /// Whom it is for.
    pub(in crate::l4) destination: &'a [u8],
    /// Whom it is from: what the other side is to write to.
    pub(in crate::l4) source: &'a [u8],
    /// What follows the connection ids.
    pub(in crate::l4) rest: &'a [u8],
}

/// What a packet with a long header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l4) enum Kind {
    /// The beginning of a handshake, under keys that anybody can derive.
    Initial,
    /// What a client sends before it is answered.
    ZeroRtt,
    /// The rest of a handshake.
    Handshake,
    /// A server's wish that the client begins anew, with a token.
    Retry,
}

/// Whether a datagram begins with a packet that has a long header (RFC 8999 §5.1).
pub(in crate::l4) fn is_long(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0x80 != 0)
}

/// A version of which packets can be read.
pub(in crate::l4) fn known(version: u32) -> Option<Version> {
    match version {
        1 => Some(Version::One),
        0x6b33_43cf => Some(Version::Two),
        _ => None,
    }
}

impl<'a> Long<'a> {
    /// Reads the part of a header that is the same in every version; `None` where there is none.
    pub(in crate::l4) fn read(datagram: &'a [u8]) -> Option<Self> {
        let (first, rest) = datagram.split_first().filter(|(first, _)| **first & 0x80 != 0)?;
        let (version, rest) = rest.split_first_chunk()?;
        let (destination, rest) = with_length(rest)?;
        let (source, rest) = with_length(rest)?;
        let (bits, has_fixed_bit) = (first >> 4 & 3, first & 0x40 != 0);
        let version = u32::from_be_bytes(*version);
        Some(Self { version, bits, has_fixed_bit, destination, source, rest })
    }

    /// Whether its connection ids are no longer than those of versions that are known: servers drop such a packet of these
    /// versions (RFC 9000 §17.2), and may drop one of others.
    pub(in crate::l4) fn has_short_ids(&self) -> bool {
        self.destination.len() <= MOST_ID && self.source.len() <= MOST_ID
    }

    /// Whether a server that is there answers a client whose datagram begins with this packet, where it opens: what begins
    /// with another kind may be dropped in silence, and without the fixed bit it mostly is.
    pub(in crate::l4) fn is_to_be_answered(&self, version: Version) -> bool {
        self.has_fixed_bit && self.kind(version) == Kind::Initial
    }

    /// Which packet it is, of a version that is known.
    pub(in crate::l4) fn kind(&self, version: Version) -> Kind {
        let from_initial = match version {
            // RFC 9369 §3.2: the same four, and each is one further.
            Version::Two => (self.bits + 3) & 3,
            Version::One => self.bits,
        };
        match from_initial {
            0 => Kind::Initial,
            1 => Kind::ZeroRtt,
            2 => Kind::Handshake,
            _ => Kind::Retry,
        }
    }
}

/// Bytes with their length before them, in one byte.
fn with_length(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// A number of variable length (RFC 9000 §16), and what follows it.
pub(super) fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let mut value = u64::from(first & 0x3f);
    for _ in 1..1_usize << (first >> 6) {
        let (next, after) = rest.split_first()?;
        value = value << 8 | u64::from(*next);
        rest = after;
    }
    Some((usize::try_from(value).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_standard() {
        // RFC 9000 §A.1.
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(number(&[bytes, &[7]].concat()), Some((value, &[7][..])));
            assert_eq!(number(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn both_versions_have_their_kinds() {
        for (first, one, two) in [
            (0xc0, Kind::Initial, Kind::Retry),
            (0xd0, Kind::ZeroRtt, Kind::Initial),
            (0xe0, Kind::Handshake, Kind::ZeroRtt),
            (0xf0, Kind::Retry, Kind::Handshake),
        ] {
            let packet = [first, 0, 0, 0, 1, 1, b'd', 2, b's', b's', 9];
            let long = Long::read(&packet).unwrap();
            assert_eq!((long.destination, long.source, long.rest), (&b"d"[..], &b"ss"[..], &[9][..]));
            assert_eq!((long.kind(Version::One), long.kind(Version::Two)), (one, two));
            for length in 0..packet.len() - 1 {
                assert_eq!(Long::read(&packet[..length]), None);
            }
        }
        assert_eq!(Long::read(&[0x40; 30]), None, "a short header");
    }

    #[test]
    fn initial_packet_with_the_fixed_bit_is_to_be_answered() {
        for (first, one, two) in
            [(0xc0, true, false), (0xd0, false, true), (0x80, false, false), (0x90, false, false)]
        {
            let packet = [first, 0, 0, 0, 1, 1, b'd', 1, b's', 9];
            let long = Long::read(&packet).unwrap();
            assert_eq!(
                (long.is_to_be_answered(Version::One), long.is_to_be_answered(Version::Two)),
                (one, two)
            );
        }
    }

    #[test]
    fn ids_of_more_than_20_bytes_are_of_other_versions() {
        for (destination, source, are_short) in [(20_u8, 20_u8, true), (21, 8, false), (8, 21, false)] {
            let ids = [
                &[destination][..],
                &[1; 21][..usize::from(destination)],
                &[source],
                &[2; 21][..usize::from(source)],
            ];
            let packet = [&[0xc0, 0, 0, 0, 1][..], &ids.concat()].concat();
            assert_eq!(Long::read(&packet).unwrap().has_short_ids(), are_short, "{destination} {source}");
        }
    }
}
