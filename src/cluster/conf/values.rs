//! Names and addresses of network interfaces.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde_json::json;

use crate::{
    cluster::netlink::socket::index_of,
    schema::{Node, Reader, Value},
};

/// The name of a network interface of this machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(pub String);

/// An address of an interface, with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceAddress(pub IpNet);

/// The longest name of a node: the names of its changes begin with it, and have 128 bytes at most.
pub const LONGEST_NODE: usize = 80;
/// The longest name of an interface that Linux takes.
const MOST: usize = 15;

impl Value for InterfaceName {
    fn kind() -> String {
        "a network interface".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "minLength": 1, "maxLength": MOST})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let name = reader.text(node, "the name of a network interface, such as \"eth0\"")?;
        let is_name =
            (1..=MOST).contains(&name.len()) && !name.contains(['/', ' ']) && !name.starts_with('.');
        if !is_name {
            let message = format!("`{name}` is not a valid interface name");
            reader.problem_with(node.place, message, "`ip link` lists those of this machine");
            return None;
        }
        if index_of(name).is_err() {
            let message = format!("there is no network interface `{name}`");
            reader.lacking(node.place, message, interfaces());
            return None;
        }
        Some(Self(name.to_owned()))
    }
}

/// The interfaces that there are, for a hint.
fn interfaces() -> String {
    let entries = std::fs::read_dir(interface_path("")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "lo");
    names.sort_unstable();
    match names.as_slice() {
        [] => "this machine has only `lo`".into(),
        names => format!("this machine has `{}`", names.join("`, `")),
    }
}

impl Value for InterfaceAddress {
    fn kind() -> String {
        "an address with its prefix length".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "examples": ["10.0.0.100/24", "2001:db8::100/64"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "an address with its prefix length, such as \"10.0.0.100/24\"")?;
        let Ok(network) = text.parse::<IpNet>() else {
            let message = format!("`{text}` is not an address with a prefix length");
            let hint = match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => format!("add the length of the network's prefix, such as \"{text}/24\""),
                Ok(IpAddr::V6(_)) => format!("add the length of the network's prefix, such as \"{text}/64\""),
                Err(_) => "such as \"10.0.0.100/24\" or \"2001:db8::100/64\"".into(),
            };
            reader.problem_with(node.place, message, hint);
            return None;
        };
        let address = network.addr();
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            let message = format!("{address} cannot be a virtual address");
            reader.problem_with(node.place, message, "use an address that clients can connect to");
            return None;
        }
        Some(Self(network))
    }
}

/// Where the kernel shows a network interface.
fn interface_path(name: &str) -> PathBuf {
    PathBuf::from("/sys/class/net").join(name)
}
