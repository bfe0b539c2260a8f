use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};

use super::*;
use crate::rng::Rng;

/// What a client of rustls sends first: it offers a post-quantum key share.
fn hello_of(name: &str, alpn: &[&[u8]]) -> Vec<u8> {
    let mut config =
        ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|it| it.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The message of one record in records of these sizes, the last one over and over.
fn in_records(bytes: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut rest, mut out, mut sizes) = (&bytes[5..], Vec::new(), sizes.iter().copied().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
        out.extend_from_slice(&[22, 3, 1]);
        out.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
        out.extend_from_slice(piece);
        rest = after;
    }
    out
}

/// A ClientHello with these extensions.
fn with_extensions(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (kind, value) in extensions {
        all.extend_from_slice(&kind.to_be_bytes());
        all.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        all.extend_from_slice(value);
    }
    let mut message = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
    message.extend_from_slice(&u16::try_from(all.len()).unwrap().to_be_bytes());
    message.extend_from_slice(&all);
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let message = [&[1][..], &length[1..], &message].concat();
    in_records(&[&[0; 5][..], &message].concat(), &[1 << 14])
}

fn name(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&(length + 3).to_be_bytes()[..], &[0], &length.to_be_bytes(), text.as_bytes()].concat()
}

fn read(bytes: &[u8]) -> Result<Option<ClientHello>, HelloError> {
    HelloReader::default().read(bytes)
}

#[test]
fn name_and_protocols_are_read_however_they_are_cut() {
    let bytes = hello_of("Shop.Example", &[b"h2", b"http/1.1"]);
    let expected = ClientHello {
        server_name: Some("shop.example".into()),
        alpn: vec![b"h2"[..].into(), b"http/1.1"[..].into()],
    };
    let half = (bytes.len() - 5) / 2;
    let name_at = bytes.windows(4).position(|it| it == b"shop").unwrap_or(60);
    for sizes in
        [&[1 << 14][..], &[half, half + 1], &[bytes.len() / 5], &[name_at - 5 + 3, 1 << 14], &[1], &[7, 300]]
    {
        let records = in_records(&bytes, sizes);
        assert_eq!(read(&records), Ok(Some(expected.clone())), "{sizes:?}");
        // And segment by segment, of one byte and of many.
        for step in [1, 1400] {
            let mut reader = HelloReader::default();
            let found = (1..=records.len().div_ceil(step))
                .find_map(|pieces| reader.read(&records[..(pieces * step).min(records.len())]).unwrap());
            assert_eq!(found, Some(expected.clone()), "{sizes:?} by {step}");
        }
    }
    // What follows is the next message, and nothing of ours.
    assert_eq!(read(&[&bytes[..], b"more"].concat()), Ok(Some(expected)));
}

#[test]
fn grease_and_large_hellos_are_read() {
    let extensions = |padding: usize| {
        vec![
            (0x0a0a, vec![0]),
            (0xfe0d, vec![9; 200]),
            (0, name("a.test")),
            (21, vec![0; padding]),
            (0x1a1a, vec![]),
        ]
    };
    for padding in [0, 1900, 9500, 16_000] {
        let found = read(&with_extensions(&extensions(padding))).unwrap().unwrap();
        assert_eq!(found.server_name.as_deref(), Some("a.test"), "{padding}");
    }
    assert_eq!(read(&with_extensions(&extensions(17_000))), Err(HelloError::TooLarge));
    assert_eq!(read(&with_extensions(&[])).unwrap().unwrap(), ClientHello::default());
    let dotted = read(&with_extensions(&[(0, name("A.test."))])).unwrap().unwrap();
    assert_eq!(dotted.server_name.as_deref(), Some("a.test"));
}

