//! QUIC packets as far as anybody can read them who has no keys: what holds for every version (RFC 8999), and the kinds of
//! packets of versions 1 and 2 (RFC 9000 §17.2, RFC 9369 §3.2). Pure.

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
        let bits = first >> 4 & 3;
        Some(Self { version: u32::from_be_bytes(*version), bits, destination, source, rest })
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
}
