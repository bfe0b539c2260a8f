//! `[cluster]` itself.

use std::time::Duration;

use super::{
    etcd::EtcdConf,
    peers::PeersConf,
    values::{InterfaceAddress, InterfaceName},
    vrrp::VrrpConf,
    zookeeper::ZooKeeperConf,
};
use crate::schema::{Table, choice, section};

choice! {
    /// What decides which node is primary.
    pub enum Election {
        /// VRRP version 3 (RFC 9568), between the nodes of one network.
        Vrrp = "vrrp",
        /// A key in etcd.
        Etcd = "etcd",
        /// A node in ZooKeeper.
        ZooKeeper = "zookeeper",
    }
}

section! {
    /// Nodes that take each other's place: the primary has the virtual addresses, the standbys wait.
    pub struct ClusterConf {
        /// What this node is called by its peers; empty = the name of the machine.
        pub node: String = "";
        /// What decides which node is primary.
        pub election: Election = "vrrp";
        /// Whether a node with a greater priority takes the role from one with a lower (`vrrp`).
        pub preempt: bool = true;
        /// How long such a node waits first (`vrrp`).
        pub preempt_delay: Duration = "0s", in "0s" to "1h";
        /// The node with the greatest becomes primary (`vrrp`).
        pub priority: u8 = 100, in 1 to 254;
        /// The addresses that the primary has.
        pub virtual_ip: Vec<VirtualIpConf>;
        /// VRRP.
        pub vrrp: VrrpConf;
        /// etcd; with `election = "etcd"`.
        pub etcd: Option<EtcdConf>;
        /// ZooKeeper; with `election = "zookeeper"`.
        pub zookeeper: Option<ZooKeeperConf>;
        /// How a configuration that a store has for all nodes (`--config etcd://…`) is taken over: by some first, and by the others
        /// when those had it for a while and no more of their requests fail. Needs `[cluster.peers]`; without it all take it at once.
        pub rollout: Option<RolloutConf>;
        /// What peers share.
        pub peers: Option<PeersConf>;
        /// What is run when the role of this node changes.
        pub on_change: Option<OnChangeConf>;
    }
    check Self::check;
}

section! {
    /// An address that the primary has.
    pub struct VirtualIpConf {
        /// The address with the length of its network's prefix, such as `10.0.0.100/24`.
        pub address: InterfaceAddress;
        /// The network interface that it is added to.
        pub interface: InterfaceName;
        /// The virtual router that it belongs to (`vrrp`), where it is another than `cluster.vrrp.router_id`; all addresses of
        /// one move together.
        pub router_id: Option<u8>, in 1 to 255;
        /// The priority of that virtual router on this node, where it is another than `cluster.priority`.
        pub priority: Option<u8>, in 1 to 254;
    }
}

section! {
    /// A program that is run when the role of this node changes: for a cloud, where an address is moved by an API.
    pub struct OnChangeConf {
        /// The program and its arguments; `{role}` (`primary` or `standby`), `{node}`, `{router}` and `{addresses}` stand for
        /// their values, which are in the environment too (`POINTSMAN_ROLE`, …).
        pub command: Vec<String>;
        /// Time after which it is ended, and run again.
        pub timeout: Duration = "10s", in "100ms" to "10m";
        /// How often it is run again after it failed, with a growing time in between.
        pub retries: u32 = 5, in 0 to 1000;
    }
    check Self::check;
}

section! {
    /// Steps in which the nodes of a fleet take a configuration over.
    pub struct RolloutConf {
        /// How many nodes take it over first: those whose names come first.
        pub first: u32 = 1, in 1 to 1000;
        /// How long they must have had it before the others do.
        pub wait: Duration = "30s", in "0s" to "1d";
    }
}

impl OnChangeConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if self.command.first().is_none_or(String::is_empty) && table.places_in("command").is_empty() {
            let message = "`command` is empty";
            let hint = "use a program and its arguments, such as [\"/usr/local/bin/moved\", \"{role}\"]";
            table.reader.problem_with(table.place_of("command"), message, hint);
        }
    }
}

impl ClusterConf {
    /// What this node is called: its own name, or the machine's.
    pub fn node_name(&self) -> String {
        match self.node.as_str() {
            "" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            name => name.to_owned(),
        }
    }

    /// Reports the table that the election needs and has not, and those that mean nothing to it.
    fn check_election(&self, table: &mut Table<'_, '_, '_>) {
        let election = self.election.name();
        if self.election != Election::Vrrp && table.entry(election).is_none() {
            let message = format!("`election = \"{election}\"` needs `[cluster.{election}]`");
            let hint = match self.election {
                Election::ZooKeeper => "add it with `connect`, such as \"10.0.0.9:2181\"",
                Election::Etcd | Election::Vrrp => {
                    "add it with `endpoints`, such as [\"http://10.0.0.9:2379\"]"
                }
            };
            table.reader.missing(table.place_of("election"), message, hint);
        }
        let of_vrrp = ["preempt", "preempt_delay", "priority", "vrrp"].map(|key| (key, Election::Vrrp));
        let of_stores = [("etcd", Election::Etcd), ("zookeeper", Election::ZooKeeper)];
        for (key, needed) in of_vrrp.into_iter().chain(of_stores) {
            if needed != self.election
                && let Some(entry) = table.entry(key)
            {
                let message = format!("`{key}` has no effect with `election = \"{election}\"`");
                let hint = format!("leave it out, or set `election = \"{}\"`", needed.name());
                table.reader.problem_with(entry.place, message, hint);
            }
        }
    }

    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        self.check_election(table);
        if self.rollout.is_some() && table.entry("peers").is_none() {
            let message = "`rollout` needs `[cluster.peers]`, so that nodes know how the others are doing";
            let hint = "add it, or leave `rollout` out";
            table.reader.problem_with(table.place_of("rollout"), message, hint);
        }
        if self.virtual_ip.is_empty() && self.on_change.is_none() && self.peers.is_none() {
            let written = ["virtual_ip", "on_change", "peers"].iter().any(|key| table.entry(key).is_some());
            if !written {
                let message =
                    format!("{} has no effect: it has neither `virtual_ip` nor `on_change`", table.title());
                let hint = "add `[[cluster.virtual_ip]]` with `address` and `interface`";
                table.reader.missing(table.place, message, hint);
            }
        }
    }
}
