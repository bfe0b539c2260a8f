//! The PROXY protocol, versions 1 and 2, as a receiver reads it, and a sender writes it ([`mod@write`]). Pure: bytes in,
//! addresses out, and the other way round.
//!
//! Section numbers are those of "The PROXY protocol, Versions 1 & 2"
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>). The header comes before anything else
//! on a connection, TLS included. Whom to believe is the caller's decision: only networks in
//! `proxy_protocol_from`, and from those the header is required.

mod crc32c;
pub mod write;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, with its CRLF (§2.1).
const V1_MOST: usize = 107;

/// What no version 1 header and no protocol in use begins with (§2.2).
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version with command, family with protocol, length of the rest.
const V2_FIXED: usize = 16;

/// How far a header is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// What has come so far can be the beginning of a header.
    Partial,
    /// A whole header.
    Done(Header),
}

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the header; the connection's own bytes begin there.
    pub length: usize,
    /// Who connected, and to where; `None` when the connection's own addresses hold: a health check of
    /// the sender (`LOCAL`), `UNKNOWN`, or unix sockets.
    pub addresses: Option<Addresses>,
    /// The protocol that was negotiated by ALPN.
    pub alpn: Option<Vec<u8>>,
    /// The host name that the client asked for, such as by SNI.
    pub authority: Option<String>,
    /// An opaque name of the connection.
    pub unique_id: Option<Vec<u8>>,
    /// What the sender knows of the client's TLS, as it came (§2.2.6).
    pub ssl: Option<Vec<u8>>,
    /// Its additions as they came, those among them that are not known here; without the checksum and what only fills
    /// up (`NOOP`), which are of this header alone.
    pub tlvs: Vec<u8>,
}

/// The two ends of the connection that the sender accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// Reads a header from the first bytes of a connection. Fails as soon as they cannot be one.
pub fn parse(bytes: &[u8]) -> Result<Parsed, &'static str> {
    match bytes.first() {
        None => Ok(Parsed::Partial),
        Some(b'P') => parse_v1(bytes),
        Some(_) => parse_v2(bytes),
    }
}

/// Whether bytes begin as a header of version 2 does.
pub fn is_v2(bytes: &[u8]) -> bool {
    bytes.starts_with(&V2_SIGNATURE)
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, &'static str> {
    let prefix = b"PROXY ";
    if !bytes.iter().zip(prefix).all(|(is, expected)| is == expected) {
        return Err("not a PROXY header");
    }
    let window = bytes.get(..V1_MOST).unwrap_or(bytes);
    let Some(end) = memchr::memmem::find(window, b"\r\n") else {
        return match bytes.len() < V1_MOST {
            true => Ok(Parsed::Partial),
            false => Err("the PROXY line is longer than 107 bytes"),
        };
    };
    let line = window.get(prefix.len()..end).and_then(|line| std::str::from_utf8(line).ok());
    let line = line.ok_or("the PROXY line is not text")?;
    Ok(Parsed::Done(Header { length: end + 2, addresses: v1_addresses(line)?, ..Header::default() }))
}

fn v1_addresses(line: &str) -> Result<Option<Addresses>, &'static str> {
    // One blank between two parts, and none elsewhere.
    let mut parts = line.split(' ');
    let family = parts.next().unwrap_or_default();
    let is_ipv4 = match family {
        // §2.1: what follows UNKNOWN is to be ignored.
        "UNKNOWN" => return Ok(None),
        "TCP4" => true,
        "TCP6" => false,
        _ => return Err("the PROXY line names an unknown family"),
    };
    let mut ip =
        || -> Option<IpAddr> { parts.next()?.parse().ok().filter(|ip: &IpAddr| ip.is_ipv4() == is_ipv4) };
    let (source, destination) = (ip(), ip());
    let (source_port, destination_port) = (v1_port(parts.next()), v1_port(parts.next()));
    let end = |ip: Option<IpAddr>, port: Option<u16>| Some(SocketAddr::new(ip?, port?));
    match (end(source, source_port), end(destination, destination_port), parts.next()) {
        (Some(source), Some(destination), None) => Ok(Some(Addresses { source, destination })),
        _ => Err("the PROXY line has a malformed address"),
    }
}

