use proptest::prelude::*;
use rustls::{ClientConfig, RootCertStore, Side, pki_types::ServerName, quic};

use super::{super::crypto::frame, *};
use crate::rng::Rng;

const ID: &[u8] = &[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

fn vector(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn read(version: Version, datagrams: &[Vec<u8>]) -> Result<Option<ClientHello>, Useless> {
    let mut handshake = Handshake::new(version, ConnectionId::new(ID).unwrap());
    datagrams.iter().map(|datagram| handshake.read(datagram)).last().unwrap()
}

/// The ClientHello of a client of rustls over QUIC: it has a post-quantum key share, and so does not fit a datagram.
pub(in crate::l4::quic) fn hello(name: &str, alpn: &[u8]) -> Vec<u8> {
    let mut config =
        ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client =
        quic::ClientConnection::new(config.into(), quic::Version::V1, name, vec![1, 2, 0, 7]).unwrap();
    let mut bytes = Vec::new();
    client.write_hs(&mut bytes);
    bytes
}

/// An Initial packet with these frames, sealed as its client does it.
pub(in crate::l4::quic) fn seal(version: Version, id: &[u8], number: u8, frames: &[u8]) -> Vec<u8> {
    seal_as(&Look::default(), version, (id, number), frames)
}

/// What in an Initial packet is another client's, or nobody's.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::l4) struct Look<'a> {
    pub(in crate::l4) lacks_fixed_bit: bool,
    pub(in crate::l4) source: &'a [u8],
    /// Of fewer than 64 bytes.
    pub(in crate::l4) token: &'a [u8],
}

/// An Initial packet that looks so.
fn seal_as(look: &Look<'_>, version: Version, (id, number): (&[u8], u8), frames: &[u8]) -> Vec<u8> {
    let rustls::SupportedCipherSuite::Tls13(suite) =
        rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256
    else {
        unreachable!()
    };
    let (known, code, first) = match version {
        Version::One => (quic::Version::V1, 1_u32, 0xc0),
        Version::Two => (quic::Version::V2, 0x6b33_43cf, 0xd0),
    };
    let first = if look.lacks_fixed_bit { first & !0x40 } else { first };
    let suite = quic::Suite { suite, quic: suite.quic.unwrap() };
    let keys = suite.keys(id, Side::Client, known).local;
    let mut payload = frames.to_vec();
    let length = u16::try_from(payload.len() + 1 + keys.packet.tag_len()).unwrap() | 0x4000;
    let mut header = [&[first][..], &code.to_be_bytes(), &[u8::try_from(id.len()).unwrap()], id].concat();
    for bytes in [look.source, look.token] {
        header.push(u8::try_from(bytes.len()).unwrap());
        header.extend(bytes);
    }
    header.extend(length.to_be_bytes());
    let number_at = header.len();
    header.push(number);
    let tag = keys.packet.encrypt_in_place(u64::from(number), &header, &mut payload).unwrap();
    payload.extend_from_slice(tag.as_ref());
    let sample = payload[3..3 + keys.header.sample_len()].to_vec();
    let (first, rest) = header.split_first_mut().unwrap();
    keys.header.encrypt_in_place(&sample, first, &mut rest[number_at - 1..]).unwrap();
    [header, payload].concat()
}

/// A datagram with all of a ClientHello, of a client that made up this id.
pub(in crate::l4) fn whole_hello(look: &Look<'_>, id: &[u8]) -> Vec<u8> {
    seal_as(look, Version::One, (id, 0), &frame(0, &hello("a.test", b"h3")))
}

/// A datagram with these pieces of a message, filled up as clients do.
fn datagram(version: Version, number: u8, message: &[u8], pieces: &[(usize, usize)]) -> Vec<u8> {
    let frames = pieces.iter().map(|(from, to)| frame(*from, &message[*from..*to]));
    let mut frames = frames.collect::<Vec<_>>().concat();
    frames.resize(frames.len().max(LEAST), 0);
    seal(version, ID, number, &frames)
}

#[test]
fn packets_of_the_standards_open() {
    for (version, text) in [
        (Version::One, include_str!("vectors/rfc9001-a2.hex")),
        (Version::Two, include_str!("vectors/rfc9369-a2.hex")),
    ] {
        let packet = vector(text);
        assert_eq!(packet.len(), 1200);
        let hello = read(version, std::slice::from_ref(&packet)).unwrap().unwrap();
        assert_eq!(hello.server_name.as_deref(), Some("example.com"));
        assert_eq!(hello.alpn, [b"alpn"[..].into()]);
        // Every bit of it is sealed, or says where it is.
        for place in 0..packet.len() {
            let mut broken = packet.clone();
            broken[place] ^= 1;
            assert_eq!(read(version, &[broken]), Err(Useless::Datagram), "{place}");
        }
        assert_eq!(read(version, &[packet[..1199].to_vec()]), Err(Useless::Datagram));
    }
}

#[test]
fn a_large_hello_is_read_in_any_order_of_datagrams() {
    let message = hello("Shop.Example", b"h3");
    assert!(message.len() > 1400, "it needs two datagrams");
    let ends = [0, 1, 60, 61, 400, 900, 1100, message.len()];
    let pieces: Vec<(usize, usize)> = ends.windows(2).map(|pair| (pair[0], pair[1])).collect();
    for version in [Version::One, Version::Two] {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut pieces = pieces.clone();
            for at in (1..pieces.len()).rev() {
                pieces.swap(at, usize::try_from(rng.below(at as u64 + 1)).unwrap());
            }
            let (one, two) = pieces.split_at(3);
            let datagrams = [datagram(version, 0, &message, one), datagram(version, 1, &message, two)];
            assert_eq!(read(version, &datagrams[..1]), Ok(None));
            let found = read(version, &datagrams).unwrap().unwrap();
            assert_eq!(found.server_name.as_deref(), Some("shop.example"));
            assert_eq!(found.alpn, [b"h3"[..].into()]);
        }
    }
}

