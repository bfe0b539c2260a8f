//! Where a backend is reached.

use std::{borrow::Cow, fmt, net::SocketAddr, path::PathBuf};

/// Where a backend is reached. Written out it is the backend's identity within its upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A socket address, or a host name that discovery resolves at run time.
    Host {
        /// IP literal (without brackets) or DNS name.
        host: Box<str>,
        /// TCP port.
        port: u16,
    },
    /// One of the addresses of a host name, as a backend of its own.
    OfName {
        /// DNS name.
        host: Box<str>,
        /// The address, with the name's port.
        at: SocketAddr,
    },
    /// A unix stream socket.
    Unix(PathBuf),
    /// A DNS service name (RFC 2782), such as `_http._tcp.app.example.com`.
    Srv(Box<str>),
}

impl Address {
    /// As the configuration has it: of an address of a name, the name with its port.
    pub fn configured(&self) -> String {
        match self {
            Self::OfName { host, at } => format!("{host}:{}", at.port()),
            Self::Host { .. } | Self::Unix(_) | Self::Srv(_) => self.to_string(),
        }
    }

    /// What a backend there is asked for, where nothing else is configured: no socket's path is a host.
    pub fn host(&self) -> Cow<'_, str> {
        match self {
            Self::Unix(_) => "localhost".into(),
            Self::Srv(name) => (&**name).into(),
            Self::Host { .. } | Self::OfName { .. } => self.configured().into(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::OfName { at, .. } => write!(f, "{at}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Srv(name) => write!(f, "srv:{name}"),
        }
    }
}
