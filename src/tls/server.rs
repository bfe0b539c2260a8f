//! TLS towards clients: which certificate a name gets, whether clients must show one, resumption.
//!
//! Next stop: `http`, which reads ALPN and compares the certificate of the connection with that of each
//! request's host.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig, SignatureAlgorithm,
    crypto::aws_lc_rs::default_provider,
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};

use super::{
    conf::{CertificateConf, ClientAuthConf, ClientAuthMode},
    crypto::CryptoConf,
    files,
    tickets::{Context, Tickets},
};
use crate::error::BuildError;

/// What a listener's TLS connections are made with.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// For the acceptor; the same for all workers.
    pub config: Arc<ServerConfig>,
    /// What clients are asked for: who was let in by another context is let in by it no more.
    pub client_auth: Arc<Context>,
    certificates: Arc<Certificates>,
}

impl ServerTls {
    /// Reads the files and puts them together. A ticket made by another `ServerTls` is accepted when
    /// both have the same `tickets`, `listener` and `client_auth`.
    pub fn build(
        listener: &str,
        certificates: &[CertificateConf],
        client_auth: &ClientAuthConf,
        Offer { crypto, alpn }: Offer<'_>,
        tickets: &Arc<Tickets>,
    ) -> Result<Self, BuildError> {
        let certificates = Arc::new(Certificates::read(listener, certificates)?);
        let builder = ServerConfig::builder_with_provider(crypto.provider())
            .with_protocol_versions(&crypto.versions())
            .map_err(|error| BuildError::new(error.to_string(), "this is a bug"))?;
        let (verifier, context) = client_verifier(listener, client_auth)?;
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(certificates.clone());
        // Half of what a record may hold, so that the copies that encryption makes stay in the core's own
        // cache: a profile of 100-kB responses had a third of its samples in that copy. The gain was a few
        // per cent on a noisy machine; the row to watch is `benches/compare/run --rows tls-large`.
        config.max_fragment_size = Some(8150);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.ticketer = Arc::new(tickets.bound_to(context, client_auth.mode));
        // Tickets only: a table of sessions would be shared by the workers, and lost on reload.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // Each one costs a sealing and some 200 bytes per handshake. Clients that open several
        // connections at once do so before they have any.
        config.send_tls13_tickets = 1;
        Ok(Self { config: Arc::new(config), client_auth: Arc::new(context), certificates })
    }

    /// The certificate that a connection for `name` gets, as its index in the configuration; names that
    /// no certificate has, and no name, get the first. A request whose host has another index than
    /// the connection's server name is misdirected (RFC 9110 §15.5.20).
    pub fn certificate_for(&self, name: Option<&str>) -> usize {
        self.certificates.candidates(name).first
    }
}

/// What a listener agrees on with its clients.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'c> {
    /// Versions, cipher suites, groups.
    pub crypto: &'c CryptoConf,
    /// Protocols (ALPN), the preferred one first; none is agreed on without any.
    pub alpn: &'c [String],
}

/// The certificates of a listener by the names within them.
#[derive(Debug)]
struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    exact: HashMap<Box<str>, Candidates>,
    /// Without the `*.`.
    wildcard: HashMap<Box<str>, Candidates>,
    /// For clients that say no name, or one that no certificate has.
    unnamed: Candidates,
}

/// The certificates for one name, of different algorithms; the first in the file stands for them.
#[derive(Debug, Default)]
struct Candidates {
    first: usize,
    others: Vec<usize>,
}

impl Certificates {
    fn read(listener: &str, confs: &[CertificateConf]) -> Result<Self, BuildError> {
        if confs.is_empty() {
            let message = format!("the https listener `{listener}` has no certificate");
            return Err(BuildError::new(message, "add `[[listener.certificate]]` with `chain` and `key`"));
        }
        let (exact, wildcard, unnamed) = Default::default();
        let mut all = Self { keys: Vec::new(), exact, wildcard, unnamed };
        for conf in confs {
            all.add(files::certified_key(&conf.chain, &conf.key)?, conf)?;
        }
        all.unnamed.others = all.substitutes_of_first();
        Ok(all)
    }

