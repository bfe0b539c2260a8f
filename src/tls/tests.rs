//! Handshakes in memory: who is shown which certificate, who is let in, what is resumed.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion, pki_types::ServerName, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    client,
    conf::{CertificateConf, ClientAuthConf, ClientAuthMode, UpstreamTlsConf},
    crypto::CryptoConf,
    demo::Authority,
    server::{Offer, ServerTls},
    tickets::{ROTATION, Tickets},
};
use crate::{error::BuildError, moment::Moment};

mod agreeing;
mod expiring;

/// What a listener that says nothing of TLS agrees on.
fn build(
    listener: &str,
    certificates: &[CertificateConf],
    auth: &ClientAuthConf,
    tickets: &Arc<Tickets>,
) -> Result<ServerTls, BuildError> {
    let alpn = ["h2", "http/1.1", "http/1.0"].map(str::to_owned);
    let offer = Offer { crypto: &CryptoConf::default(), alpn: &alpn };
    ServerTls::build(listener, certificates, auth, offer, tickets)
}

/// Files in a folder that is gone afterwards.
struct World {
    dir: PathBuf,
    authority: Authority,
    tickets: Arc<Tickets>,
}

impl World {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Relaxed);
        let dir = std::env::temp_dir().join(format!("pointsman-tls-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let authority = Authority::new().unwrap();
        fs::write(dir.join("ca.pem"), &authority.certificate).unwrap();
        Self { dir, authority, tickets: Tickets::new(Moment(1)).unwrap() }
    }

    fn certificate(&self, file: &str, names: &[&str]) -> CertificateConf {
        let purpose = if names.is_empty() { ClientAuth } else { ServerAuth };
        let issued = self.authority.issue(file, names, purpose).unwrap();
        let [chain, key] = ["pem", "key"].map(|end| self.dir.join(format!("{file}.{end}")));
        fs::write(&chain, issued.certificate).unwrap();
        fs::write(&key, issued.key).unwrap();
        CertificateConf { chain, key }
    }

    fn auth(&self, mode: ClientAuthMode) -> ClientAuthConf {
        ClientAuthConf { mode, ca: Some(self.dir.join("ca.pem")) }
    }

    fn server(&self, mode: ClientAuthMode) -> ServerTls {
        let certificates = [
            self.certificate("first", &["first.test", "localhost"]),
            self.certificate("star", &["*.example.com"]),
            self.certificate("exact", &["api.example.com", "*.sub.example.com"]),
        ];
        build("secure", &certificates, &self.auth(mode), &self.tickets).unwrap()
    }

    fn client_conf(&self) -> UpstreamTlsConf {
        UpstreamTlsConf {
            server_name: None,
            ca: Some(self.dir.join("ca.pem")),
            certificate: None,
            verify: true,
            crypto: CryptoConf::default(),
        }
    }

    fn client(&self, conf: &UpstreamTlsConf) -> Arc<ClientConfig> {
        client::build(conf).unwrap().0
    }

    /// A client with a version of its own, which remembers sessions.
    fn client_of(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        super::files::certificates(&self.dir.join("ca.pem")).unwrap().into_iter().for_each(|it| {
            roots.add(it).unwrap();
        });
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// What both sides know after a handshake and a byte each way.
#[derive(Debug)]
struct Met {
    kind: HandshakeKind,
    server_leaf: Vec<u8>,
    client_is_known: bool,
    alpn: Option<Vec<u8>>,
}

async fn meet(client: &Arc<ClientConfig>, name: &str, server: &ServerTls) -> Result<Met, String> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let acceptor = TlsAcceptor::from(server.config.clone());
    let serve = async {
        let mut stream = acceptor.accept(far).await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok::<_, std::io::Error>(stream)
    };
    let connector = TlsConnector::from(client.clone());
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connect = async {
        let mut stream = connector.connect(name, near).await?;
        stream.read_u8().await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        Ok::<_, std::io::Error>(stream)
    };
    let (served, connected) = tokio::join!(serve, connect);
    let (served, connected) = (served.map_err(|it| it.to_string())?, connected.map_err(|it| it.to_string())?);
    Ok(Met {
        kind: served.get_ref().1.handshake_kind().unwrap(),
        server_leaf: connected.get_ref().1.peer_certificates().unwrap()[0].to_vec(),
        client_is_known: served.get_ref().1.peer_certificates().is_some(),
        alpn: connected.get_ref().1.alpn_protocol().map(<[u8]>::to_vec),
    })
}

#[tokio::test]
async fn the_name_chooses_the_certificate() {
    let world = World::new();
    let server = world.server(ClientAuthMode::Off);
    let expected = [
        (Some("first.test"), 0),
        (Some("LocalHost"), 0),
        (Some("www.example.com"), 1),
        (Some("api.example.com"), 2),
        (Some("api.example.com."), 2),
        (Some("a.sub.example.com"), 2),
        // One label only, and not none.
        (Some("a.www.example.com"), 0),
        (Some("example.com"), 0),
        (Some("unknown.test"), 0),
        (Some(""), 0),
        (None, 0),
    ];
    for (name, index) in expected {
        assert_eq!(server.certificate_for(name), index, "{name:?}");
    }
    let client = world.client(&UpstreamTlsConf { verify: false, ..world.client_conf() });
    for (name, file) in
        [("www.example.com", "star.pem"), ("api.example.com", "exact.pem"), ("127.0.0.1", "first.pem")]
    {
        let met = meet(&client, name, &server).await.unwrap();
        let leaf = super::files::certificates(&world.dir.join(file)).unwrap().remove(0);
        assert_eq!(met.server_leaf, leaf.to_vec(), "{name}");
        assert_eq!(met.alpn.as_deref(), Some(&b"http/1.1"[..]));
    }
}

#[tokio::test]
async fn a_backend_is_verified_unless_configured_otherwise() {
    let world = World::new();
    let server = world.server(ClientAuthMode::Off);
    let trusting = world.client(&world.client_conf());
    assert!(meet(&trusting, "localhost", &server).await.is_ok());
    assert!(meet(&trusting, "wrong.test", &server).await.is_err());
    let stranger = World::new();
    assert!(meet(&stranger.client(&stranger.client_conf()), "localhost", &server).await.is_err());
    let careless = stranger.client(&UpstreamTlsConf { verify: false, ..stranger.client_conf() });
    assert!(meet(&careless, "wrong.test", &server).await.is_ok());
}

#[tokio::test]
async fn a_client_is_let_in_by_its_certificate() {
    let world = World::new();
    let stranger = World::new();
    let none = world.client(&world.client_conf());
    let with = |certificate| {
        world.client(&UpstreamTlsConf { certificate: Some(certificate), ..world.client_conf() })
    };
    let good = with(world.certificate("client", &[]));
    let bad = with(stranger.certificate("client", &[]));
    // A server's certificate is not for clients, even from the right authority.
    let misused = with(world.certificate("server", &["a.test"]));
    use ClientAuthMode::{Off, Request, Require};
    let cases = [
        (Off, &none, Some(false)),
        (Off, &good, Some(false)),
        (Request, &none, Some(false)),
        (Request, &good, Some(true)),
        (Request, &bad, None),
        (Require, &none, None),
        (Require, &good, Some(true)),
        (Require, &bad, None),
        (Require, &misused, None),
    ];
    for (number, (mode, client, expected)) in cases.into_iter().enumerate() {
        let server = world.server(mode);
        // A session of the case before must not decide.
        let fresh = Arc::new(ClientConfig::clone(client));
        let met = meet(&fresh, "localhost", &server).await;
        assert_eq!(met.map(|met| met.client_is_known).ok(), expected, "case {number}: {mode:?}");
    }
}

#[tokio::test]
async fn sessions_are_resumed_by_every_worker_until_the_second_rotation() {
    for version in [&version::TLS12, &version::TLS13] {
        let world = World::new();
        let client = world.client_of(version);
        let kind = async |server: &ServerTls| meet(&client, "localhost", server).await.unwrap().kind;
        assert_eq!(kind(&world.server(ClientAuthMode::Off)).await, HandshakeKind::Full);
        // Built anew, as after a reload, with other certificates even.
        let server = world.server(ClientAuthMode::Off);
        assert_eq!(kind(&server).await, HandshakeKind::Resumed, "{version:?}");
        assert!(world.tickets.rotate(Moment(1).plus(ROTATION)));
        assert_eq!(kind(&server).await, HandshakeKind::Resumed, "{version:?}");
        // Twice more: TLS 1.3 clients got a ticket of the new key with that last handshake.
        assert!(world.tickets.rotate(Moment(1).plus(ROTATION * 2)));
        assert!(world.tickets.rotate(Moment(1).plus(ROTATION * 3)));
        assert_ne!(kind(&server).await, HandshakeKind::Resumed, "{version:?}");
    }
}

#[tokio::test]
async fn a_ticket_does_not_open_another_listeners_door() {
    for version in [&version::TLS12, &version::TLS13] {
        let world = World::new();
        let client = world.client_of(version);
        let open = world.server(ClientAuthMode::Off);
        assert_eq!(meet(&client, "localhost", &open).await.unwrap().kind, HandshakeKind::Full);
        let guarded = world.server(ClientAuthMode::Require);
        assert!(meet(&client, "localhost", &guarded).await.is_err(), "CVE-2025-23419, {version:?}");
        let asking = world.server(ClientAuthMode::Request);
        assert_ne!(meet(&client, "localhost", &asking).await.unwrap().kind, HandshakeKind::Resumed);
        // The same settings under another listener's name, and another authority.
        let certificates = [world.certificate("again", &["localhost"])];
        let auth = world.auth(ClientAuthMode::Request);
        let other = build("other", &certificates, &auth, &world.tickets).unwrap();
        assert_ne!(meet(&client, "localhost", &other).await.unwrap().kind, HandshakeKind::Resumed);
        fs::write(world.dir.join("ca.pem"), &World::new().authority.certificate).unwrap();
        let moved = build("other", &certificates, &auth, &world.tickets).unwrap();
        assert_ne!(meet(&client, "localhost", &moved).await.unwrap().kind, HandshakeKind::Resumed);
    }
}

/// A store that knows one session only, whatever the name: a client that means to mix them up.
#[derive(Debug)]
struct Mixed(rustls::client::ClientSessionMemoryCache);

const MIXED: &str = "localhost";

impl rustls::client::ClientSessionStore for Mixed {
    fn set_kx_hint(&self, _: ServerName<'static>, _: rustls::NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: rustls::client::Tls12ClientSessionValue) {
        self.0.set_tls12_session(MIXED.try_into().unwrap(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<rustls::client::Tls12ClientSessionValue> {
        self.0.tls12_session(&MIXED.try_into().unwrap())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: rustls::client::Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(MIXED.try_into().unwrap(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&MIXED.try_into().unwrap())
    }
}

#[tokio::test]
async fn a_ticket_for_one_name_is_not_accepted_for_another() {
    for version in [&version::TLS12, &version::TLS13] {
        let world = World::new();
        let mut client = ClientConfig::clone(&world.client_of(version));
        let store = Mixed(rustls::client::ClientSessionMemoryCache::new(32));
        client.resumption = rustls::client::Resumption::store(Arc::new(store));
        let client = Arc::new(client);
        let server = world.server(ClientAuthMode::Off);
        let kind = async |name| meet(&client, name, &server).await.unwrap().kind;
        assert_eq!(kind("localhost").await, HandshakeKind::Full);
        assert_eq!(kind("localhost").await, HandshakeKind::Resumed, "{version:?}");
        assert_ne!(kind("www.example.com").await, HandshakeKind::Resumed, "{version:?}");
    }
}

#[test]
fn what_cannot_be_built_says_why() {
    let world = World::new();
    let good = world.certificate("good", &["a.test"]);
    let off = ClientAuthConf { mode: ClientAuthMode::Off, ca: None };
    let build = |certificates: &[CertificateConf], auth: &ClientAuthConf| {
        build("secure", certificates, auth, &world.tickets).map(drop).unwrap_err().message
    };
    assert_eq!(build(&[], &off), "the https listener `secure` has no certificate");
    let missing = CertificateConf { chain: world.dir.join("none.pem"), key: good.key.clone() };
    assert!(build(&[missing], &off).starts_with("there is no file"));
    for (part, name) in [(&good.chain, "CERTIFICATE"), (&good.key, "PRIVATE KEY")] {
        let whole = fs::read(part).unwrap();
        let half = world.dir.join("half.pem");
        fs::write(&half, &whole[..whole.len() / 2]).unwrap();
        let is_chain = *part == good.chain;
        let torn = CertificateConf {
            chain: if is_chain { half.clone() } else { good.chain.clone() },
            key: if is_chain { good.key.clone() } else { half },
        };
        let said = build(&[torn], &off);
        assert!(said.contains("half.pem is cut off") && said.contains(&format!("END {name}-")), "{said}");
    }
    let other = world.certificate("other", &["a.test"]);
    let crossed = CertificateConf { chain: good.chain.clone(), key: other.key };
    assert!(build(&[crossed], &off).starts_with("the key does not match"));
    let require = ClientAuthConf { mode: ClientAuthMode::Require, ca: None };
    assert_eq!(build(&[good], &require), "`client_auth.mode = \"require\"` needs `ca`");
}
