//! What client and server agree on: versions, groups, and which of several certificates for a name.

use rustls::version;

use super::{
    super::{
        conf::{CertificateConf, ClientAuthConf, ClientAuthMode, UpstreamTlsConf},
        crypto::{CipherSuite, CryptoConf, Curve, TlsProfile, TlsVersion},
        files,
        server::{Offer, ServerTls},
    },
    World, build, meet,
};

/// A certificate with an RSA key, as `openssl` makes it.
fn rsa(world: &World, file: &str, names: &[&str]) -> CertificateConf {
    let names: Vec<_> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let [chain, key] = ["pem", "key"].map(|end| world.dir.join(format!("{file}.{end}")));
    let status = crate::sync::children::begin(|| {
        std::process::Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=rsa", "-addext",
            ])
            .arg(format!("subjectAltName={}", names.join(",")))
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&chain)
            .stderr(std::process::Stdio::null())
            .status()
    });
    assert!(status.unwrap().success());
    CertificateConf { chain, key }
}

#[tokio::test]
async fn a_client_gets_the_certificate_that_it_can_verify() {
    let world = World::new();
    let off = ClientAuthConf { mode: ClientAuthMode::Off, ca: None };
    let (ecdsa, rsa) = (world.certificate("ecdsa", &["both.test"]), rsa(&world, "rsa", &["both.test"]));
    let more = world.certificate("more", &["both.test", "other.test"]);
    for order in [[&rsa, &ecdsa, &more], [&ecdsa, &rsa, &more]] {
        let order = order.map(Clone::clone);
        let server = build("secure", &order, &off, &world.tickets).unwrap();
        // Whichever it gets, a request for the name is not misdirected.
        assert_eq!(
            (server.certificate_for(Some("both.test")), server.certificate_for(Some("other.test"))),
            (0, 2)
        );
        let custom = |suite| CryptoConf {
            profile: TlsProfile::Custom,
            versions: vec![TlsVersion::Tls12],
            cipher_suites: vec![suite],
            curves: Vec::new(),
        };
        let client = |suite| UpstreamTlsConf { verify: false, crypto: custom(suite), ..world.client_conf() };
        for (suite, file) in [(CipherSuite::EcdsaAes128, "ecdsa.pem"), (CipherSuite::RsaAes128, "rsa.pem")] {
            let met = meet(&world.client(&client(suite)), "both.test", &server).await.unwrap();
            let shown = files::certificates(&world.dir.join(file)).unwrap();
            assert_eq!(met.server_leaf, shown[0].to_vec(), "{suite:?}");
        }
        let any = world.client(&UpstreamTlsConf { verify: false, ..world.client_conf() });
        let met = meet(&any, "both.test", &server).await.unwrap();
        assert_eq!(met.server_leaf, files::certificates(&ecdsa.chain).unwrap()[0].to_vec());
    }
}

#[tokio::test]
async fn a_certificate_is_shown_for_its_own_names_only() {
    let world = World::new();
    let off = ClientAuthConf { mode: ClientAuthMode::Off, ca: None };
    let rsa = rsa(&world, "rsa", &["both.test", "rsa-only.test", "*.both.test"]);
    let ecdsa = world.certificate("ecdsa", &["both.test", "*.sub.test"]);
    for (order, of_unknown) in [([&rsa, &ecdsa], "rsa.pem"), ([&ecdsa, &rsa], "ecdsa.pem")] {
        let server = build("secure", &order.map(Clone::clone), &off, &world.tickets).unwrap();
        // Its own, which has no ticket of the server before.
        let client = world.client(&UpstreamTlsConf { verify: false, ..world.client_conf() });
        for (name, file) in [
            ("both.test", "ecdsa.pem"),
            ("rsa-only.test", "rsa.pem"),
            ("www.both.test", "rsa.pem"),
            ("www.sub.test", "ecdsa.pem"),
            // The first in the file, which has names that the other has not.
            ("unknown.test", of_unknown),
        ] {
            let met = meet(&client, name, &server).await.unwrap();
            let shown = files::certificates(&world.dir.join(file)).unwrap();
            assert_eq!(met.server_leaf, shown[0].to_vec(), "{name}");
        }
    }
}

#[tokio::test]
async fn a_profile_says_which_versions_and_groups_are_agreed_on() {
    let world = World::new();
    let certificates = [world.certificate("good", &["localhost"])];
    let off = ClientAuthConf { mode: ClientAuthMode::Off, ca: None };
    let server = |crypto: &CryptoConf| {
        let offer = Offer { crypto, alpn: &[] };
        ServerTls::build("secure", &certificates, &off, offer, &world.tickets).unwrap()
    };
    let [old, new] = [&version::TLS12, &version::TLS13].map(|version| world.client_of(version));
    let of = |profile| CryptoConf { profile, ..CryptoConf::default() };
    let modern = server(&of(TlsProfile::Modern));
    assert!(
        meet(&old, "localhost", &modern).await.is_err() && meet(&new, "localhost", &modern).await.is_ok()
    );
    let both = server(&of(TlsProfile::Intermediate));
    assert!(meet(&old, "localhost", &both).await.is_ok() && meet(&new, "localhost", &both).await.is_ok());
    let versions = vec![TlsVersion::Tls12];
    let custom = server(&CryptoConf { versions, ..of(TlsProfile::Custom) });
    assert!(
        meet(&old, "localhost", &custom).await.is_ok() && meet(&new, "localhost", &custom).await.is_err()
    );
    // Groups that only one side has: there is nothing to agree on.
    let of_curve = |curve| CryptoConf { curves: vec![curve], ..of(TlsProfile::Custom) };
    let server = server(&of_curve(Curve::P384));
    for (curve, is_met) in [(Curve::P384, true), (Curve::X25519, false)] {
        let client = world.client(&UpstreamTlsConf { crypto: of_curve(curve), ..world.client_conf() });
        assert_eq!(meet(&client, "localhost", &server).await.is_ok(), is_met, "{curve:?}");
    }
}

#[test]
fn an_encrypted_key_is_told_as_such() {
    let world = World::new();
    let plain = world.certificate("good", &["a.test"]);
    for (name, arguments) in [("pkcs8", ["pkcs8", "-topk8"]), ("sec1", ["ec", "-aes128"])] {
        let key = world.dir.join(format!("{name}.key"));
        let status = crate::sync::children::begin(|| {
            std::process::Command::new("openssl")
                .args(arguments)
                .args(["-passout", "pass:secret", "-in"])
                .arg(&plain.key)
                .arg("-out")
                .arg(&key)
                .stderr(std::process::Stdio::null())
                .status()
        });
        assert!(status.unwrap().success());
        let error = files::signer(&key).unwrap_err();
        assert!(
            error.message.contains("is encrypted") && error.hint.contains("openssl pkey -in"),
            "{error:?}"
        );
    }
    assert!(files::signer(&plain.key).is_ok());
}
