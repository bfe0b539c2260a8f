//! What this process must be allowed to move addresses.

use rustix::thread::{CapabilitySet, capabilities};

use super::conf::{ClusterConf, Election};

/// What is missing, and how to give it; a message and a hint for people. The cluster would be none without it.
pub fn missing(conf: &ClusterConf) -> Option<(String, String)> {
    let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    lacks(conf, effective)
}

fn lacks(conf: &ClusterConf, effective: CapabilitySet) -> Option<(String, String)> {
    let is_vrrp = conf.election == Election::Vrrp;
    let moves = !conf.virtual_ip.is_empty();
    let needed = [
        (moves, CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN", "add addresses to interfaces"),
        (
            moves || is_vrrp,
            CapabilitySet::NET_RAW,
            "CAP_NET_RAW",
            "send advertisements and announce addresses",
        ),
    ];
    let missing: Vec<_> =
        needed.into_iter().filter(|(is, set, ..)| *is && !effective.contains(*set)).collect();
    let (_, _, first, _) = missing.first()?;
    let names: Vec<&str> = missing.iter().map(|(_, _, name, _)| *name).collect();
    let what: Vec<&str> = missing.iter().map(|(_, _, _, what)| *what).collect();
    let message = format!("`[cluster]` needs {}, to {}", names.join(" and "), what.join(" and "));
    let (names, small) = (names.join(" "), names.join(",").to_lowercase());
    let hint = format!(
        "systemd: `AmbientCapabilities={names}`; a file: `setcap {small},cap_net_bind_service+ep \
         pointsman`; a container: `--user 0 --cap-add={}`; for real-time priority add CAP_SYS_NICE",
        first.trim_start_matches("CAP_")
    );
    Some((message, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        let conf = crate::cluster::plan::tests::conf(
            "[[virtual_ip]]\naddress = \"10.9.9.9/24\"\ninterface = \"lo\"\n",
        );
        let (message, hint) = lacks(&conf, CapabilitySet::empty()).unwrap();
        assert!(message.contains("CAP_NET_ADMIN and CAP_NET_RAW"), "{message}");
        for part in [
            "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW",
            "setcap cap_net_admin,cap_net_raw",
            "--user 0 --cap-add",
        ] {
            assert!(hint.contains(part), "{hint}");
        }
        let (message, _) = lacks(&conf, CapabilitySet::NET_ADMIN).unwrap();
        assert!(!message.contains("ADMIN"), "{message}");
        assert_eq!(lacks(&conf, CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW), None);
    }
}
