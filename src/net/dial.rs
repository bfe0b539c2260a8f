//! Connecting to a backend: TCP or unix socket, then TLS where it is asked for.

use std::{error::Error, io, net::SocketAddr, path::PathBuf, sync::Arc};

use rustls::{AlertDescription, ClientConfig, pki_types::ServerName};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::stream::{Plain, Stream};
use crate::error::{Kind, ProxyError, Result};

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
}

/// Connects without TLS. Fails with [`Kind::Connect`]; the caller bounds the time.
pub async fn plain(target: &Target) -> Result<Plain> {
    let connected = async {
        Ok::<_, io::Error>(match target {
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Plain::Tcp(stream)
            }
            Target::Unix(path) => Plain::Unix(UnixStream::connect(path).await?),
        })
    };
    connected.await.map_err(|error| ProxyError::because(Kind::Connect, error))
}

/// The TLS handshake over a new connection. Fails with [`Kind::UpstreamTls`].
pub async fn tls(plain: Plain, config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Stream> {
    let stream = TlsConnector::from(config)
        .connect(name, plain)
        .await
        .map_err(|error| ProxyError::because(Kind::UpstreamTls, error))?;
    Ok(Stream::TlsClient(Box::new(stream)))
}

/// Whether the first read after a handshake failed because the server refuses our certificate or misses
/// one. With TLS 1.3 a client's side of the handshake is over before the server has looked at it (RFC
/// 8446 §4.4.2.4), so the alert comes when the request has left; nothing of the request was served.
pub fn is_late_refusal(error: &(dyn Error + 'static)) -> bool {
    use AlertDescription as Alert;
    let tls = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let Some(rustls::Error::AlertReceived(alert)) = tls.and_then(|error| error.downcast_ref()) else {
        return false;
    };
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::HandshakeFailure
            | Alert::DecryptError
    )
}
