//! Addresses and networks.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde_json::json;

use super::{Node, Reader, Value};

impl Value for IpNet {
    fn kind() -> String {
        "a network".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "examples": ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "a network, such as \"10.0.0.0/8\"")?;
        let single = || text.parse::<IpAddr>().ok().map(Self::from);
        let network: Option<Self> = text.parse().ok().or_else(single);
        let Some(network) = network else {
            let message = format!("`{text}` is not a network");
            let hint = "write an address and a prefix length, \"10.0.0.0/8\", or one address";
            reader.problem_with(node.place, message, hint);
            return None;
        };
        if network.addr() != network.network() {
            let message = format!("`{text}` has bits set beyond its prefix length");
            let hint = format!("did you mean `{}`?", network.trunc());
            reader.problem_with(node.place, message, hint);
            return None;
        }
        Some(network)
    }
}

impl Value for IpAddr {
    fn kind() -> String {
        "an IP address".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "examples": ["10.0.0.2", "2001:db8::2"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "an IP address, such as \"10.0.0.2\"")?;
        let address = text.parse().ok();
        if address.is_none() {
            let message = format!("`{text}` is not an IP address");
            reader.problem_with(
                node.place,
                message,
                "an address without port or prefix: \"10.0.0.2\", \"2001:db8::2\"",
            );
        }
        address
    }
}

impl Value for SocketAddr {
    fn kind() -> String {
        "an IP address and a port".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "examples": ["10.0.0.2:7946", "[2001:db8::2]:7946"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "an IP address and a port, such as \"10.0.0.2:7946\"")?;
        let address: Option<Self> = text.parse().ok();
        if address.is_none() {
            let message = format!("`{text}` is not an IP address and a port");
            reader.problem_with(node.place, message, "such as \"10.0.0.2:7946\" or \"[2001:db8::2]:7946\"");
        }
        address.map(canonical)
    }
}

/// The socket address in `text`; a problem at `node` otherwise. A bare `:8080` means every address.
pub fn socket_address(text: &str, node: &Node, reader: &mut Reader<'_>) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(canonical(address));
    }
    let hint = match text.rsplit_once(':') {
        Some(("", port)) => {
            format!("for every address write \"0.0.0.0:{port}\" or \"[::]:{port}\"")
        }
        Some(("localhost", port)) => format!("write \"127.0.0.1:{port}\""),
        Some((_, port)) if port.parse::<u16>().is_err() && !port.contains(']') => {
            "a port must be a number from 0 to 65535".to_owned()
        }
        Some(_) => "an IP address and a port: \"0.0.0.0:8080\", \"[::]:8080\"".to_owned(),
        None if text.parse::<u16>().is_ok() => format!("write \"0.0.0.0:{text}\""),
        None => "an IP address and a port: \"0.0.0.0:8080\"; or \"unix:/run/x.sock\"".to_owned(),
    };
    let message = format!("`{text}` is not an address to listen on");
    reader.problem_with(node.place, message, hint);
    None
}

/// An address of IPv4 as one: no socket of IPv6 alone can be bound to it as `::ffff:127.0.0.1`.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        // With its scope.
        IpAddr::V6(_) => address,
    }
}

/// The path of a unix socket, in one spelling: `/run//web.sock` is `/run/web.sock`; a problem at `node` where it is longer
/// than an address of a socket can be (`sun_path` of unix(7), with a zero at its end).
pub fn socket_path(path: &Path, node: &Node, reader: &mut Reader<'_>) -> Option<PathBuf> {
    let path: PathBuf = path.components().collect();
    let length = path.as_os_str().len();
    if length > MOST_PATH {
        let message = format!("the path of this socket has {length} bytes, and may have {MOST_PATH}");
        reader.problem_with(node.place, message, "use a shorter one, such as \"unix:/run/x.sock\"");
        return None;
    }
    Some(path)
}

const MOST_PATH: usize = 107;
