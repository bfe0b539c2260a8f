//! `[cluster]`: a peer that takes over, as configured.

mod values;
mod vrrp;
mod whole;

pub use self::{
    values::{InterfaceAddress, InterfaceName},
    vrrp::{Checksum, VrrpConf},
    whole::{ClusterConf, Election, OnChangeConf, VirtualIpConf},
};
