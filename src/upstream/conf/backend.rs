//! Backends as configured.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv6Addr},
    path::Path,
};

use serde_json::json;

use crate::{
    backend::Address,
    schema::{self, Node, Problems, Reader, Table, Value, choice, section},
};

section! {
    /// A server of the upstream.
    pub struct BackendConf {
        /// The backend's name; empty = its address.
        pub name: String = "";
        /// `host:port`, `unix:/run/app.sock` or `srv:_http._tcp.app.example.com`. Names are resolved again while running. An SRV name is one backend: of the best priority that resolves at most 64 targets are taken, and at most 64 of all their addresses of each family.
        pub address: Address;
        /// Whether each address that a host name resolves to becomes a separate backend, named `NAME@ADDRESS`, with its own health, counts and limits.
        pub addresses: NameAddresses = "each";
        /// Share of requests, relative to the other weights; 0 = nothing new. If the name has several addresses, this, `max_connections` and `backup` apply to each.
        pub weight: u32 = 1, in 0 to 65535;
        /// Most requests in flight; 0 = unlimited.
        pub max_connections: u32 = 0, in 0 to 10000000;
        /// Use this backend only when no other is available.
        pub backup: bool = false;
        /// Whether the backend takes requests; the admin API can change it while running.
        pub state: BackendState = "enabled";
    }
    check Self::check;
}

impl BackendConf {
    /// The greatest weight, as its row has it.
    pub const GREATEST_WEIGHT: u32 = 65535;

    /// Reads what the admin API was given. Relative paths start from the folder of `file`.
    pub fn from_json(json: &serde_json::Value, file: &Path) -> Result<Self, Problems> {
        schema::json::read(json, "backend", file)
    }

    /// Every option that is not at its default; [`BackendConf::from_json`] reads it.
    pub fn to_json(&self) -> serde_json::Value {
        let address = self.address.to_string();
        let mut json = serde_json::Map::new();
        if self.name != address {
            json.insert("name".to_owned(), json!(self.name));
        }
        json.insert("address".to_owned(), json!(address));
        let others = [
            ("addresses", json!(self.addresses.name()), self.addresses == NameAddresses::Each),
            ("weight", json!(self.weight), self.weight == 1),
            ("max_connections", json!(self.max_connections), self.max_connections == 0),
            ("backup", json!(self.backup), !self.backup),
            ("state", json!(self.state.name()), self.state == BackendState::Enabled),
        ];
        for (key, value, _) in others.into_iter().filter(|(.., is_default)| !is_default) {
            json.insert(key.to_owned(), value);
        }
        json.into()
    }

    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if self.name.is_empty() {
            self.name = self.address.to_string();
        } else {
            crate::schema::name::check(table);
        }
        let kind = match &self.address {
            Address::Host { host, .. } if host.parse::<IpAddr>().is_err() => return,
            Address::Host { .. } | Address::OfName { .. } => "an IP address",
            Address::Unix(_) => "a unix socket",
            Address::Srv(_) => "an SRV name",
        };
        if let Some(entry) = table.entry("addresses") {
            let message = format!("`addresses` does not apply to {kind}, which is one backend");
            table.reader.problem_with(entry.place, message, "leave it out: it is for host names only");
        }
    }
}

choice! {
    /// What the addresses of a host name are.
    pub enum NameAddresses {
        /// One backend per address, 64 at most. A name with at most one IPv4 and one IPv6 address counts as one server, and so one backend; otherwise only the family with more addresses is used (IPv4 if equal).
        Each = "each",
        /// One backend for all addresses: each connection uses the first that answers (Happy Eyeballs, RFC 8305); 64 of each family at most.
        One = "one",
    }
}

choice! {
    /// Whether a backend takes part.
    pub enum BackendState {
        /// Takes requests.
        Enabled = "enabled",
        /// Takes nothing new; requests in progress finish.
        Draining = "draining",
        /// Takes no requests.
        Disabled = "disabled",
    }
}

impl Value for Address {
    fn kind() -> String {
        "an address".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "examples": ["10.0.0.1:8080", "unix:/run/app.sock"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "an address, such as \"10.0.0.1:8080\"")?;
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                let hint = "write the socket's path after the colon: \"unix:/run/app.sock\"";
                reader.problem_with(node.place, "`unix:` has no path", hint);
                return None;
            }
            let path = reader.resolve(node, path);
            return schema::network::socket_path(&path, node, reader).map(Self::Unix);
        }
        if let Some(name) = text.strip_prefix("srv:") {
            let labels: Vec<&str> = name.split('.').collect();
            let is_service = labels.iter().take(2).all(|label| label.starts_with('_') && label.len() > 1);
            if !is_service || labels.len() < 3 || !is_dns_name(name) {
                let message = format!("`{name}` is not an SRV name");
                let hint = "write it as \"srv:_http._tcp.app.example.com\"";
                reader.problem_with(node.place, message, hint);
                return None;
            }
            return Some(service(name));
        }
        host_and_port(text)
            .map_err(|hint| {
                let message = format!("`{text}` is not a valid backend address");
                reader.problem_with(node.place, message, hint);
            })
            .ok()
    }
}

