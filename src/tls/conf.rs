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
        /// PostgreSQL's SSLRequest.
        Postgres = "postgres",
    }
}

section! {
    /// A certificate chain and its private key, in PEM format.
    pub struct CertificateConf {
        /// The certificate, followed by its intermediates.
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
    /// Whether to ask clients for a certificate.
    pub enum ClientAuthMode {
        /// Do not ask.
        Off = "off",
        /// Ask; clients may send none, but one that is sent must be valid.
        Request = "request",
        /// Require a valid certificate.
        Require = "require",
    }
}

section! {
    /// Client certificates (mutual TLS).
    pub struct ClientAuthConf {
        /// Whether to ask clients for a certificate. When this or `ca` changes, requests over connections from before get 421, and those connections end. Connections that are passed on (`tcp`), and WebSockets, stay.
        pub mode: ClientAuthMode = "off";
        /// CA certificates that client certificates must chain to.
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
    /// TLS as a client; used when the table is present.
    pub struct UpstreamTlsConf {
        /// Server name to send (SNI) and to verify the certificate against; by default the host in the address. Required for Unix sockets and SRV names, which have none.
        pub server_name: Option<String>;
        /// CA certificates to trust; by default the system's.
        pub ca: Option<PathBuf>;
        /// Client certificate to present.
        pub certificate: Option<CertificateConf>;
        /// Verify the server's certificate.
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

/// What a file gave; `None` after its problem was reported at `key`: one that is replaced may be wrong for a moment.
fn reported<T>(read: Result<T, BuildError>, key: &str, table: &mut Table<'_, '_, '_>) -> Option<T> {
    match read {
        Ok(found) => Some(found),
        Err(BuildError { message, hint }) => {
            table.reader.lacking(table.place_of(key), message, hint);
            None
        }
    }
}
