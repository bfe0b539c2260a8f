//! Certificates, client authentication and TLS to the backends, as configured.
//!
//! Files are read here only to say what is wrong with them; `server` and `client` read them for use.

use std::path::PathBuf;

use super::{crypto::CryptoConf, files};
use crate::{
    error::BuildError,
    schema::{Table, choice, section},
};

choice! {
    /// What is said in the clear before TLS begins.
    pub enum Starttls {
        /// Nothing.
        Off = "off",
        /// The SSLRequest of PostgreSQL.
        Postgres = "postgres",
    }
}

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
    /// Whether both files are there and belong together.
    pub fn read(&self) -> Result<(), BuildError> {
        files::certified_key(&self.chain, &self.key).map(drop)
    }

    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        let chain = reported(files::certificates(&self.chain), "chain", table);
        let signer = reported(files::signer(&self.key), "key", table);
        if let (Some(chain), Some(signer)) = (chain, signer) {
            reported(files::pair(chain, signer, &self.chain), "key", table);
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
            reported(files::certificates(ca), "ca", table);
        } else if self.mode != ClientAuthMode::Off {
            let message = format!("`mode = \"{}\"` needs `ca`", self.mode.name());
            let hint = "set it to a file with the CA certificates that issue client certificates";
            table.reader.missing(table.place_of("mode"), message, hint);
        }
    }
}

section! {
    /// TLS to the other side, be it a backend, a collector or a store; used when the table is present.
    pub struct UpstreamTlsConf {
        /// Name to ask for and to verify; without it the host of the address. A unix socket or an SRV name has none that could be verified, and needs it.
        pub server_name: Option<String>;
        /// Certificates of the authorities to trust; without it the system's.
        pub ca: Option<PathBuf>;
        /// The client certificate to show.
        pub certificate: Option<CertificateConf>;
        /// Whether its certificate is verified.
        pub verify: bool = true;
    }
    flat {
        /// Versions, cipher suites and groups.
        pub crypto: CryptoConf;
    }
    check Self::check;
}

impl UpstreamTlsConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if let Some(ca) = &self.ca {
            reported(files::certificates(ca), "ca", table);
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

/// What a file gave; `None` after its problem was reported at `key`.
fn reported<T>(read: Result<T, BuildError>, key: &str, table: &mut Table<'_, '_, '_>) -> Option<T> {
    match read {
        Ok(found) => Some(found),
        Err(BuildError { message, hint }) => {
            table.reader.problem_with(table.place_of(key), message, hint);
            None
        }
    }
}
