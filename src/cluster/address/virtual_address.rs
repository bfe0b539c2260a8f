//! An address that the primary has, and where.

use ipnet::IpNet;
use serde_json::{Value, json};

/// A virtual address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VirtualAddress {
    /// The address, with the length of its network's prefix.
    pub address: IpNet,
    /// The interface that it is added to.
    pub interface: String,
}

impl VirtualAddress {
    /// As another program is told of it.
    pub fn to_json(&self) -> Value {
        json!({"address": self.address.to_string(), "interface": self.interface})
    }

    /// What another program told.
    pub fn from_json(value: &Value) -> Option<Self> {
        let text = |key| value.get(key).and_then(Value::as_str);
        Some(Self { address: text("address")?.parse().ok()?, interface: text("interface")?.to_owned() })
    }
}

impl std::fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.address)
    }
}
