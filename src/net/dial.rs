//! Connecting to a backend: TCP or unix socket, then TLS where it is asked for.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use rustix::io::Errno;
use rustls::{AlertDescription, ClientConfig, pki_types::ServerName};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, UnixSocket},
};
use tokio_rustls::TlsConnector;

use super::{
    descriptors, starttls,
    stream::{Plain, Stream},
};
use crate::{
    error::{Kind, ProxyError, Result},
    moment::Moment,
    telemetry::repeated::Repeated,
    tls::conf::Starttls,
};

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
}

/// Connects without TLS, and says `first` (a PROXY header, before TLS too). Fails with [`Kind::Connect`], or with
/// [`Kind::NoSocket`] when it is not for the other side; the caller bounds the time.
pub async fn plain(target: &Target, first: &[u8]) -> Result<Plain> {
    say(connect(target).await?, first).await
}

/// Says the first bytes over a new connection. Fails with [`Kind::Connect`].
pub(super) async fn say(mut plain: Plain, first: &[u8]) -> Result<Plain> {
    plain.write_all(first).await.map_err(|error| ProxyError::because(Kind::Connect, error))?;
    Ok(plain)
}

/// Connects without TLS, and says nothing. Fails as [`plain`].
pub(super) async fn connect(target: &Target) -> Result<Plain> {
    let connected = async {
        Ok::<_, io::Error>(match target {
            Target::Tcp(address) => {
                let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                for_a_connection(&socket)?;
                let stream = socket.connect(*address).await?;
                stream.set_nodelay(true)?;
                Plain::Tcp(stream)
            }
            Target::Unix(path) => {
                let socket = UnixSocket::new_stream()?;
                for_a_connection(&socket)?;
                Plain::Unix(socket.connect(path).await?)
            }
        })
    };
    connected.await.map_err(|error| {
        let kind = kind_of(&error, target, || has_source(target));
        if kind == Kind::NoSocket
            && let Some(times) = EXHAUSTED.count(Moment::now())
        {
            tracing::error!(times, "no socket for a connection to a backend: {error}");
        }
        ProxyError::because(kind, error)
    })
}

/// A socket for datagrams to an address and from it alone. Fails with [`Kind::NoSocket`] when it is not for the other side,
/// else with [`Kind::Connect`]: there is no way to it.
pub fn datagrams(address: SocketAddr) -> Result<OwnedFd> {
    let made = || {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
        for_a_connection(&socket)?;
        socket.connect(&address.into())?;
        Ok::<_, io::Error>(socket.into())
    };
    // Where ports run out, connect(2) of a datagram's socket says AGAIN.
    let kind = |error: &io::Error| kind_of(error, &Target::Tcp(address), || false);
    made().map_err(|error| ProxyError::because(kind(&error), error))
}

/// Fails where a socket has a descriptor that is kept for what is no connection to a backend.
fn for_a_connection(socket: &impl AsFd) -> io::Result<()> {
    if descriptors::is_reserved(socket) { Err(Errno::MFILE.into()) } else { Ok(()) }
}

static EXHAUSTED: Repeated = Repeated::new();

/// Whose fault it is that there is no connection: what socket(2), connect(2) and epoll_ctl(2) lack on this side is not
/// the backend's. `has_source` says whether an address of this machine leads to the target.
fn kind_of(error: &io::Error, target: &Target, has_source: impl FnOnce() -> bool) -> Kind {
    let is_tcp = matches!(target, Target::Tcp(_));
    let is_ours = match Errno::from_io_error(error) {
        // Of a unix socket it is the queue of who listens that is full.
        Some(Errno::AGAIN) => is_tcp,
        // All ports towards it are in use; or there is no address to come from, as where IPv6 is turned off: then there is
        // no way to it, now and later.
        Some(Errno::ADDRNOTAVAIL) => has_source(),
        _ => is_exhausted(error),
    };
    if is_ours { Kind::NoSocket } else { Kind::Connect }
}

