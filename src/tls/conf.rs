//! Certificates, client authentication and TLS to the backends, as configured.
//!
//! Files are read here only to say what is wrong with them; the room's `build` reads them for use.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use crate::settings::{Table, choice, section};

section! {
    /// A certificate chain and its private key, in PEM.
    pub struct CertificateConf {
        /// The certificate, then its intermediates.
        pub chain: PathBuf;
        /// The private key (PKCS #8, PKCS #1 or SEC 1).
        pub key: PathBuf;
    }
    check Self::check;
}

impl CertificateConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        let chain = certificates(&self.chain, "chain", table);
        let Some(pem) = contents(&self.key, "key", table) else {
            return;
        };
        let Ok(key) = PrivateKeyDer::from_pem_slice(&pem) else {
            let message = format!("no private key in {}", self.key.display());
            let hint = "it needs a block that begins with `-----BEGIN PRIVATE KEY-----`";
            table.reader.problem_with(table.place_of("key"), message, hint);
            return;
        };
        let Ok(signer) = any_supported_type(&key) else {
            let message = format!("the private key in {} cannot be used", self.key.display());
            let hint = "keys may be ECDSA (P-256, P-384, P-521), Ed25519 or RSA of 2048 bits or more";
            table.reader.problem_with(table.place_of("key"), message, hint);
            return;
        };
        let Some(chain) = chain else {
            return;
        };
        // A key that cannot tell its public half (`Unknown`) is left to the handshake.
        if let Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) =
            CertifiedKey::new(chain, signer).keys_match()
        {
            let message =
                format!("the key does not belong to the first certificate of {}", self.chain.display());
            let hint = "the certificate that the key was made for stands first in the chain";
            table.reader.problem_with(table.place_of("key"), message, hint);
        }
    }
}

choice! {
    /// Whether clients are asked for a certificate.
    pub enum ClientAuthMode {
        /// They are not.
        Off = "off",
        /// They are, and may have none; one that is given must be valid.
        Request = "request",
        /// They must have a valid one.
        Require = "require",
    }
}

section! {
    /// Client certificates (mutual TLS).
    pub struct ClientAuthConf {
        /// Whether clients are asked for a certificate.
        pub mode: ClientAuthMode = "off";
        /// Certificates of the authorities that clients' certificates must come from.
        pub ca: Option<PathBuf>;
    }
    check Self::check;
}

impl ClientAuthConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if let Some(ca) = &self.ca {
            certificates(ca, "ca", table);
        } else if self.mode != ClientAuthMode::Off {
            let message = format!("`mode = \"{}\"` needs `ca`", self.mode.name());
            let hint = "name the file with the certificates that clients' certificates come from";
            table.reader.missing(table.place_of("mode"), message, hint);
        }
    }
}

section! {
    /// TLS to the backends; used when the table is present.
    pub struct UpstreamTlsConf {
        /// Name to ask for and to verify; without it the host of the address, else the request's host.
        pub server_name: Option<String>;
        /// Certificates of the authorities to trust; without it the system's.
        pub ca: Option<PathBuf>;
        /// The client certificate to show.
        pub certificate: Option<CertificateConf>;
        /// Whether the backend's certificate is verified.
        pub verify: bool = true;
    }
    check Self::check;
}

impl UpstreamTlsConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if let Some(ca) = &self.ca {
            certificates(ca, "ca", table);
        }
        let Some(name) = &self.server_name else {
            return;
        };
        if rustls::pki_types::ServerName::try_from(name.as_str()).is_err() {
            let message = format!("`{name}` is not a server name");
            let hint = "a DNS name without port, such as \"api.internal\", or an IP address";
            table.reader.problem_with(table.place_of("server_name"), message, hint);
        }
    }
}

/// The certificates in a file; `None` after a problem.
fn certificates(
    path: &Path,
    key: &str,
    table: &mut Table<'_, '_, '_>,
) -> Option<Vec<CertificateDer<'static>>> {
    let pem = contents(path, key, table)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let place = table.place_of(key);
    let message = match parsed {
        Ok(found) if found.is_empty() => format!("no certificate in {}", path.display()),
        Ok(found) => match found.iter().position(|one| webpki_error(one)) {
            None => return Some(found),
            Some(index) => format!("certificate {} of {} is broken", index + 1, path.display()),
        },
        Err(error) => format!("{} is not PEM: {error}", path.display()),
    };
    let hint = "it needs blocks that begin with `-----BEGIN CERTIFICATE-----`";
    table.reader.problem_with(place, message, hint);
    None
}

/// Whether the certificate cannot be understood.
fn webpki_error(certificate: &CertificateDer<'_>) -> bool {
    rustls::server::ParsedCertificate::try_from(certificate).is_err()
}

/// The bytes of a file that must be there; `None` after a problem.
fn contents(path: &Path, key: &str, table: &mut Table<'_, '_, '_>) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let message = crate::settings::unreadable(path, &error);
            let hint = "relative paths start from the folder of the configuration file";
            table.reader.problem_with(table.place_of(key), message, hint);
            None
        }
    }
}
