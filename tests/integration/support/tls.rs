//! Certificates made for a test, and a client that shows what a handshake came to.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, StreamOwned,
    SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::PATIENCE;

/// The options of a listener that serves HTTPS with the demonstration certificate.
pub const SECURE: &str =
    "protocol = \"https\"\n[[listener.certificate]]\nchain = \"demo.pem\"\nkey = \"demo.key\"\n";

/// A new folder with the demonstration certificates.
pub fn folder() -> std::path::PathBuf {
    let folder = super::proxy::folder();
    pointsman::tls::demo::demo_certificates(&folder).unwrap();
    folder
}

/// A new folder with what is in this one.
pub fn folder_like(other: &Path) -> std::path::PathBuf {
    let folder = super::proxy::folder();
    for entry in fs::read_dir(other).unwrap().flatten() {
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    folder
}

/// An authority of the test's own, whose certificate is `own-ca.pem` in the folder.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(folder.join("own-ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key) }
    }

    /// Writes `{file}.pem` and `{file}.key`, good for these names.
    pub fn issue(&self, folder: &Path, file: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        fs::write(folder.join(format!("{file}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

/// How a client speaks TLS.
pub struct Manner<'a> {
    /// The file of the authority that it trusts.
    pub ca: &'a str,
    /// The files of its own certificate, without their endings.
    pub certificate: Option<&'a str>,
    pub alpn: &'a [&'a str],
    pub versions: &'a [&'static SupportedProtocolVersion],
}

impl Default for Manner<'_> {
    fn default() -> Self {
        Self { ca: "ca.pem", certificate: None, alpn: &[], versions: rustls::ALL_VERSIONS }
    }
}

impl Manner<'_> {
    /// The configuration; its session store lives as long as it does.
    pub fn config(&self, folder: &Path) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&folder.join(self.ca))).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.certificate {
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
                let chain = vec![certificate(&folder.join(format!("{name}.pem")))];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// The first certificate of a file.
pub fn certificate(file: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).unwrap()
}

/// A server's configuration with this certificate, whose files are named without their endings.
pub fn server(folder: &Path, name: &str) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
    let chain = vec![certificate(&folder.join(format!("{name}.pem")))];
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

/// A connection over TLS that speaks HTTP/1.1.
pub struct TlsClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TlsClient {
    /// Connects, and waits for the end of the handshake.
    pub fn connect(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> io::Result<Self> {
        Self::connect_over(TcpStream::connect(address)?, name, config)
    }

    /// The same over a connection on which something was said already.
    pub fn connect_over(mut stream: TcpStream, name: &str, config: &Arc<ClientConfig>) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Self { stream: StreamOwned::new(session, stream) })
    }

    /// Sends a GET and reads the response, of a known length, as text.
    pub fn get(&mut self, host: &str, target: &str) -> io::Result<String> {
        self.stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
        let (mut seen, mut bytes) = (Vec::new(), [0; 16 * 1024]);
        loop {
            let length = match self.stream.read(&mut bytes) {
                // A read with a timeout is not taken up again by the kernel when the machine stops for a moment.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                length => length?,
            };
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            seen.extend_from_slice(&bytes[..length]);
            let text = String::from_utf8_lossy(&seen);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).unwrap().lines().next().unwrap().to_owned();
            if body.len() >= length.parse::<usize>().unwrap() {
                return Ok(text.into_owned());
            }
        }
    }

    /// Sends a request whose response is the last one, and reads to the end of the connection.
    pub fn last(mut self, request: &str) -> io::Result<String> {
        self.stream.write_all(request.as_bytes())?;
        let mut seen = Vec::new();
        self.stream.read_to_end(&mut seen)?;
        Ok(String::from_utf8_lossy(&seen).into_owned())
    }

    /// The status of a GET.
    pub fn status(&mut self, host: &str, target: &str) -> u16 {
        self.get(host, target).unwrap()[9..12].parse().unwrap()
    }

    pub fn version(&self) -> ProtocolVersion {
        self.stream.conn.protocol_version().unwrap()
    }

    pub fn alpn(&self) -> Option<&str> {
        self.stream.conn.alpn_protocol().map(|name| std::str::from_utf8(name).unwrap())
    }

    pub fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that the server showed.
    pub fn shown(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}