#[test]
fn packets_in_one_datagram_are_read_together() {
    let message = hello("a.test", b"h3");
    let mut frames = frame(600, &message[600..]);
    frames.resize(frames.len().max(1100), 0);
    let one = seal(Version::One, ID, 0, &frame(0, &message[..600]));
    let early = [&[0xd0, 0, 0, 0, 1, 8][..], ID, &[0, 3], b"abc"].concat();
    let two = seal(Version::One, ID, 1, &frames);
    let joined = [&*one, &early, &two].concat();
    assert_eq!(read(Version::One, &[joined]).unwrap().unwrap().server_name.as_deref(), Some("a.test"));
    // To somebody else (RFC 9000 §12.2), or in another version, it is not read.
    let other = seal(Version::One, b"somebody", 1, &frames);
    assert_eq!(read(Version::One, &[[&*one, &other].concat()]), Ok(None));
    let other = seal(Version::Two, ID, 1, &frames);
    assert_eq!(read(Version::One, &[[&*one, &other].concat()]), Ok(None));
}

#[test]
fn packets_that_servers_drop_say_nothing() {
    let message = hello("a.test", b"h3");
    let sealed = |look: Look<'_>, piece: &[u8]| seal_as(&look, Version::One, (ID, 0), piece);
    let all = frame(0, &message);
    let lacking = Look { lacks_fixed_bit: true, ..Look::default() };
    for look in [lacking, Look { source: &[7; 21], ..Look::default() }] {
        assert_eq!(read(Version::One, &[sealed(look, &all)]), Err(Useless::Datagram), "{look:?}");
    }
    // RFC 9287: the server gave a token to a client that may leave the bit out.
    for look in [Look { token: b"of before", ..lacking }, Look { source: &[7; 20], ..Look::default() }] {
        assert!(read(Version::One, &[sealed(look, &all)]).unwrap().is_some(), "{look:?}");
    }
    // What stands behind a packet that does not open is read by few servers.
    let mut broken = sealed(Look::default(), &frame(0, &message[..600]));
    broken[100] ^= 1;
    let joined = [broken, sealed(Look::default(), &all)].concat();
    assert_eq!(read(Version::One, &[joined]), Err(Useless::Datagram));
}

