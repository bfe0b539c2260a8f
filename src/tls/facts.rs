//! What people want to know of a certificate: for whom it is, from whom, until when.
//!
//! A reader of just so much DER (X.690) as a certificate (RFC 5280 §4.1) needs. It decides nothing: what is
//! trusted, webpki decides. Every length is checked; what is not understood is `None`. Why not x509-parser:
//! `docs/decisions/014-small-readers.md`.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use time::{Date, Month, OffsetDateTime, format_description::well_known::Rfc3339};

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The DNS names and addresses that it is for; the subject's name where it lists none.
    pub names: Vec<String>,
    /// The last second in which it holds, since 1970.
    pub not_after: i64,
    /// Who issued it, where that has a name.
    pub issuer: Option<String>,
}

impl CertificateFacts {
    /// The facts of the first certificate in a file's contents: the one that a server shows as its own.
    pub fn of_pem(pem: &[u8]) -> Option<Self> {
        Self::of_der(&CertificateDer::pem_slice_iter(pem).next()?.ok()?)
    }

    /// The facts of the first certificate in a file.
    pub fn of_file(path: &Path) -> Option<Self> {
        Self::of_pem(&std::fs::read(path).ok()?)
    }

    /// The facts of a certificate.
    pub fn of_der(der: &[u8]) -> Option<Self> {
        let certificate = Der(der).expect(SEQUENCE)?.0;
        let mut fields = Der(Der(certificate).expect(SEQUENCE)?.0);
        if fields.0.first() == Some(&VERSION) {
            fields.next()?;
        }
        fields.next()?; // serial number
        fields.next()?; // signature algorithm
        let issuer = common_name(fields.next()?.1);
        let mut validity = Der(fields.next()?.1);
        validity.next()?; // not before
        let (tag, text) = validity.next()?;
        let not_after = seconds(tag, text)?;
        let subject = common_name(fields.next()?.1);
        let mut names = alternative_names(fields).unwrap_or_default();
        if names.is_empty() {
            names.extend(subject);
        }
        Some(Self { names, not_after, issuer })
    }

    /// Whole days until it ends; negative when it has ended.
    pub fn days_left(&self, now: i64) -> i64 {
        (self.not_after - now).div_euclid(86_400)
    }

    /// The end of its validity as people write it: `2027-01-31T12:00:00Z`.
    pub fn not_after_text(&self) -> String {
        let end = OffsetDateTime::from_unix_timestamp(self.not_after).ok();
        end.and_then(|end| end.format(&Rfc3339).ok()).unwrap_or_default()
    }
}

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.10
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// Elements one after another.
#[derive(Clone, Copy)]
struct Der<'d>(&'d [u8]);

impl<'d> Der<'d> {
    /// Tag and contents of the next element.
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // No certificate is longer than four bytes can say; a length of its own accord is not DER.
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    /// The contents of the first element, which has to have this tag.
    fn expect(mut self, tag: u8) -> Option<Self> {
        self.next().filter(|(is, _)| *is == tag).map(|(_, contents)| Self(contents))
    }
}

/// The common name in a distinguished name, else its organization.
fn common_name(name: &[u8]) -> Option<String> {
    let mut found = None;
    let mut sets = Der(name);
    while let Some((_, set)) = sets.next() {
        let mut attribute = Der(Der(set).expect(SEQUENCE)?.0);
        let (_, kind) = attribute.next()?;
        let (tag, value) = attribute.next()?;
        if kind == COMMON_NAME {
            return Some(text(tag, value));
        }
        if kind == ORGANIZATION {
            found = Some(text(tag, value));
        }
    }
    found
}

fn text(tag: u8, bytes: &[u8]) -> String {
    if tag != BMP_STRING {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let units =
        bytes.chunks_exact(2).map(|pair| pair.iter().fold(0, |unit, byte| (unit << 8) | u16::from(*byte)));
    char::decode_utf16(units).map(|sign| sign.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// The names in the extension (RFC 5280 §4.2.1.6), of the kinds that servers have.
fn alternative_names(mut fields: Der<'_>) -> Option<Vec<String>> {
    let extensions = loop {
        let (tag, contents) = fields.next()?;
        if tag == EXTENSIONS {
            break Der(contents).expect(SEQUENCE)?;
        }
    };
    let mut extensions = extensions;
    while let Some((_, extension)) = extensions.next() {
        let mut parts = Der(extension);
        if parts.next()?.1 != SUBJECT_ALTERNATIVE_NAME {
            continue;
        }
        // Whether it is critical may be between.
        let value = loop {
            let (tag, contents) = parts.next()?;
            if tag == OCTET_STRING {
                break contents;
            }
        };
        let mut names = Der(value).expect(SEQUENCE)?;
        let mut found = Vec::new();
        while let Some((tag, name)) = names.next() {
            found.extend(match tag {
                DNS_NAME => Some(String::from_utf8_lossy(name).into_owned()),
                IP_ADDRESS => address(name),
                _ => None,
            });
        }
        return Some(found);
    }
    None
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).to_string())
}

/// Seconds since 1970 (RFC 5280 §4.1.2.5): `YYMMDDHHMMSSZ`, from 2050 on `YYYYMMDDHHMMSSZ`.
fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i32 = year.parse().ok()?;
            (if year >= 50 { 1900 + year } else { 2000 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let two = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(two(0)?).ok()?, two(2)?).ok()?;
    Some(date.with_hms(two(4)?, two(6)?, two(8)?).ok()?.assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn made(names: &[&str], year: i32) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(year, 3, 1);
        params.distinguished_name.push(DnType::CommonName, "Käse & Co");
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn tells_names_end_and_issuer() {
        let facts =
            CertificateFacts::of_der(&made(&["a.example", "*.b.example", "10.0.0.1", "::1"], 2027)).unwrap();
        assert_eq!(facts.names, ["a.example", "*.b.example", "10.0.0.1", "::1"]);
        assert_eq!(facts.issuer.as_deref(), Some("Käse & Co"));
        // `date -u -d 2027-03-01 +%s`
        assert_eq!(facts.not_after, 1_803_859_200);
        assert_eq!(facts.not_after_text(), "2027-03-01T00:00:00Z");
        assert_eq!(facts.days_left(1_803_859_200 - 86_400), 1);
        assert_eq!(facts.days_left(1_803_859_200 - 86_399), 0);
        assert_eq!(facts.days_left(1_803_859_201), -1);
        let far = CertificateFacts::of_der(&made(&[], 2061)).unwrap();
        assert_eq!(far.names, ["Käse & Co"], "the subject, where no names are listed");
        assert_eq!(far.not_after_text(), "2061-03-01T00:00:00Z", "a four-digit year");
    }

    #[test]
    fn what_is_no_certificate_has_no_facts() {
        let good = made(&["a.example", "10.0.0.1"], 2061);
        for length in 0..good.len() {
            assert_eq!(CertificateFacts::of_der(&good[..length]), None, "cut at {length}");
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let mut bad = good.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(0..bad.len());
                bad[at] = random.u8(..);
            }
            let _must_only_not_panic = CertificateFacts::of_der(&bad);
        }
        assert_eq!(CertificateFacts::of_pem(b"nothing"), None);
    }
}