/// The address of a backend as [`Address`] writes it, where it was written otherwise: `[0:0::1]:80`, `unix:/run//app.sock`.
pub fn written_alike(address: &str) -> Cow<'_, str> {
    let read = if let Some(path) = address.strip_prefix("unix:") {
        Some(unix(Path::new(path)))
    } else if let Some(name) = address.strip_prefix("srv:") {
        Some(service(name))
    } else {
        host_and_port(address).ok()
    };
    read.map_or(address.into(), |address| address.to_string().into())
}

/// A unix socket: `/run//app.sock` is `/run/app.sock`.
fn unix(path: &Path) -> Address {
    Address::Unix(path.components().collect())
}

/// An SRV name, which is the same in any case.
fn service(name: &str) -> Address {
    Address::Srv(name.to_ascii_lowercase().into())
}

/// `host:port`, or a hint. All who mean the same address have the same: written out it tells backends apart.
fn host_and_port(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Err("host and port: \"10.0.0.1:8080\"".to_owned());
    }
    for scheme in ["http://", "https://", "tcp://"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            let rest = rest.split('/').next().unwrap_or_default();
            let tls = if scheme == "https://" { ", and add `[upstream.tls]`" } else { "" };
            return Err(format!("leave the scheme out: \"{rest}\"{tls}"));
        }
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("put an IPv6 address in brackets, and add a port: \"[{text}]:8080\""));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("add a port: \"{text}:8080\""));
    };
    let port = match port.parse::<u16>() {
        Ok(port) if port > 0 => port,
        _ => return Err("a port must be a number from 1 to 65535".to_owned()),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(|address| address.to_string()),
        None => is_dns_name(host).then(|| host.to_ascii_lowercase()),
    };
    let host =
        host.ok_or("host and port: \"10.0.0.1:8080\", \"[2001:db8::1]:8080\", \"app.internal:8080\"")?;
    Ok(Address::Host { host: host.into(), port })
}

/// Whether a resolver could be asked for `name`; underscores are allowed, since many internal names have them.
pub fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Section;

    #[test]
    fn json_goes_through_the_same_rows_as_the_file() {
        let read = |json: serde_json::Value| BackendConf::from_json(&json, Path::new("conf/x.toml"));
        let given = json!({"address": "unix:app.sock", "weight": 3, "backup": true, "state": "draining"});
        let backend = read(given).unwrap();
        assert_eq!(backend.name, "unix:conf/app.sock");
        assert_eq!(BackendConf::from_json(&backend.to_json(), Path::new("")).unwrap(), backend);
        let given = json!({"address": "10.0.0.1:80", "name": "a"});
        assert_eq!(read(given.clone()).unwrap().to_json(), given, "defaults are left out");
        for (bad, message) in [
            (json!({"address": "10.0.0.1"}), "is not a valid backend address"),
            (json!({"address": "10.0.0.1:80", "weight": 70000}), "`weight` must be from 0 to 65535"),
            (json!({"address": "10.0.0.1:80", "wieght": 1}), "unknown key `wieght` in `backend`"),
            (json!({"address": "10.0.0.1:80", "state": null}), "`state` must be"),
            (json!({"name": "a"}), "`backend` needs `address`"),
            (json!([]), "`backend` must be a table"),
        ] {
            let problems = read(bad).unwrap_err();
            assert!(problems.0[0].message.contains(message), "{problems}");
        }
    }

    #[test]
    fn addresses_that_are_the_same_are_written_alike() {
        let read = |address: &str| {
            let backend = BackendConf::from_json(&json!({"address": address}), Path::new("/x.toml")).unwrap();
            (backend.address.to_string(), backend.name)
        };
        for (given, same) in [
            ("[0:0:0:0:0:0:0:1]:80", "[::1]:80"),
            ("[2001:DB8:0::0001]:80", "[2001:db8::1]:80"),
            ("App.Internal:80", "app.internal:80"),
            ("srv:_HTTP._tcp.App.internal", "srv:_http._tcp.app.internal"),
            ("unix:/run//./app.sock", "unix:/run/app.sock"),
        ] {
            assert_eq!(read(given), (same.to_owned(), same.to_owned()), "{given}");
            assert_eq!(read(same), read(given));
            assert_eq!((written_alike(given), written_alike(same)), (same.into(), same.into()), "{given}");
        }
    }

    #[test]
    fn the_greatest_weight_is_that_of_the_row() {
        let rows = <BackendConf as Section>::rows();
        let weight = rows.iter().find(|row| row.key.name == "weight").unwrap();
        let greatest = BackendConf::GREATEST_WEIGHT.to_string();
        assert_eq!(weight.key.range, Some(("0", greatest.as_str())));
    }
}
