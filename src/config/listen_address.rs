//! Where a listener accepts: addresses of TCP and UDP, and unix sockets.

use std::{
    fmt,
    net::SocketAddr,
    path::{Component, Path, PathBuf},
};

use serde_json::json;

use crate::schema::{Data, Node, Reader, Value, network};

/// All the places where a listener accepts; at least one, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddresses(Vec<ListenAddress>);

impl ListenAddresses {
    /// Each of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &ListenAddress> {
        self.0.iter()
    }

    /// Makes each an address of UDP; false where one is a unix socket.
    pub(super) fn make_udp(&mut self) -> bool {
        self.0.iter_mut().all(|address| match address {
            ListenAddress::Tcp(of_tcp) => {
                *address = ListenAddress::Udp(*of_tcp);
                true
            }
            ListenAddress::Udp(_) => true,
            ListenAddress::Unix(_) => false,
        })
    }
}

impl From<ListenAddress> for ListenAddresses {
    fn from(address: ListenAddress) -> Self {
        Self(vec![address])
    }
}

impl fmt::Display for ListenAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            address.fmt(f)?;
        }
        Ok(())
    }
}

impl Value for ListenAddresses {
    fn kind() -> String {
        "an address, or an array of them".into()
    }

    fn schema() -> serde_json::Value {
        let one = ListenAddress::schema();
        json!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Data::Array(items) = &node.data else {
            return ListenAddress::read(node, reader).map(Self::from);
        };
        if items.is_empty() {
            let hint = "add one, such as \"0.0.0.0:8080\"";
            reader.problem_with(node.place, "a listener needs an address", hint);
            return None;
        }
        let mut read: Vec<ListenAddress> = Vec::with_capacity(items.len());
        let mut is_whole = true;
        for item in items {
            match ListenAddress::read(item, reader) {
                Some(address) if read.contains(&address) => {
                    is_whole = false;
                    // It is reported with those of other listeners, but for a port of the system's choice.
                    if !address.has_any_port() {
                        continue;
                    }
                    let message = format!("{address} is already in the list");
                    reader.problem_with(item.place, message, "list each address only once; remove one");
                }
                Some(address) => read.push(address),
                None => is_whole = false,
            }
        }
        is_whole.then_some(Self(read))
    }
}

/// One of the places where a listener accepts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// An IP address and a port of UDP.
    Udp(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// A unix socket, in one spelling: `/run//web.sock` and `/run/./web.sock` are `/run/web.sock`, and `./web.sock` is
    /// `web.sock`. What is before a `..` may be a link, which leads elsewhere.
    pub fn unix(path: &Path) -> Self {
        let parts = path.components().filter(|part| *part != Component::CurDir);
        Self::Unix(parts.collect())
    }

    /// Whether they are one, or one takes in the other, as every address of the machine does: `[::]` has IPv4 too.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (one, other) = match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) | (Self::Udp(one), Self::Udp(other)) => (one, other),
            (Self::Unix(one), Self::Unix(other)) => return one == other,
            (Self::Tcp(_) | Self::Udp(_) | Self::Unix(_), _) => return false,
        };
        let takes_in = |one: &SocketAddr, other: &SocketAddr| {
            one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4())
        };
        one.port() == other.port() && (one == other || takes_in(one, other) || takes_in(other, one))
    }

    /// Whether the system chooses the port, a new one each time.
    pub fn has_any_port(&self) -> bool {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.port() == 0,
            Self::Unix(_) => false,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            // Another place than the same address of TCP, also for the program that comes after this one.
            Self::Udp(address) => write!(f, "udp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Value for ListenAddress {
    fn kind() -> String {
        "an address".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "examples": ["0.0.0.0:8080", "[::]:8080", "unix:/run/pointsman.sock"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "an address, such as \"0.0.0.0:8080\"")?;
        match text.strip_prefix("unix:") {
            Some("") => {
                let hint = "write the socket's path after the colon: \"unix:/run/x.sock\"";
                reader.problem_with(node.place, "`unix:` has no path", hint);
                None
            }
            Some(path) => {
                let path = reader.resolve(node, path);
                network::socket_path(&path, node, reader).map(Self::Unix)
            }
            None => network::socket_address(text, node, reader).map(Self::Tcp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_socket_has_one_spelling() {
        let unix = |path: &str| ListenAddress::unix(Path::new(path));
        for (one, other) in [("/run//web.sock", "/run/web.sock"), ("/run/./web.sock", "/run/web.sock")] {
            assert!(unix(one).overlaps(&unix(other)), "{one}");
        }
        assert!(unix("./web.sock").overlaps(&unix("web.sock")));
        // `a` may be a link.
        assert!(!unix("/run/a/../web.sock").overlaps(&unix("/run/web.sock")));
        assert!(!unix("web.sock").overlaps(&unix("/web.sock")));
    }
}