/// A decimal number without sign and without leading zeros.
fn v1_port(text: Option<&str>) -> Option<u16> {
    let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok().filter(|_| text == "0" || !text.starts_with('0'))
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, &'static str> {
    if !bytes.iter().zip(&V2_SIGNATURE).all(|(is, expected)| is == expected) {
        return Err("not a PROXY header");
    }
    // Judged byte by byte as they come, so that what is wrong is refused at once.
    let is_local = match bytes.get(12) {
        None => return Ok(Parsed::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(byte) if byte >> 4 == 2 => return Err("the PROXY header has an unknown command"),
        Some(_) => return Err("the PROXY header has an unknown version"),
    };
    let Some((&[family, high, low], _)) = bytes.get(13..).and_then(|rest| rest.split_first_chunk()) else {
        return Ok(Parsed::Partial);
    };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    let Some(header) = bytes.get(..length) else {
        return Ok(Parsed::Partial);
    };
    let rest = header.get(V2_FIXED..).unwrap_or_default();
    // §2.2: with LOCAL the receiver must take the real addresses and skip the rest, whatever it says.
    if is_local {
        return Ok(Parsed::Done(Header { length, ..Header::default() }));
    }
    let (addresses, tlvs) = v2_addresses(family, rest)?;
    let mut parsed = Header { length, addresses, ..Header::default() };
    read_tlvs(header, tlvs, &mut parsed)?;
    Ok(Parsed::Done(parsed))
}

/// The address block, and what follows it.
fn v2_addresses(family: u8, rest: &[u8]) -> Result<(Option<Addresses>, &[u8]), &'static str> {
    const SHORT: &str = "the PROXY header is too short for its addresses";
    match family {
        // TCP or UDP over IPv4.
        0x11 | 0x12 => {
            let (block, tlvs) = rest.split_first_chunk::<12>().ok_or(SHORT)?;
            let [a, b, c, d, e, f, g, h, source_port @ .., p, q] = *block;
            let ends = [(Ipv4Addr::new(a, b, c, d), source_port), (Ipv4Addr::new(e, f, g, h), [p, q])];
            let [source, destination] =
                ends.map(|(ip, port)| SocketAddr::from((ip, u16::from_be_bytes(port))));
            Ok((Some(Addresses { source, destination }), tlvs))
        }
        // TCP or UDP over IPv6.
        0x21 | 0x22 => {
            let (source, after) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (destination, after) = after.split_first_chunk::<16>().ok_or(SHORT)?;
            let (&[a, b, c, d], tlvs) = after.split_first_chunk::<4>().ok_or(SHORT)?;
            let ends = [(source, [a, b]), (destination, [c, d])];
            let [source, destination] =
                ends.map(|(ip, port)| SocketAddr::from((Ipv6Addr::from(*ip), u16::from_be_bytes(port))));
            Ok((Some(Addresses { source, destination }), tlvs))
        }
        // Unix sockets, whose paths say nothing here.
        0x31 | 0x32 => Ok((None, rest.get(216..).ok_or(SHORT)?)),
        // §2.2: with UNSPEC the length of the address block is not known, so neither is where the
        // additions begin.
        0x00 => Ok((None, &[])),
        _ => Err("the PROXY header has an unknown family"),
    }
}

/// Reads the additions (§2.2.1 and following); unknown ones are skipped.
fn read_tlvs(header: &[u8], mut tlvs: &[u8], parsed: &mut Header) -> Result<(), &'static str> {
    const BROKEN: &str = "the PROXY header has a malformed TLV";
    while !tlvs.is_empty() {
        let (&[kind, high, low], rest) = tlvs.split_first_chunk().ok_or(BROKEN)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(length).ok_or(BROKEN)?;
        if !matches!(kind, 0x03 | 0x04) {
            let whole = tlvs.get(..tlvs.len() - rest.len()).unwrap_or_default();
            parsed.tlvs.extend_from_slice(whole);
        }
        match kind {
            0x01 => parsed.alpn = Some(value.to_vec()),
            0x02 => {
                let text = std::str::from_utf8(value).map_err(|_| BROKEN)?;
                parsed.authority = Some(text.to_owned());
            }
            0x03 => {
                let sent = u32::from_be_bytes(value.try_into().map_err(|_| BROKEN)?);
                // What is before the value is the header less the value and what follows it.
                let before = header.len() - rest.len() - value.len();
                check_sum(header, before, sent)?;
            }
            // §2.2.5: at most 128 bytes.
            0x05 if value.len() > 128 => return Err(BROKEN),
            0x05 => parsed.unique_id = Some(value.to_vec()),
            0x20 => parsed.ssl = Some(value.to_vec()),
            _ => {}
        }
        tlvs = rest;
    }
    Ok(())
}

/// §2.2.3: the sum is taken over the whole header, with the four bytes of the sum itself as zeros.
fn check_sum(header: &[u8], place: usize, sent: u32) -> Result<(), &'static str> {
    let (before, after) = (header.get(..place), header.get(place + 4..));
    let parts = [before.unwrap_or_default(), &[0; 4], after.unwrap_or_default()];
    match crc32c::of(parts.into_iter().flatten()) == sent {
        true => Ok(()),
        false => Err("the PROXY header's checksum is wrong"),
    }
}

#[cfg(test)]
mod tests;
