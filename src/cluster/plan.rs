//! From the file to groups: addresses that move together, and the engine that decides for them. Pure.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::{
    address::virtual_address::VirtualAddress,
    conf::{ClusterConf, Election, VirtualIpConf},
    engine::Conf,
    store::{self, engine::StoreConf},
    vrrp,
};

/// A group, as it is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Its name: `eth0/51/ipv4` for a virtual router, `etcd` for a store. A group of the same name is the same one.
    pub name: Arc<str>,
    /// Its engine.
    pub engine: Conf,
    /// Its addresses.
    pub addresses: Vec<VirtualAddress>,
}

/// The groups of a configuration.
pub fn groups(conf: &ClusterConf) -> Vec<Plan> {
    match conf.election {
        Election::Vrrp => virtual_routers(conf),
        // Of what the election names, the tables are there: that is checked.
        Election::Etcd => conf
            .etcd
            .clone()
            .map(|etcd| StoreConf::Etcd(Box::new(etcd)))
            .map(|it| of_store(conf, it))
            .into_iter()
            .collect(),
        Election::ZooKeeper => conf
            .zookeeper
            .clone()
            .map(StoreConf::ZooKeeper)
            .map(|it| of_store(conf, it))
            .into_iter()
            .collect(),
    }
}

/// All addresses, which move together.
fn of_store(conf: &ClusterConf, store: StoreConf) -> Plan {
    let engine = Box::new(store::engine::Conf { node: conf.node_name(), store });
    let addresses = conf.virtual_ip.iter().map(virtual_address).collect();
    Plan { name: engine.name().into(), engine: Conf::Store(engine), addresses }
}

fn virtual_address(conf: &VirtualIpConf) -> VirtualAddress {
    VirtualAddress { address: conf.address.0, interface: conf.interface.0.clone() }
}

/// One for each interface, number and family that addresses have.
fn virtual_routers(conf: &ClusterConf) -> Vec<Plan> {
    let mut routers: BTreeMap<(String, u8, bool), Vec<&VirtualIpConf>> = BTreeMap::new();
    for address in &conf.virtual_ip {
        let interface = conf.vrrp.interface.as_ref().unwrap_or(&address.interface).0.clone();
        let router_id = address.router_id.unwrap_or(conf.vrrp.router_id);
        let is_v6 = address.address.0.addr().is_ipv6();
        routers.entry((interface, router_id, is_v6)).or_default().push(address);
    }
    if let (true, Some(interface)) = (conf.virtual_ip.is_empty(), &conf.vrrp.interface) {
        // Without addresses, for who is told of changes alone.
        let is_v6 = conf.vrrp.unicast_peers.first().is_some_and(IpAddr::is_ipv6);
        routers.insert((interface.0.clone(), conf.vrrp.router_id, is_v6), Vec::new());
    }
    routers.into_iter().map(|(key, addresses)| virtual_router(conf, key, &addresses)).collect()
}