/// Whether some address of this machine leads to a target. A datagram's socket shares no ports with connections, and
/// finds its address in the same way.
fn has_source(target: &Target) -> bool {
    match target {
        Target::Tcp(address) => {
            let connected = Socket::new(Domain::for_address(*address), Type::DGRAM, Some(Protocol::UDP))
                .and_then(|socket| socket.connect(&(*address).into()));
            connected.err().and_then(|error| Errno::from_io_error(&error)) != Some(Errno::ADDRNOTAVAIL)
        }
        Target::Unix(_) => true,
    }
}

/// Whether an error is that nothing is left here for another socket, wherever it leads: descriptors or memory. Ports are
/// in use towards one address, and free towards others.
pub fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC)
    )
}

/// Why no connection came about over several addresses.
#[derive(Debug, Default)]
pub struct Failures {
    last: Option<ProxyError>,
}

impl Failures {
    /// Notes why there is none to one of them; true where it is of no use to try others. That something lacked here stands
    /// for all of them only where none failed by itself: a backend that is away shall not look as if it had not been asked.
    pub fn add(&mut self, error: ProxyError) -> bool {
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        let is_over = error.kind() == Kind::NoSocket && cause.is_some_and(is_exhausted);
        if self.last.is_none() || error.kind() != Kind::NoSocket {
            self.last = Some(error);
        }
        is_over
    }

    /// Why there is none to any of them; [`Kind::Unresolved`] where there was none.
    pub fn end(self) -> ProxyError {
        self.last.unwrap_or_else(|| Kind::Unresolved.into())
    }
}

/// Asks for TLS in the clear, where that is how it begins. Fails with [`Kind::UpstreamTls`].
pub async fn ask_for_tls(plain: &mut Plain, how: Starttls) -> Result<()> {
    match how {
        Starttls::Off => Ok(()),
        Starttls::Postgres => {
            starttls::ask(plain).await.map_err(|error| ProxyError::because(Kind::UpstreamTls, error))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_here_is_no_fault_of_a_backend() {
        let tcp = Target::Tcp(SocketAddr::from(([127, 0, 0, 1], 1)));
        let unix = Target::Unix("/run/app.sock".into());
        let kind = |errno: Errno, target| kind_of(&errno.into(), target, || true);
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL] {
            assert_eq!((kind(errno, &tcp), kind(errno, &unix)), (Kind::NoSocket, Kind::NoSocket), "{errno}");
        }
        let sourceless = kind_of(&Errno::ADDRNOTAVAIL.into(), &tcp, || false);
        assert_eq!(sourceless, Kind::Connect, "no address of ours leads there");
        assert!(has_source(&tcp) && has_source(&unix));
        assert_eq!((kind(Errno::AGAIN, &tcp), kind(Errno::AGAIN, &unix)), (Kind::NoSocket, Kind::Connect));
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::NOENT, Errno::TIMEDOUT] {
            assert_eq!(kind(errno, &tcp), Kind::Connect, "{errno}");
        }
        assert_eq!(kind_of(&io::Error::other("no errno"), &tcp, || true), Kind::Connect);
    }

    #[test]
    fn what_is_missing_here_hides_no_failure_of_a_backend() {
        let (ours, port) = ((Kind::NoSocket, Errno::MFILE), (Kind::NoSocket, Errno::ADDRNOTAVAIL));
        let refused = (Kind::Connect, Errno::CONNREFUSED);
        for (errors, expected, is_over) in [
            (vec![], Kind::Unresolved, false),
            (vec![port, port], Kind::NoSocket, false),
            (vec![refused, port], Kind::Connect, false),
            (vec![port, refused], Kind::Connect, false),
            (vec![ours], Kind::NoSocket, true),
            (vec![refused, ours], Kind::Connect, true),
        ] {
            let mut failures = Failures::default();
            let mut was_over = false;
            for (kind, errno) in &errors {
                was_over = failures.add(ProxyError::because(*kind, io::Error::from(*errno)));
            }
            assert_eq!((failures.end().kind(), was_over), (expected, is_over), "{errors:?}");
        }
    }
}