    fn add(&mut self, key: CertifiedKey, conf: &CertificateConf) -> Result<(), BuildError> {
        let index = self.keys.len();
        let parsed = key.end_entity_cert().ok().and_then(|it| webpki::EndEntityCert::try_from(it).ok());
        let Some(leaf) = parsed else {
            let message = format!("the first certificate of {} is broken", conf.chain.display());
            return Err(BuildError::new(message, "was the file changed since it was checked?"));
        };
        let algorithm = key.key.algorithm();
        for name in leaf.valid_dns_names() {
            let name = name.to_ascii_lowercase();
            // The first in the file wins, as among routes.
            let entry = match name.strip_prefix("*.") {
                Some(parent) => self.wildcard.entry(parent.into()),
                None => self.exact.entry(name.into()),
            };
            let Candidates { first, others } =
                entry.or_insert_with(|| Candidates { first: index, others: Vec::new() });
            if *first == index {
                continue;
            }
            // One of an algorithm is enough.
            let has = |other: &usize| self.keys.get(*other).is_some_and(|it| it.key.algorithm() == algorithm);
            if !has(first) && !others.iter().any(has) {
                others.push(index);
            }
        }
        self.keys.push(Arc::new(key));
        Ok(())
    }

    /// Those that have all names of the first certificate.
    fn substitutes_of_first(&self) -> Vec<usize> {
        let mut of_first = self.exact.values().chain(self.wildcard.values()).filter(|it| it.first == 0);
        let mut others = of_first.next().map(|it| it.others.clone()).unwrap_or_default();
        for candidates in of_first {
            others.retain(|other| candidates.others.contains(other));
        }
        others
    }

    fn candidates(&self, name: Option<&str>) -> &Candidates {
        let Some(name) = name else {
            return &self.unnamed;
        };
        // An absolute name in a Host field (`example.com.`) has no dot in SNI (RFC 6066 §3).
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.candidates_of_lowercase(&name.to_ascii_lowercase());
        }
        self.candidates_of_lowercase(name)
    }

    fn candidates_of_lowercase(&self, name: &str) -> &Candidates {
        // RFC 9525 §6.3: a wildcard stands for the leftmost label, and for one only.
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(wildcard).unwrap_or(&self.unnamed)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Candidates { first, others } = self.candidates(hello.server_name());
        let first = self.keys.get(*first)?;
        if others.is_empty() {
            return Some(first.clone());
        }
        // ECDSA and Ed25519 cost a tenth of RSA here; a client that can neither gets RSA.
        let others = others.iter().filter_map(|other| self.keys.get(*other));
        let mut all: Vec<&Arc<CertifiedKey>> = std::iter::once(first).chain(others).collect();
        all.sort_by_key(|key| key.key.algorithm() == SignatureAlgorithm::RSA);
        let suits = |key: &&&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        Some(all.iter().find(suits).map_or(first, |key| *key).clone())
    }
}

/// How clients are authenticated, and the context that tickets are bound to by it.
fn client_verifier(
    listener: &str,
    conf: &ClientAuthConf,
) -> Result<(Arc<dyn ClientCertVerifier>, Context), BuildError> {
    let authorities = match (&conf.ca, conf.mode) {
        (_, ClientAuthMode::Off) => Vec::new(),
        (Some(ca), _) => files::certificates(ca)?,
        (None, mode) => {
            let message = format!("`client_auth.mode = \"{}\"` needs `ca`", mode.name());
            return Err(BuildError::new(
                message,
                "set it to the CA certificates that issue client certificates",
            ));
        }
    };
    let settings = [listener.as_bytes(), conf.mode.name().as_bytes()];
    let context = Context::of(settings.into_iter().chain(authorities.iter().map(AsRef::as_ref)));
    if conf.mode == ClientAuthMode::Off {
        return Ok((WebPkiClientVerifier::no_client_auth(), context));
    }
    let unusable = |error: String| {
        BuildError::new(
            format!("`client_auth.ca` cannot be used: {error}"),
            "it must contain CA certificates",
        )
    };
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| unusable(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::new(default_provider()));
    let builder = match conf.mode {
        ClientAuthMode::Request => builder.allow_unauthenticated(),
        ClientAuthMode::Require | ClientAuthMode::Off => builder,
    };
    let verifier = builder.build().map_err(|error| unusable(error.to_string()))?;
    Ok((verifier, context))
}

/// The registered name of a cipher suite; empty for one that is not offered here.
pub fn cipher_name(suite: rustls::CipherSuite) -> &'static str {
    use rustls::CipherSuite as Suite;
    match suite {
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or(""),
    }
}
