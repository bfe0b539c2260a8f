//! Examples, every truncation, round trips, and what must be refused.

use proptest::prelude::*;

use super::*;

fn done(bytes: &[u8]) -> Header {
    match parse(bytes) {
        Ok(Parsed::Done(header)) => header,
        other => panic!("{other:?}"),
    }
}

fn addresses(source: &str, destination: &str) -> Option<Addresses> {
    Some(Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
}

/// A version 2 header with this command and family over this rest.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&V2_SIGNATURE[..], &[command, family], &length, rest].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

/// The address block of two ends of one family.
fn block(ends: &Addresses) -> (u8, Vec<u8>) {
    let ip = |end: &SocketAddr| match end.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let Addresses { source, destination } = ends;
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    (if source.is_ipv4() { 0x11 } else { 0x21 }, [ip(source), ip(destination), ports].concat())
}

fn with_sum(mut header: Vec<u8>, place: usize) -> Vec<u8> {
    let sum = crc32c::of(header.iter());
    header[place..place + 4].copy_from_slice(&sum.to_be_bytes());
    header
}

const V4_BLOCK: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB];

#[test]
fn lines_of_version_1() {
    let header = done(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET / HTTP/1.1\r\n");
    assert_eq!(header.addresses, addresses("192.0.2.1:56324", "198.51.100.2:443"));
    assert_eq!(header.length, 45);
    let header = done(b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 0 65535\r\n");
    assert_eq!(header.addresses, addresses("[2001:db8::1]:0", "[::ffff:192.0.2.1]:65535"));
    assert_eq!(done(b"PROXY UNKNOWN\r\n").addresses, None);
    let longest = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535 and whatever else the sender likes to tell us..\r\n";
    assert_eq!(longest.len(), V1_MOST);
    assert_eq!(done(longest).length, V1_MOST);
}

#[test]
fn what_is_no_line_of_version_1() {
    let wrong = [
        "GET / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\n",
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1\n198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\u{fc}\r\n",
    ];
    for line in wrong {
        assert!(parse(line.as_bytes()).is_err(), "{line:?}");
    }
    let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; V1_MOST]].concat();
    assert!(parse(&endless).is_err());
    assert_eq!(parse(&endless[..V1_MOST - 1]), Ok(Parsed::Partial));
}

#[test]
fn headers_of_version_2() {
    for family in [0x11, 0x12] {
        let header = done(&[&v2(0x21, family, &V4_BLOCK)[..], b"GET /"].concat());
        assert_eq!(header.addresses, addresses("192.0.2.1:56324", "198.51.100.2:443"));
        assert_eq!(header.length, 28);
    }
    for family in [0x31, 0x32] {
        assert_eq!(done(&v2(0x21, family, &[0; 216])).addresses, None);
        assert!(parse(&v2(0x21, family, &[0; 215])).is_err());
    }
    // LOCAL and UNSPEC are taken whatever follows.
    for (command, family) in [(0x20, 0x00), (0x20, 0x11), (0x20, 0xFF), (0x21, 0x00)] {
        let header = done(&v2(command, family, b"any"));
        assert_eq!(header, Header { length: 19, ..Header::default() });
    }
    let wrong = [
        v2(0x11, 0x11, &V4_BLOCK),
        v2(0x22, 0x11, &V4_BLOCK),
        v2(0x21, 0x13, &V4_BLOCK),
        v2(0x21, 0x41, &V4_BLOCK),
        v2(0x21, 0x11, &V4_BLOCK[..11]),
        v2(0x21, 0x21, &[0; 35]),
        v2(0x21, 0x11, &[&V4_BLOCK[..], &[4]].concat()),
        v2(0x21, 0x11, &[&V4_BLOCK[..], &[4, 0, 2, 0]].concat()),
        v2(0x21, 0x11, &[&V4_BLOCK[..], &tlv(5, &[0; 129])].concat()),
        v2(0x21, 0x11, &[&V4_BLOCK[..], &tlv(2, b"\xFF")].concat()),
        v2(0x21, 0x11, &[&V4_BLOCK[..], &tlv(3, b"abc")].concat()),
    ];
    for header in wrong {
        assert!(parse(&header).is_err(), "{header:?}");
    }
}

#[test]
fn additions_are_read_and_unknown_ones_skipped() {
    let additions = [
        tlv(0x01, b"h2"),
        tlv(0xE0, b"own"),
        tlv(0x02, b"example.com"),
        tlv(0x04, &[0; 7]),
        tlv(0x05, b"id"),
        tlv(0x20, &[1, 0, 0, 0, 0]),
        tlv(0x03, &[0; 4]),
    ];
    let header = v2(0x21, 0x11, &[&V4_BLOCK[..], &additions.concat()].concat());
    let place = header.len() - 4;
    assert_eq!(parse(&header), Err("the PROXY header's checksum is wrong"));
    let header = with_sum(header, place);
    let parsed = done(&header);
    assert_eq!(parsed.alpn.as_deref(), Some(&b"h2"[..]));
    assert_eq!(parsed.authority.as_deref(), Some("example.com"));
    assert_eq!(parsed.unique_id.as_deref(), Some(&b"id"[..]));
    assert_eq!(parsed.ssl.as_deref(), Some(&[1, 0, 0, 0, 0][..]));
    // A bit that fell is noticed, but for the one that says that there is a sum.
    for byte in (V2_FIXED..header.len()).filter(|byte| *byte != place - 3) {
        let mut header = header.clone();
        header[byte] ^= 0x10;
        assert!(parse(&header).is_err(), "byte {byte}");
    }
}

