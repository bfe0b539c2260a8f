//! The PROXY protocol as a sender writes it. Pure: addresses in, bytes out.

use std::{
    iter,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

use super::{Addresses, V2_FIXED, V2_SIGNATURE, crc32c};

/// What a version 2 header says beside the addresses; what is `None` is not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Additions<'a> {
    /// The protocol that was agreed on by ALPN.
    pub alpn: Option<&'a [u8]>,
    /// The host name that the client asked for.
    pub authority: Option<&'a str>,
    /// An opaque name of the connection, of at most 128 bytes (§2.2.5); a longer one is left out.
    pub unique_id: Option<&'a [u8]>,
    /// What is known of the client's TLS.
    pub ssl: Option<Ssl>,
    /// Additions that came with a header, as they came: they are passed on, and none of the others takes the place of one.
    pub passed: &'a [u8],
    /// Whether there is a checksum over the header (§2.2.3).
    pub crc32c: bool,
}

/// What a sender says of its client's TLS (§2.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssl {
    /// Its version, such as `TLSv1.3`.
    pub version: &'static str,
    /// Whether the client showed a certificate, which was verified then.
    pub has_certificate: bool,
}

/// A header of version 1; `UNKNOWN` where there are no addresses.
pub fn v1(addresses: Option<Addresses>) -> Vec<u8> {
    let Some(Addresses { source, destination }) = addresses.map(of_one_family) else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

/// A header of version 2; `LOCAL` where there are no addresses, with nothing beside it.
pub fn v2(addresses: Option<Addresses>, additions: &Additions<'_>) -> Vec<u8> {
    v2_over(STREAM, addresses, additions)
}

/// The same for a datagram, which it comes before.
pub fn v2_datagram(addresses: Option<Addresses>, additions: &Additions<'_>) -> Vec<u8> {
    v2_over(DATAGRAM, addresses, additions)
}

fn v2_over(transport: u8, addresses: Option<Addresses>, additions: &Additions<'_>) -> Vec<u8> {
    let mut header = V2_SIGNATURE.to_vec();
    let Some(Addresses { source, destination }) = addresses.map(of_one_family) else {
        header.extend([LOCAL, UNSPECIFIED, 0, 0]);
        return header;
    };
    let family = if source.is_ipv4() { IPV4 } else { IPV6 };
    header.extend([PROXY, family | transport, 0, 0]);
    for end in [source, destination] {
        match end.ip() {
            IpAddr::V4(ip) => header.extend(ip.octets()),
            IpAddr::V6(ip) => header.extend(ip.octets()),
        }
    }
    header.extend(source.port().to_be_bytes());
    header.extend(destination.port().to_be_bytes());
    additions.write(&mut header);
    let length = length_of(&header);
    set(&mut header, V2_FIXED - 2, &length.to_be_bytes());
    if additions.crc32c {
        let place = header.len() - 4;
        let sum = crc32c::of(header.iter());
        set(&mut header, place, &sum.to_be_bytes());
    }
    header
}

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const IPV4: u8 = 0x10;
const IPV6: u8 = 0x20;
const STREAM: u8 = 1;
const DATAGRAM: u8 = 2;
/// Bytes of additions that are passed on: with those that are added the header's length fits its field.
const MOST_PASSED: usize = 60_000;

/// What the length of a header says: what follows its fixed part. All of it is far below 64 KiB.
fn length_of(header: &[u8]) -> u16 {
    u16::try_from(header.len() - V2_FIXED).unwrap_or_default()
}

fn set(header: &mut [u8], place: usize, bytes: &[u8]) {
    if let Some(room) = header.get_mut(place..place + bytes.len()) {
        room.copy_from_slice(bytes);
    }
}

/// Both ends in IPv4, or in IPv6 where one of them is that.
fn of_one_family(ends: Addresses) -> Addresses {
    let Addresses { source, destination } = ends;
    if source.is_ipv4() == destination.is_ipv4() {
        return ends;
    }
    let mapped = |end: SocketAddr| match end.ip() {
        IpAddr::V4(ip) => SocketAddr::from((ip.to_ipv6_mapped(), end.port())),
        IpAddr::V6(_) => end,
    };
    Addresses { source: mapped(source), destination: mapped(destination) }
}

impl Additions<'_> {
    /// Whether they say who the client is: that it has shown a certificate, or something of whoever was before.
    pub fn tell_client(&self) -> bool {
        const SHOWN: u8 = CLIENT_CERTIFICATE_CONNECTION | CLIENT_CERTIFICATE_SESSION;
        let passed = self.passed();
        let has_certificate = match find(passed, SSL) {
            Some(ssl) => ssl.first().is_some_and(|client| client & SHOWN != 0),
            None => self.ssl.is_some_and(|ssl| ssl.has_certificate),
        };
        has_certificate || each(passed).any(|(kind, _)| OWN.contains(&kind))
    }

    /// What is passed on.
    fn passed(&self) -> &[u8] {
        Some(self.passed).filter(|passed| passed.len() <= MOST_PASSED).unwrap_or_default()
    }

    fn write(&self, header: &mut Vec<u8>) {
        let texts = [(ALPN, self.alpn, 255), (AUTHORITY, self.authority.map(str::as_bytes), 255)];
        let id = (UNIQUE_ID, self.unique_id, 128);
        let passed = self.passed();
        header.extend_from_slice(passed);
        for (kind, value, most) in texts.into_iter().chain([id]) {
            if let Some(value) = value.filter(|value| value.len() <= most && find(passed, kind).is_none()) {
                write_one(header, kind, value);
            }
        }
        if let Some(ssl) = self.ssl.filter(|_| find(passed, SSL).is_none()) {
            let mut value = vec![CLIENT_SSL, 0, 0, 0, u8::from(!ssl.has_certificate)];
            if ssl.has_certificate {
                // §2.2.6: a session that goes on shows none again, and was verified when it began.
                set(
                    &mut value,
                    0,
                    &[CLIENT_SSL | CLIENT_CERTIFICATE_CONNECTION | CLIENT_CERTIFICATE_SESSION],
                );
            }
            write_one(&mut value, SSL_VERSION, ssl.version.as_bytes());
            write_one(header, SSL, &value);
        }
        if self.crc32c {
            // At the end, and zeros while the sum is taken.
            write_one(header, CRC32C, &[0; 4]);
        }
    }
}

