//! Connecting to a backend: TCP or unix socket, then TLS where it is asked for.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};
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