#[test]
fn a_small_datagram_and_another_message_lead_nowhere() {
    let message = hello("a.test", b"h3");
    let small = seal(Version::One, ID, 0, &frame(0, &message[..600]));
    assert_eq!(read(Version::One, &[small]), Err(Useless::Datagram));
    let mut server = message;
    server[0] = 2;
    let datagram = datagram(Version::One, 0, &server, &[(0, 700)]);
    assert_eq!(read(Version::One, &[datagram]), Err(Useless::Handshake));
}

/// Mutated datagrams, so many as `POINTSMAN_CASES` says: none panics, none reads another name than it should, and
/// each takes its time.
#[test]
fn mutated_initial_packets_do_no_harm() {
    let cases = std::env::var("POINTSMAN_CASES").map_or(100_000, |cases| cases.parse().unwrap());
    let message = hello("a.test", b"h3");
    let half = message.len() / 2;
    let mut frames = frame(0, &message[..half]);
    frames.resize(LEAST, 0);
    let rest = datagram(Version::One, 1, &message, &[(half, message.len())]);
    let sealed = seal(Version::One, ID, 0, &frames);
    let began = std::time::Instant::now();
    let mut slowest = std::time::Duration::ZERO;
    for case in 0..cases {
        let mut rng = Rng::new(case);
        // By turns before and after it is sealed: what is opened is mutated too.
        let mut first = if case % 2 == 0 { sealed.clone() } else { frames.clone() };
        for _ in 0..=rng.below(3) {
            let place = usize::try_from(rng.below(first.len() as u64)).unwrap();
            match rng.below(4) {
                0 => first[place] = u8::try_from(rng.below(256)).unwrap(),
                1 => first.truncate(place.max(1)),
                2 => drop(first.drain(place..(place + 9).min(first.len()))),
                _ => drop(first.splice(place..place, [u8::try_from(rng.below(256)).unwrap(); 5])),
            }
            if first.is_empty() {
                first.push(0);
            }
        }
        if case % 2 == 1 {
            first.resize(first.len().max(LEAST), 0);
            first = seal(Version::One, ID, 0, &first);
        }
        let one = std::time::Instant::now();
        let mut handshake = Handshake::new(Version::One, ConnectionId::new(ID).unwrap());
        let _ = handshake.read(&first);
        if let Ok(Some(hello)) = handshake.read(&rest)
            && let Some(name) = hello.server_name.as_deref()
        {
            assert!(name.len() <= 255, "{case}");
            // What was sealed is read as it was, or not at all.
            assert!(case % 2 == 1 || name == "a.test", "{case}: {name}");
        }
        assert!(handshake.held() < 64 * 1024, "{case}: {}", handshake.held());
        slowest = slowest.max(one.elapsed());
    }
    println!("{cases} mutated Initial packets in {:?}, the slowest in {slowest:?}", began.elapsed());
    // One may be held up by a busy machine.
    assert!(slowest < std::time::Duration::from_secs(20), "{slowest:?}");
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened_in_both_versions(
        id in proptest::collection::vec(any::<u8>(), 8..=20), number in any::<u8>(), is_two in any::<bool>(),
        padding in 0_usize..3000
    ) {
        let version = if is_two { Version::Two } else { Version::One };
        let message = hello("b.test", b"h3");
        let frames = [&frame(0, &message)[..], &vec![0; padding]].concat();
        let mut handshake = Handshake::new(version, ConnectionId::new(&id).unwrap());
        let found = handshake.read(&seal(version, &id, number, &frames)).unwrap().unwrap();
        prop_assert_eq!(found.server_name.as_deref(), Some("b.test"));
    }
}