/// The value of the first addition of this kind.
fn find(additions: &[u8], kind: u8) -> Option<&[u8]> {
    each(additions).find(|(own, _)| *own == kind).map(|(_, value)| value)
}

/// Each addition, its kind and its value.
fn each(mut additions: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    iter::from_fn(move || {
        let (&[kind, high, low], rest) = additions.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at(length.min(rest.len()));
        additions = rest;
        Some((kind, value))
    })
}

fn write_one(header: &mut Vec<u8>, kind: u8, value: &[u8]) {
    header.push(kind);
    // No value is longer than 255 bytes.
    header.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
    header.extend(value);
}

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
/// Kinds to which everybody gives a meaning of their own (§2.2.8). Clouds say by them whose endpoint a connection
/// came through (AWS by 0xEA, Azure by 0xEE, Google by 0xE0), and backends tell their customers apart by that.
const OWN: RangeInclusive<u8> = 0xE0..=0xF7;
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERTIFICATE_CONNECTION: u8 = 0x02;
const CLIENT_CERTIFICATE_SESSION: u8 = 0x04;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Parsed, parse},
        *,
    };

    fn ends(source: &str, destination: &str) -> Addresses {
        Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    fn headers_are_those_of_the_specification() {
        let v4 = ends("192.0.2.1:56324", "198.51.100.2:443");
        assert_eq!(v1(Some(v4)), b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
        assert_eq!(v1(None), b"PROXY UNKNOWN\r\n");
        let v6 = ends("[2001:db8::1]:1", "[2001:db8::2]:65535");
        assert_eq!(v1(Some(v6)), b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n");
        let none = Additions::default();
        let fixed = b"\r\n\r\n\0\r\nQUIT\n";
        assert_eq!(v2(None, &none), [&fixed[..], &[0x20, 0, 0, 0]].concat());
        let block = [192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB];
        assert_eq!(v2(Some(v4), &none), [&fixed[..], &[0x21, 0x11, 0, 12], &block].concat());
        // §2.2.6: client 0x01, verify not zero without a certificate, version as an addition inside.
        let ssl = Some(Ssl { version: "TLSv1.3", has_certificate: false });
        let additions = Additions { ssl, authority: Some("a.test"), ..none };
        let said = [&b"\x02\0\x06a.test"[..], b"\x20\0\x0f\x01\0\0\0\x01\x21\0\x07TLSv1.3"].concat();
        let expected = [&fixed[..], &[0x21, 0x11, 0, 39], &block, &said].concat();
        assert_eq!(v2(Some(v4), &additions), expected);
    }

    #[test]
    fn what_came_is_passed_on_and_not_replaced() {
        let v4 = Some(ends("192.0.2.1:1", "198.51.100.2:443"));
        let came =
            Additions { authority: Some("theirs.test"), unique_id: Some(b"7"), ..Additions::default() };
        // One that nobody here knows, one that fills up, and a checksum.
        let unknown = [&v2(v4, &came)[16 + 12..], &[0xE0, 0, 2, 1, 2][..]].concat();
        let before = Additions { passed: &unknown, crc32c: true, ..Additions::default() };
        let mut header = v2(v4, &before);
        let Ok(Parsed::Done(read)) = parse(&header) else { panic!("it is not read") };
        assert_eq!(read.tlvs, unknown, "without the checksum");
        header.truncate(16 + 12);
        let own = Additions {
            authority: Some("ours.test"),
            alpn: Some(b"h2"),
            ssl: Some(Ssl { version: "TLSv1.3", has_certificate: false }),
            passed: &read.tlvs,
            crc32c: true,
            unique_id: Some(b"8"),
        };
        for (written, family) in [(v2(v4, &own), 0x11), (v2_datagram(v4, &own), 0x12)] {
            let Ok(Parsed::Done(read)) = parse(&written) else { panic!("it is not read") };
            assert_eq!((read.length, written[13]), (written.len(), family));
            assert_eq!(read.authority.as_deref(), Some("theirs.test"));
            assert_eq!(
                (read.unique_id.as_deref(), read.alpn.as_deref()),
                (Some(&b"7"[..]), Some(&b"h2"[..]))
            );
            assert!(read.tlvs.starts_with(&unknown) && read.ssl.is_some());
        }
    }

    #[test]
    fn who_the_client_is_either_side_may_tell() {
        let own = |has_certificate| Some(Ssl { version: "TLSv1.3", has_certificate });
        for (passed, ssl, expected) in [
            (&b""[..], None, false),
            (b"", own(false), false),
            (b"", own(true), true),
            // §2.2.6: what came says so, or does not, and is what goes on.
            (b"\x20\0\x05\x01\0\0\0\0", own(true), false),
            (b"\x05\0\x01a\x20\0\x05\x03\0\0\0\0", None, true),
            (b"\x20\0\x05\x04\0\0\0\0", own(false), true),
            (b"\x30\0\x01\x20", None, false),
            (b"\x20\0\0", None, false),
            // Whose endpoint it came through, behind what says nothing of it.
            (b"\x05\0\x01a\xEA\0\x03\x01vp", None, true),
            (b"\xE0\0\x01\x20", own(false), true),
            (b"\xF7\0\0", None, true),
            (b"\x02\0\x01\xEA", None, false),
        ] {
            let additions = Additions { passed, ssl, ..Additions::default() };
            assert_eq!(additions.tell_client(), expected, "{passed:?} {ssl:?}");
        }
    }

    #[test]
    fn two_families_become_one() {
        let mixed = ends("192.0.2.1:1", "[2001:db8::2]:2");
        assert_eq!(v1(Some(mixed)), b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
    }

    fn end() -> impl Strategy<Value = SocketAddr> {
        let v4 = any::<[u8; 4]>().prop_map(IpAddr::from);
        let v6 = any::<[u8; 16]>().prop_map(IpAddr::from);
        (prop_oneof![v4, v6], any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_the_same(
            source in end(), destination in end(), alpn in any::<Option<[u8; 3]>>(), crc32c in any::<bool>(),
            authority in proptest::option::of("[a-z.]{1,255}"), id in proptest::option::of("[a-z0-9]{1,200}"),
            ssl in any::<Option<bool>>(), after in any::<Vec<u8>>()
        ) {
            let addresses = Addresses { source, destination };
            let expected = Some(of_one_family(addresses));
            let additions = Additions {
                alpn: alpn.as_ref().map(|alpn| &alpn[..]),
                authority: authority.as_deref(),
                unique_id: id.as_deref().map(str::as_bytes),
                ssl: ssl.map(|has_certificate| Ssl { version: "TLSv1.2", has_certificate }),
                crc32c,
                passed: &[],
            };
            let header = v2(Some(addresses), &additions);
            let Ok(Parsed::Done(read)) = parse(&[&header[..], &after].concat()) else {
                return Err(TestCaseError::fail("it is not read"));
            };
            prop_assert_eq!((read.length, read.addresses), (header.len(), expected));
            prop_assert_eq!(read.alpn.as_deref(), additions.alpn);
            prop_assert_eq!(read.authority, authority.clone());
            let id = id.as_deref().filter(|id| id.len() <= 128).map(str::as_bytes);
            prop_assert_eq!(read.unique_id.as_deref(), id);
            prop_assert_eq!(read.ssl.is_some(), ssl.is_some());
            let line = v1(Some(addresses));
            prop_assert!(line.len() <= super::super::V1_MOST);
            let Ok(Parsed::Done(read)) = parse(&[&line[..], &after].concat()) else {
                return Err(TestCaseError::fail("the line is not read"));
            };
            prop_assert_eq!((read.length, read.addresses), (line.len(), expected));
        }
    }
}
