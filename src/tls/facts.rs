//! What people want to know of a certificate: for whom it is, from whom, until when.
//!
//! A reader of just so much DER (X.690) as a certificate (RFC 5280 §4.1) needs. It decides nothing: what is
//! trusted, webpki decides. Every length is checked; what is not understood is `None`. Why not x509-parser:
//! `docs/decisions/014-small-readers.md`.

mod der;
mod subject;

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    path::Path,
};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use time::{Date, Month, OffsetDateTime, format_description::well_known::Rfc3339};

use self::der::{Der, text};
use crate::schema::regular_file;

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
        Self::of_pem(&regular_file::read(path, regular_file::MOST).ok()?)
    }

    /// The facts of a certificate.
    pub fn of_der(der: &[u8]) -> Option<Self> {
        let mut fields = behind_version(der)?;
        fields.next()?; // serial number
        fields.next()?; // signature algorithm
        let issuer = common_name(fields.next()?.1);
        let mut validity = Der(fields.next()?.1);
        validity.next()?; // not before
        let not_after = moment(&mut validity)?;
        let subject = common_name(fields.next()?.1);
        let mut names = alternative_names(fields, &of_server).unwrap_or_default();
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

/// What a client's certificate says of who shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFacts {
    /// Its subject as RFC 4514 writes it, the most specific part first: `CN=a,O=Example`.
    pub subject: String,
    /// Its alternative names with their kinds: `DNS:a.example`, `IP:192.0.2.1`, `URI:spiffe://example/a`, `email:a@example`.
    pub names: Vec<String>,
}

impl ClientFacts {
    /// The facts of a certificate.
    pub fn of_der(der: &[u8]) -> Option<Self> {
        let mut fields = behind_version(der)?;
        // Serial number, signature algorithm, issuer, validity.
        for _ in 0..4 {
            fields.next()?;
        }
        let subject = subject::distinguished_name(fields.next()?.1)?;
        let with_kind = |tag, name: &[u8]| match tag {
            EMAIL => Some(format!("email:{}", String::from_utf8_lossy(name))),
            URI => Some(format!("URI:{}", String::from_utf8_lossy(name))),
            IP_ADDRESS => address(name).map(|name| format!("IP:{name}")),
            DNS_NAME => Some(format!("DNS:{}", String::from_utf8_lossy(name))),
            _ => None,
        };
        Some(Self { subject, names: alternative_names(fields, &with_kind).unwrap_or_default() })
    }
}

/// The seconds in which a certificate holds, from the first to the last, since 1970.
pub(super) fn validity(der: &[u8]) -> Option<RangeInclusive<i64>> {
    let mut fields = behind_version(der)?;
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        fields.next()?;
    }
    let mut validity = Der(fields.next()?.1);
    Some(moment(&mut validity)?..=moment(&mut validity)?)
}

/// The SHA-256 of a certificate in hexadecimal, 64 digits in lower case.
pub fn fingerprint(der: &[u8]) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is to be said of a certificate that ends in so many days, if anything.
pub fn warning(days_left: i64) -> Option<String> {
    match days_left {
        days if days < 0 => Some("it has expired".to_owned()),
        0 => Some("it expires within a day".to_owned()),
        1 => Some("it expires in 1 day".to_owned()),
        days if days < SOON => Some(format!("it expires in {days} days")),
        _ => None,
    }
}

/// Days before the end of a certificate from which on people are warned.
const SOON: i64 = 14;

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EMAIL: u8 = 0x81;
const URI: u8 = 0x86;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.10
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// What a certificate says, from its serial number on.
fn behind_version(der: &[u8]) -> Option<Der<'_>> {
    let certificate = Der(der).expect(SEQUENCE)?.0;
    let mut fields = Der(Der(certificate).expect(SEQUENCE)?.0);
    if fields.0.first() == Some(&VERSION) {
        fields.next()?;
    }
    Some(fields)
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

/// The names of servers among alternative ones.
fn of_server(tag: u8, name: &[u8]) -> Option<String> {
    match tag {
        DNS_NAME => Some(String::from_utf8_lossy(name).into_owned()),
        IP_ADDRESS => address(name),
        _ => None,
    }
}

/// The names in the extension (RFC 5280 §4.2.1.6) that `tell` tells.
fn alternative_names(mut fields: Der<'_>, tell: &dyn Fn(u8, &[u8]) -> Option<String>) -> Option<Vec<String>> {
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
            found.extend(tell(tag, name));
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

/// The next point in time, in seconds since 1970.
fn moment(fields: &mut Der<'_>) -> Option<i64> {
    let (tag, text) = fields.next()?;
    seconds(tag, text)
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
        // `date -u -d 1975-01-01 +%s`, which is what rcgen begins with.
        assert_eq!(validity(&made(&[], 2027)), Some(157_766_400..=1_803_859_200));
        let far = CertificateFacts::of_der(&made(&[], 2061)).unwrap();
        assert_eq!(far.names, ["Käse & Co"], "the subject, where no names are listed");
        assert_eq!(far.not_after_text(), "2061-03-01T00:00:00Z", "a four-digit year");
    }

    #[test]
    fn tells_who_a_client_is() {
        use rcgen::SanType;
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://example/a".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("a@example".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress([192, 0, 2, 1].into()));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Ex, Inc.");
        params.distinguished_name.push(DnType::CommonName, "#a\nb ");
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        let facts = ClientFacts::of_der(&der).unwrap();
        assert_eq!(facts.subject, "CN=\\#a\\0Ab\\ ,O=Ex\\, Inc.");
        assert_eq!(
            facts.names,
            ["DNS:a.example", "URI:spiffe://example/a", "email:a@example", "IP:192.0.2.1"]
        );
        assert_eq!(fingerprint(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for length in 0..der.len() {
            assert_eq!(ClientFacts::of_der(&der[..length]), None, "cut at {length}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_facts() {
        let good = made(&["a.example", "10.0.0.1"], 2061);
        for length in 0..good.len() {
            assert_eq!(CertificateFacts::of_der(&good[..length]), None, "cut at {length}");
            assert_eq!(validity(&good[..length]), None, "cut at {length}");
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let mut bad = good.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(0..bad.len());
                bad[at] = random.u8(..);
            }
            let _must_only_not_panic =
                (CertificateFacts::of_der(&bad), ClientFacts::of_der(&bad), validity(&bad));
        }
        assert_eq!(CertificateFacts::of_pem(b"nothing"), None);
    }
}