fn virtual_router(
    conf: &ClusterConf,
    (interface, router_id, is_v6): (String, u8, bool),
    addresses: &[&VirtualIpConf],
) -> Plan {
    let family = if is_v6 { "ipv6" } else { "ipv4" };
    let name = format!("{interface}/{router_id}/{family}").into();
    let peers: Vec<IpAddr> =
        conf.vrrp.unicast_peers.iter().filter(|peer| peer.is_ipv6() == is_v6).copied().collect();
    let members = conf.peers.as_ref().map_or(0, |it| it.others().count());
    let settings = vrrp::conf::Settings {
        priority: addresses.iter().find_map(|it| it.priority).unwrap_or(conf.priority),
        interval: conf.vrrp.interval,
        preempt: conf.preempt,
        preempt_delay: conf.preempt_delay,
        is_pair: peers.len() <= 1 && members <= 1,
    };
    let own: Vec<IpAddr> = addresses.iter().map(|it| it.address.0.addr()).collect();
    let router = vrrp::conf::Conf {
        interface,
        router_id,
        is_v6,
        settings,
        checksum: conf.vrrp.checksum,
        peers,
        others: conf.virtual_ip.iter().map(|it| it.address.0.addr()).filter(|it| !own.contains(it)).collect(),
        addresses: own,
    };
    let addresses = addresses.iter().map(|conf| virtual_address(conf)).collect();
    Plan { name, engine: Conf::Vrrp(router), addresses }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        schema::{Node, Reader, Source, section::read},
        tls::demo::demo_certificates,
    };

    /// `[cluster]` of what is in that table.
    pub(crate) fn conf(text: &str) -> ClusterConf {
        let source = Source::new(text, Path::new("test.toml"));
        let mut reader = Reader::new(&source);
        let conf = read(&Node::parse(text).0, &mut reader);
        assert!(!reader.has_problems(), "{}", reader.into_problems());
        conf.unwrap()
    }

    #[test]
    fn addresses_of_one_router_and_family_are_one_group() {
        let address = |address: &str, more: &str| {
            format!("[[virtual_ip]]\naddress = \"{address}\"\ninterface = \"lo\"\n{more}\n")
        };
        let text = [
            "priority = 120\n".to_owned(),
            address("10.0.0.100/24", ""),
            address("10.0.0.101/24", ""),
            address("2001:db8::100/64", ""),
            address("10.0.0.102/24", "router_id = 52\npriority = 80"),
            "[vrrp]\nunicast_peers = [\"10.0.0.2\", \"fe80::2\"]\n".to_owned(),
        ];
        let plans = groups(&conf(&text.concat()));
        let names: Vec<&str> = plans.iter().map(|plan| &*plan.name).collect();
        assert_eq!(names, ["lo/51/ipv4", "lo/51/ipv6", "lo/52/ipv4"]);
        let of = |index: usize| {
            let Conf::Vrrp(router) = &plans[index].engine else { panic!("no router") };
            (router.settings.priority, router.addresses.len(), router.peers.clone())
        };
        assert_eq!(of(0), (120, 2, vec!["10.0.0.2".parse().unwrap()]));
        assert_eq!(of(1), (120, 1, vec!["fe80::2".parse().unwrap()]));
        assert_eq!(of(2).0, 80);
    }

    #[test]
    fn pair_knows_of_one_other_node_at_most() {
        let is_pair = |peers: &str| {
            let address = "[[virtual_ip]]\naddress = \"10.0.0.100/24\"\ninterface = \"lo\"\n";
            let plans = groups(&conf(&format!("{address}{peers}")));
            let Conf::Vrrp(router) = &plans[0].engine else { panic!("no router") };
            router.settings.is_pair
        };
        let unicast = |peers: &str| format!("[vrrp]\nunicast_peers = [{peers}]\n");
        assert!(is_pair("") && is_pair(&unicast("\"10.0.0.2\"")));
        // Those of the other family are in another router.
        assert!(is_pair(&unicast("\"10.0.0.2\", \"fe80::2\"")));
        assert!(!is_pair(&unicast("\"10.0.0.2\", \"10.0.0.3\"")));
        let folder = std::env::temp_dir().join(format!("pointsman-plan-{}", std::process::id()));
        demo_certificates(&folder).unwrap();
        let members = |members: &str| {
            let folder = folder.display();
            let own = format!("{{ chain = \"{folder}/demo.pem\", key = \"{folder}/demo.key\" }}");
            let files = format!("certificate = {own}\nca = \"{folder}/ca.pem\"\n");
            format!("[peers]\nlisten = \"10.0.0.1:1\"\nmembers = [{members}]\n{files}")
        };
        assert!(is_pair(&members("\"10.0.0.1:1\", \"10.0.0.2:1\"")));
        assert!(!is_pair(&members("\"10.0.0.1:1\", \"10.0.0.2:1\", \"10.0.0.3:1\"")));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn group_without_addresses_has_the_interface_of_vrrp() {
        let text = "[on_change]\ncommand = [\"x\"]\n[vrrp]\ninterface = \"lo\"\n";
        let plans = groups(&conf(text));
        assert_eq!((plans.len(), &*plans[0].name, plans[0].addresses.len()), (1, "lo/51/ipv4", 0));
    }
}
