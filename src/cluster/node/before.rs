//! What the program before this one told of its node ([`Handle::to_hand_over`](super::handle::Handle::to_hand_over)); of a
//! version that told less, less.

use serde_json::Value;

use crate::cluster::address::virtual_address::VirtualAddress;

/// What that node was.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub(super) groups: Vec<GroupBefore>,
    pub(super) is_stepped_down: bool,
}

/// What a group was.
#[derive(Debug)]
pub(super) struct GroupBefore {
    pub(super) name: String,
    pub(super) is_primary: bool,
    /// The number of the last election that it won.
    pub(super) fence: u64,
    /// Its addresses; `None` where nothing was told of them.
    pub(super) addresses: Option<Vec<VirtualAddress>>,
    /// What its engine ended with.
    pub(super) state: Value,
    /// Its last role was not told to `on_change`.
    pub(super) is_untold: bool,
}

impl Before {
    /// What was told.
    pub(super) fn read(told: &Value) -> Self {
        let groups = at(told, "groups").as_array().into_iter().flatten();
        Self {
            groups: groups.filter_map(GroupBefore::read).collect(),
            is_stepped_down: at(told, "is_stepped_down") == true,
        }
    }

    /// The addresses that it left on this machine.
    pub(super) fn addresses(&self) -> Vec<VirtualAddress> {
        let primaries = self.groups.iter().filter(|group| group.is_primary);
        primaries.flat_map(|group| group.addresses.iter().flatten()).cloned().collect()
    }
}

impl GroupBefore {
    fn read(told: &Value) -> Option<Self> {
        let addresses = at(told, "addresses").as_array();
        Some(Self {
            name: at(told, "name").as_str()?.to_owned(),
            is_primary: at(told, "is_primary") == true,
            fence: at(told, "fence").as_u64().unwrap_or(0),
            addresses: addresses.map(|all| all.iter().filter_map(VirtualAddress::from_json).collect()),
            state: at(told, "state").clone(),
            is_untold: at(told, "is_untold") == true,
        })
    }
}

/// What is at a key; nothing (`null`) where there is none.
fn at<'v>(value: &'v Value, key: &str) -> &'v Value {
    value.get(key).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_primary_left_behind_is_known_by_its_addresses() {
        let address =
            |text: &str| VirtualAddress { address: text.parse().unwrap(), interface: "eth0".into() };
        let (one, other) = (address("10.0.0.100/24"), address("2001:db8::100/64"));
        let told = json!({
            "groups": [
                {"name": "a", "is_primary": true, "fence": 3, "addresses": [one.to_json(), other.to_json()]},
                {"name": "b", "is_primary": false, "addresses": [address("10.0.0.101/24").to_json()]},
                {"name": "of an older version", "is_primary": true},
            ],
        });
        let before = Before::read(&told);
        assert_eq!(before.addresses(), [one, other]);
        assert_eq!((before.groups.len(), before.groups[0].fence), (3, 3));
        assert!(before.groups[2].addresses.is_none());
        assert!(Before::read(&Value::Null).addresses().is_empty());
    }
}
