//! Certificates that end: a ticket does not let in whom they let in before.

use std::{fs, sync::Arc, time::Duration};

use rustls::{HandshakeKind, ServerConfig, pki_types::UnixTime, time_provider::TimeProvider};

use super::{
    super::{
        conf::{CertificateConf, ClientAuthMode, UpstreamTlsConf},
        crypto::{CryptoConf, TlsProfile, TlsVersion},
    },
    World, meet,
};

/// The time at which the certificate that has ended was good.
#[derive(Debug)]
struct TwoDaysAgo;

impl TimeProvider for TwoDaysAgo {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = UnixTime::now().as_secs() - 2 * 24 * 60 * 60;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// A client's certificate that has ended.
fn ended(world: &World) -> CertificateConf {
    let issued = world.authority.issue_ended("ended").unwrap();
    let [chain, key] = ["pem", "key"].map(|end| world.dir.join(format!("ended.{end}")));
    fs::write(&chain, issued.certificate).unwrap();
    fs::write(&key, issued.key).unwrap();
    CertificateConf { chain, key }
}

#[tokio::test]
async fn a_ticket_ends_with_the_certificate_that_it_stands_for() {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let world = World::new();
        let client = |certificate| {
            let (profile, versions) = (TlsProfile::Custom, vec![version]);
            let crypto = CryptoConf { profile, versions, ..CryptoConf::default() };
            let certificate = Some(certificate);
            world.client(&UpstreamTlsConf { certificate, crypto, ..world.client_conf() })
        };
        let (good, ended) = (client(world.certificate("good", &[])), client(ended(&world)));
        for mode in [ClientAuthMode::Require, ClientAuthMode::Request] {
            let server = world.server(mode);
            // Of rustls alone: what looks at tickets has the clock of everybody.
            let mut slow = server.clone();
            let mut config = ServerConfig::clone(&server.config);
            config.time_provider = Arc::new(TwoDaysAgo);
            slow.config = Arc::new(config);

            // The sessions of the mode before are of another context.
            assert_ne!(meet(&good, "localhost", &server).await.unwrap().kind, HandshakeKind::Resumed);
            let again = meet(&good, "localhost", &server).await.unwrap();
            assert_eq!((again.kind, again.client_is_known), (HandshakeKind::Resumed, true), "{version:?}");

            for _ in 0..2 {
                let met = meet(&ended, "localhost", &slow).await.unwrap();
                assert_ne!(met.kind, HandshakeKind::Resumed, "{version:?} {mode:?}");
                assert!(met.client_is_known);
            }
            assert!(meet(&ended, "localhost", &server).await.is_err(), "{version:?} {mode:?}");
        }
        // Whoever shows nothing resumes as before.
        let (asking, none) = (world.server(ClientAuthMode::Request), world.client(&world.client_conf()));
        assert_ne!(meet(&none, "localhost", &asking).await.unwrap().kind, HandshakeKind::Resumed);
        assert_eq!(meet(&none, "localhost", &asking).await.unwrap().kind, HandshakeKind::Resumed);
    }
}
