//! TLS towards backends: whom to trust, what to show.
//!
//! Next stop: `net::dial`, which shakes hands for `upstream` and for the active checks alike.

use std::sync::{Arc, OnceLock};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::SingleCertAndKey,
};

use super::{conf::UpstreamTlsConf, files};
use crate::error::BuildError;

/// Reads the files and puts them together; the name is the configured one. Sessions are resumed, each
/// upstream keeping its own.
pub fn build(conf: &UpstreamTlsConf) -> Result<(Arc<ClientConfig>, Option<ServerName<'static>>), BuildError> {
    let name = conf.server_name.clone().map(|name| {
        let message = format!("`{name}` is not a server name");
        ServerName::try_from(name)
            .map_err(|_| BuildError::new(message, "a DNS name without port, or an IP address"))
    });
    let provider = conf.crypto.provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&conf.crypto.versions())
        .map_err(|error| BuildError::new(error.to_string(), "this is a bug"))?;
    // The dangerous call is the only one that takes a verifier; two of the three are not dangerous.
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier(conf, provider)?);
    let mut config = match &conf.certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let key = files::certified_key(&certificate.chain, &certificate.key)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), name.transpose()?))
}

fn verifier(
    conf: &UpstreamTlsConf,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, BuildError> {
    if !conf.verify {
        return Ok(Arc::new(Unverified(provider)));
    }
    let roots = match &conf.ca {
        None => system_roots()?,
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for authority in files::certificates(ca)? {
                roots.add(authority).map_err(|error| {
                    let message = format!("{} cannot be used: {error}", ca.display());
                    BuildError::new(message, "it must contain CA certificates")
                })?;
            }
            Arc::new(roots)
        }
    };
    let built = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
    Ok(built.map_err(|error| BuildError::new(error.to_string(), "does `ca` contain CA certificates?"))?)
}

/// The system's roots, read once: a reload is not the time to learn of new ones for some upstreams only.
fn system_roots() -> Result<Arc<RootCertStore>, BuildError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let loaded = rustls_native_certs::load_native_certs();
        for error in &loaded.errors {
            tracing::warn!("a root certificate of the system was skipped: {error}");
        }
        let mut roots = RootCertStore::empty();
        // Some systems carry a few that are older than the rules.
        roots.add_parsable_certificates(loaded.certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        let hint = "install ca-certificates, or set `ca`";
        return Err(BuildError::new("the system has no root certificates", hint));
    }
    Ok(roots.clone())
}

/// `verify = false`: whoever answers is believed. Signatures are still checked, so that what holds the
/// connection is what showed the certificate.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
