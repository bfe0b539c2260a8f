//! The session within a ticket: whether the certificate that its client showed is still good.
//!
//! rustls verifies a client's certificate in full handshakes only, and each resumption makes another ticket: without this,
//! a client that was let in once would be let in for as long as it comes back, though its certificate has ended. Whoever is
//! refused here is asked for a certificate again, so that one that was renewed lets its client in.
//!
//! The layout is rustls's own (`ServerSessionValue`), which promises nothing of it. A session of another layout is not
//! resumed, which costs a full handshake; a test of this room holds that those of today are.

use rustls::{
    pki_types::{CertificateDer, UnixTime},
    server::danger::ClientCertVerifier,
};

/// Whether the client of this session would be let in at `now` with what it showed.
pub(super) fn is_still_good(session: &[u8], verifier: &dyn ClientCertVerifier, now: UnixTime) -> bool {
    let Some(chain) = chain(session) else { return false };
    match chain.split_first() {
        Some((leaf, rest)) => verifier.verify_client_cert(leaf, rest, now).is_ok(),
        None => !verifier.client_auth_mandatory(),
    }
}

/// The certificates that the client showed; none where it showed none.
fn chain(session: &[u8]) -> Option<Vec<CertificateDer<'_>>> {
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
            chain.push(CertificateDer::from(certificate));
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
mod tests {
    use super::*;

    #[test]
    fn certificates_are_found_behind_names_and_secrets() {
        let secret = [3, 4, 0x13, 1, 2, 9, 9, 1];
        let shown = [1, 0, 0, 9, 0, 0, 2, 7, 7, 0, 0, 1, 8];
        for name in [&[0][..], &[1, 3, b'a', b'.', b'b']] {
            let session = [name, &secret, &shown].concat();
            let found = chain(&session).unwrap();
            assert_eq!(found.iter().map(|it| it.to_vec()).collect::<Vec<_>>(), [vec![7, 7], vec![8]]);
            for length in 0..session.len() {
                assert_eq!(chain(&session[..length]), None, "{length}");
            }
            assert_eq!(chain(&[name, &secret, &[0]].concat()), Some(Vec::new()));
        }
    }
}