#[test]
fn the_checksum_may_precede_other_additions() {
    let additions = [tlv(0x03, &[0; 4]), tlv(0x05, b"id")].concat();
    let header = with_sum(v2(0x21, 0x11, &[&V4_BLOCK[..], &additions].concat()), 16 + 12 + 3);
    assert_eq!(done(&header).unique_id.as_deref(), Some(&b"id"[..]));
}

#[test]
fn the_beginning_of_a_header_is_partial() {
    let headers = [
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(0x21, 0x11, &V4_BLOCK),
        v2(0x20, 0x00, &[]),
        v2(0x21, 0x11, &[&V4_BLOCK[..], &tlv(2, b"example.com")].concat()),
    ];
    for header in headers {
        for length in 0..header.len() {
            assert_eq!(parse(&header[..length]), Ok(Parsed::Partial), "{length} of {header:?}");
        }
        assert_eq!(done(&header).length, header.len());
    }
}

fn two_ends() -> impl Strategy<Value = Addresses> {
    let ports = any::<(u16, u16)>();
    let v4 = any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let v6 = any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    (prop_oneof![v4, v6], ports).prop_map(|((a, b), (p, q))| Addresses {
        source: SocketAddr::new(a, p),
        destination: SocketAddr::new(b, q),
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read(ends in two_ends(), after in any::<Vec<u8>>()) {
        let (family, block) = block(&ends);
        let header = v2(0x21, family, &block);
        let parsed = done(&[&header[..], &after].concat());
        prop_assert_eq!((parsed.addresses, parsed.length), (Some(ends), header.len()));
        let Addresses { source, destination } = ends;
        let name = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let ports = format!("{} {}", source.port(), destination.port());
        let line = format!("PROXY {name} {} {} {ports}\r\n", source.ip(), destination.ip());
        let parsed = done(&[line.as_bytes(), &after].concat());
        prop_assert_eq!((parsed.addresses, parsed.length), (Some(ends), line.len()));
    }

    #[test]
    fn nothing_makes_it_panic_or_claim_more_than_came(
        kind in 0..3, command in 0x1Fu8..0x23, family in any::<u8>(), bytes in any::<Vec<u8>>()
    ) {
        let input = match kind {
            0 => bytes,
            1 => [b"PROXY TCP4 ", &bytes[..]].concat(),
            _ => [&V2_SIGNATURE[..], &[command, family, 0], &bytes].concat(),
        };
        if let Ok(Parsed::Done(header)) = parse(&input) {
            prop_assert!(header.length <= input.len());
        }
    }
}

/// Mutated headers, so many as `POINTSMAN_CASES` says: each gets a verdict, and one that is read says no more than came.
#[test]
fn mutated_headers_never_panic_and_say_what_came() {
    let cases = std::env::var("POINTSMAN_CASES").map_or(20_000, |cases| cases.parse().unwrap());
    let ends = Addresses {
        source: "192.0.2.1:1".parse().unwrap(),
        destination: "[2001:db8::2]:65535".parse().unwrap(),
    };
    let additions = write::Additions {
        alpn: Some(b"h2"),
        authority: Some("a.test"),
        unique_id: Some(b"7"),
        passed: &[0xE0, 0, 2, 1, 2],
        crc32c: true,
        ..write::Additions::default()
    };
    let all = [
        write::v1(Some(ends)),
        write::v2(Some(ends), &additions),
        write::v2_datagram(Some(ends), &additions),
    ];
    let mut rng = crate::rng::Rng::new(0x9206);
    let mut below = |end: usize| usize::try_from(rng.below(end as u64)).unwrap();
    for case in 0..cases {
        let mut bytes = [&all[below(3)][..], b"and more"].concat();
        for _ in 0..below(5) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes[at] = u8::try_from(below(256)).unwrap(),
                1 => bytes.insert(at, u8::try_from(below(256)).unwrap()),
                2 => bytes.truncate(at.max(1)),
                _ => bytes[at] ^= 1 << below(8),
            }
        }
        if let Ok(Parsed::Done(header)) = parse(&bytes) {
            assert!(header.length <= bytes.len() && header.tlvs.len() < header.length, "case {case}");
            // What is passed on of it is read the same by the next.
            let passed = write::Additions { passed: &header.tlvs, ..write::Additions::default() };
            let again = parse(&write::v2(Some(ends), &passed));
            assert!(matches!(again, Ok(Parsed::Done(next)) if next.tlvs == header.tlvs), "case {case}");
        }
    }
}
