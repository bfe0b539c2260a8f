//! `[cluster]` itself.

use std::time::Duration;

use super::{
    etcd::EtcdConf,
    peers::PeersConf,
    values::{InterfaceAddress, InterfaceName, LONGEST_NODE},
    vrrp::VrrpConf,
    zookeeper::ZooKeeperConf,
};
use crate::schema::{Table, choice, section};

choice! {
    /// How the primary is elected.
    pub enum Election {
        /// VRRP version 3 (RFC 9568), among the nodes of one network.
        Vrrp = "vrrp",
        /// A key in etcd.
        Etcd = "etcd",
        /// A node in ZooKeeper.
        ZooKeeper = "zookeeper",
    }
}

section! {
    /// High availability: the primary node holds the virtual addresses, and a standby takes over when it fails.
    pub struct ClusterConf {
        /// This node's name in the cluster, at most 80 bytes; empty = the machine's host name.
        pub node: String = "";
        /// How the primary is elected.
        pub election: Election = "vrrp";
        /// Let a node with a higher priority take the role from one with a lower (`vrrp`).
        pub preempt: bool = true;
        /// How long a node waits before preempting (`vrrp`).
        pub preempt_delay: Duration = "0s", in "0s" to "1h";
        /// The node with the highest priority becomes primary (`vrrp`).
        pub priority: u8 = 100, in 1 to 254;
        /// The virtual addresses, held by the primary.
        pub virtual_ip: Vec<VirtualIpConf>;
        /// VRRP settings.
        pub vrrp: VrrpConf;
        /// etcd settings, for `election = "etcd"`.
        pub etcd: Option<EtcdConf>;
        /// ZooKeeper settings, for `election = "zookeeper"`.
        pub zookeeper: Option<ZooKeeperConf>;
        /// Roll out a configuration kept in a store (`--config etcd://…`) in steps: some nodes apply it first, the others only after those have run it for a while without more failing requests. Needs `[cluster.peers]`; by default all nodes apply it at once.
        pub rollout: Option<RolloutConf>;
        /// What the nodes tell each other.
        pub peers: Option<PeersConf>;
        /// A program to run when this node's role changes.
        pub on_change: Option<OnChangeConf>;
    }
    check Self::check;
}

section! {
    /// A virtual address, held by the primary.
    pub struct VirtualIpConf {
        /// The address with its prefix length, such as `10.0.0.100/24`.
        pub address: InterfaceAddress;
        /// The network interface to add it to.
        pub interface: InterfaceName;
        /// The virtual router that the address belongs to (`vrrp`); by default `cluster.vrrp.router_id`. All addresses of a virtual router move together.
        pub router_id: Option<u8>, in 1 to 255;
        /// This node's priority for that virtual router; by default `cluster.priority`.
        pub priority: Option<u8>, in 1 to 254;
    }
}

section! {
    /// A program to run when this node's role changes: for clouds, in which addresses are moved through an API.
    pub struct OnChangeConf {
        /// The program and its arguments, in which `{role}` (`primary` or `standby`), `{node}`, `{router}` and `{addresses}` are replaced; the environment has the same values (`POINTSMAN_ROLE`, …).
        pub command: Vec<String>;
        /// Stop the program and run it again if it takes longer.
        pub timeout: Duration = "10s", in "100ms" to "10m";
        /// How often to run it again after a failure, with growing pauses.
        pub retries: u32 = 5, in 0 to 1000;
    }
    check Self::check;
}

section! {
    /// Roll out a shared configuration in steps.
    pub struct RolloutConf {
        /// How many nodes apply it first: those whose names sort first.
        pub first: u32 = 1, in 1 to 1000;
        /// How long they must run it before the others apply it.
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
        if self.node.len() > LONGEST_NODE {
            let message = format!("`node` has {} bytes; at most {LONGEST_NODE} are allowed", self.node.len());
            table.reader.problem_with(table.place_of("node"), message, "use a shorter name for this node");
        }
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
