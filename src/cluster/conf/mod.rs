//! `[cluster]`: a peer that takes over, as configured.

mod etcd;
mod peers;
mod url;
mod values;
mod vrrp;
mod whole;
mod zookeeper;

pub use self::{
    etcd::EtcdConf,
    peers::PeersConf,
    url::StoreUrl,
    values::{InterfaceAddress, InterfaceName, LONGEST_NODE},
    vrrp::{Checksum, VrrpConf},
    whole::{ClusterConf, Election, OnChangeConf, RolloutConf, VirtualIpConf},
    zookeeper::ZooKeeperConf,
};