/// What is kept of a connection for as long as it is open is no stranger's to choose.
#[test]
fn protocols_for_people_are_printable_and_short() {
    let text = |alpn: &[&[u8]]| {
        let alpn = alpn.iter().map(|it| Box::from(*it)).collect();
        ClientHello { server_name: None, alpn }.alpn_text().map(String::from)
    };
    assert_eq!(text(&[]), None);
    assert_eq!(text(&[b"h2", b"http/1.1"]).as_deref(), Some("h2,http/1.1"));
    assert_eq!(text(&[b"h2", &[0x0a, 0xff]]).as_deref(), Some("h2,\\n\\xff"));
    assert_eq!(text(&[&[b'a'; 253], b"h2"]), Some("a".repeat(253) + ",h2"));
    assert_eq!(text(&[&[b'a'; 254], b"h2"]), Some("a".repeat(254) + ",h…"));
    let most = text(&[&[0xff; 255][..]; 16]).unwrap();
    assert_eq!(most, "\\xff".repeat(64) + "…");
    // Routes go by all of it.
    let long = [0xff_u8; 255];
    let offered = [&[255_u8][..], &long, b"\x02h2"].concat();
    let length = u16::try_from(offered.len()).unwrap().to_be_bytes();
    let found = read(&with_extensions(&[(16, [&length[..], &offered].concat())])).unwrap().unwrap();
    assert_eq!(found.alpn, [Box::<[u8]>::from(&long[..]), Box::from(&b"h2"[..])]);
}

#[test]
fn what_is_no_hello_is_refused_with_its_reason() {
    for bytes in
        [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0", &[0x80, 0x2e, 1, 3, 1], &[22, 2], &[23, 3, 3, 0, 1, 0]]
    {
        assert_eq!(read(bytes), Err(HelloError::NotTls), "{bytes:?}");
    }
    let broken = [
        vec![22, 3, 1, 0, 0],
        vec![22, 3, 1, 0x40, 1],
        vec![22, 3, 1, 0, 1, 2],
        [&[22, 3, 1, 0, 1, 1][..], &[23, 3, 3, 0, 1]].concat(),
        with_extensions(&[(0, name("a.test")), (0, name("b.test"))]),
        with_extensions(&[(0, [name("a.test"), vec![]].concat()), (16, vec![0, 9, 1])]),
        with_extensions(&[(0, name("a test"))]),
        with_extensions(&[(0, name(""))]),
        with_extensions(&[(
            0,
            [&[0, 14][..], &name("ab")[2..], &[0, 0, 1, b'c'], &[0, 0, 1, b'd']].concat(),
        )]),
    ];
    for bytes in broken {
        assert!(matches!(read(&bytes), Err(HelloError::Broken(_))), "{bytes:?}: {:?}", read(&bytes));
    }
    assert_eq!(read(&[22, 3, 1, 0, 4, 1, 1, 0, 0]), Err(HelloError::TooLarge));
    for unfinished in [&[][..], &[22], &[22, 3], &[22, 3, 1, 2, 0, 1, 0]] {
        assert_eq!(read(unfinished), Ok(None));
    }
}

/// Any bytes give a verdict, the same for all at once and for one after another.
#[test]
fn mutated_hellos_never_panic_and_cuts_never_matter() {
    let mut rng = Rng::new(0x4e11_0000);
    let cases = std::env::var("POINTSMAN_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(20_000_u64);
    let whole = hello_of("shop.example", &[b"h2"]);
    for case in 0..cases {
        let size = 1 + rng.below(1800) as usize;
        let mut bytes = in_records(&whole, &[size]);
        for _ in 0..rng.below(6) {
            let at = rng.below(bytes.len() as u64) as usize;
            match rng.below(4) {
                0 => bytes[at] = rng.below(256) as u8,
                1 => bytes.insert(at, rng.below(256) as u8),
                2 => bytes.truncate(at.max(1)),
                _ => bytes[at] ^= 1 << rng.below(8),
            }
        }
        let at_once = read(&bytes);
        let (mut reader, mut upto, mut by_pieces) = (HelloReader::default(), 0, Ok(None));
        while upto < bytes.len() && by_pieces == Ok(None) {
            upto = (upto + 1 + rng.below(600) as usize).min(bytes.len());
            by_pieces = reader.read(&bytes[..upto]);
        }
        assert_eq!(at_once, by_pieces, "case {case}");
    }
}
