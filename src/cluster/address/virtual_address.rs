//! An address that the primary has, and where.

use ipnet::IpNet;

/// A virtual address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VirtualAddress {
    /// The address, with the length of its network's prefix.
    pub address: IpNet,
    /// The interface that it is added to.
    pub interface: String,
}

impl std::fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.address)
    }
}
