//! What the guard is told to undo.

use std::{net::IpAddr, time::Duration};

use serde_json::{Value, json};

use crate::cluster::{address::virtual_address::VirtualAddress, order::LastWord};

/// What is to be undone, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Will {
    /// How long the program may give no sign of life.
    pub limit: Duration,
    /// Addresses to remove.
    pub addresses: Vec<VirtualAddress>,
    /// Packets to send.
    pub last_words: Vec<LastWord>,
}

impl Will {
    /// Whether there is nothing to undo.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.last_words.is_empty()
    }

    /// As it is sent.
    pub fn to_json(&self) -> Value {
        let address = |it: &VirtualAddress| json!([it.address.to_string(), it.interface]);
        let word = |it: &LastWord| json!([it.interface, it.destination.to_string(), it.packet]);
        json!({
            "limit_us": u64::try_from(self.limit.as_micros()).unwrap_or(u64::MAX),
            "addresses": self.addresses.iter().map(address).collect::<Vec<_>>(),
            "last_words": self.last_words.iter().map(word).collect::<Vec<_>>(),
        })
    }

    /// What [`Will::to_json`] gave; `None` for anything else.
    pub fn from_json(json: &Value) -> Option<Self> {
        let address = |it: &Value| {
            let (address, interface) = (it.get(0)?.as_str()?.parse().ok()?, it.get(1)?.as_str()?.to_owned());
            Some(VirtualAddress { address, interface })
        };
        let word = |it: &Value| {
            let byte = |byte: &Value| u8::try_from(byte.as_u64()?).ok();
            Some(LastWord {
                interface: it.get(0)?.as_str()?.to_owned(),
                destination: it.get(1)?.as_str()?.parse::<IpAddr>().ok()?,
                packet: it.get(2)?.as_array()?.iter().map(byte).collect::<Option<_>>()?,
            })
        };
        Some(Self {
            limit: Duration::from_micros(json.get("limit_us")?.as_u64()?),
            addresses: json.get("addresses")?.as_array()?.iter().map(address).collect::<Option<_>>()?,
            last_words: json.get("last_words")?.as_array()?.iter().map(word).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn will_is_read_as_it_was_written() {
        let address = VirtualAddress { address: "10.0.0.1/24".parse().unwrap(), interface: "eth0".into() };
        let word = LastWord {
            interface: "eth0".into(),
            destination: "ff02::12".parse().unwrap(),
            packet: vec![0, 255, 7],
        };
        let will =
            Will { limit: Duration::from_millis(50), addresses: vec![address], last_words: vec![word] };
        assert_eq!(Will::from_json(&will.to_json()), Some(will));
        assert_eq!(Will::from_json(&json!({"limit_us": 1})), None);
    }
}
