//! The session within a ticket: whether the certificate that its client showed is still good.
//!
//! rustls verifies a client's certificate in full handshakes only, and each resumption makes another ticket: without this,
//! a client that was let in once would be let in for as long as it comes back, though its certificate has ended. Whoever is
//! refused here is asked for a certificate again, so that one that was renewed lets its client in.
//!
//! Nothing but time can change what was found when the chain was verified: a ticket opens only for the same authorities
//! ([`Context`](super::tickets::Context)). So the time is all that is looked at, and no signature is verified: a ClientHello
//! may offer dozens of tickets, copies of one that was overheard even, each of which is looked at before the client has
//! shown that it has the ticket's secret. A certificate of the chain that has ended and was not needed costs a full
//! handshake.
//!
//! The layout is rustls's own (`ServerSessionValue`), which promises nothing of it. A session of another layout is not
//! resumed, which costs a full handshake; a test of this room holds that those of today are.

use rustls::pki_types::UnixTime;

use super::{conf::ClientAuthMode, facts};

/// Whether the client of this session would be let in at `now` with what it showed.
pub(super) fn is_still_good(session: &[u8], mode: ClientAuthMode, now: UnixTime) -> bool {
    let may_show_none = match mode {
        // Nothing was asked for, and nothing shown.
        ClientAuthMode::Off => return true,
        ClientAuthMode::Request => true,
        ClientAuthMode::Require => false,
    };
    let (Some(chain), Ok(now)) = (chain(session), i64::try_from(now.as_secs())) else { return false };
    if chain.is_empty() {
        return may_show_none;
    }
    chain.iter().all(|certificate| facts::validity(certificate).is_some_and(|seconds| seconds.contains(&now)))
}

/// The certificates that the client showed; none where it showed none.
fn chain(session: &[u8]) -> Option<Vec<&[u8]>> {
    let (has_name, mut rest) = session.split_first()?;
    if *has_name != 0 {
        (_, rest) = prefixed::<1>(rest)?;
    }
    // Version and cipher suite.
    let (_, rest) = rest.split_at_checked(4)?;
    let (_secret, rest) = prefixed::<1>(rest)?;
    let (_is_extended, rest) = rest.split_first()?;
    let (has_chain, rest) = rest.split_first()?;
    let mut chain = Vec::new();
    if *has_chain != 0 {
        let (mut left, _) = prefixed::<3>(rest)?;
        while !left.is_empty() {
            let (certificate, rest) = prefixed::<3>(left)?;
            chain.push(certificate);
            left = rest;
        }
    }
    Some(chain)
}

/// What stands behind its length, which has `N` bytes, and the rest.
fn prefixed<const N: usize>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(N)?;
    let length = length.iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// A session of a client that asked for this name and showed these certificates, as far as it is read here.
    pub(in crate::tls) fn session(name: Option<&str>, chain: &[&[u8]]) -> Vec<u8> {
        let name = name.map_or(vec![0], |name| [vec![1], behind_length::<1>(name.as_bytes())].concat());
        let secret = [3, 4, 0x13, 1, 2, 9, 9, 1];
        let certificates: Vec<u8> = chain.iter().flat_map(|one| behind_length::<3>(one)).collect();
        let shown =
            if chain.is_empty() { vec![0] } else { [vec![1], behind_length::<3>(&certificates)].concat() };
        [&name[..], &secret, &shown].concat()
    }

    fn behind_length<const N: usize>(bytes: &[u8]) -> Vec<u8> {
        let length = (bytes.len() as u64).to_be_bytes();
        [&length[8 - N..], bytes].concat()
    }

    #[test]
    fn certificates_are_found_behind_names_and_secrets() {
        for name in [None, Some("a.b")] {
            let whole = session(name, &[&[7, 7][..], &[8]]);
            assert_eq!(chain(&whole), Some(vec![&[7, 7][..], &[8]]));
            for length in 0..whole.len() {
                assert_eq!(chain(&whole[..length]), None, "{length}");
            }
            assert_eq!(chain(&session(name, &[])), Some(Vec::new()));
        }
    }

    #[test]
    fn a_session_is_good_while_all_its_certificates_are() {
        let from_to = |begin: i32, end: i32| {
            let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
            (params.not_before, params.not_after) = (date_time_ymd(begin, 3, 1), date_time_ymd(end, 3, 1));
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
        };
        let (leaf, intermediate) = (from_to(2026, 2028), from_to(2025, 2027));
        // `date -u -d 2026-03-01 +%s`, and so on.
        let (of_2026, of_2027, of_2028) = (1_772_323_200, 1_803_859_200, 1_835_481_600);
        let at = |second| UnixTime::since_unix_epoch(Duration::from_secs(second));
        let is_good = |chain: &[&[u8]], mode, second| is_still_good(&session(None, chain), mode, at(second));
        for mode in [ClientAuthMode::Request, ClientAuthMode::Require] {
            for (second, alone, both) in [
                (0, false, false),
                (of_2026 - 1, false, false),
                (of_2026, true, true),
                (of_2027, true, true),
                (of_2027 + 1, true, false),
                (of_2028, true, false),
                (of_2028 + 1, false, false),
                (u64::MAX, false, false),
            ] {
                assert_eq!(is_good(&[&leaf], mode, second), alone, "{second}");
                assert_eq!(is_good(&[&leaf, &intermediate], mode, second), both, "{second}");
            }
            assert!(!is_good(&[&leaf, b"no certificate"], mode, of_2026));
            assert_eq!(is_good(&[], mode, of_2026), mode == ClientAuthMode::Request);
            assert!(!is_still_good(b"of another layout", mode, at(of_2026)));
        }
    }
}
