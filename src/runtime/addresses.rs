//! The addresses that names of backends led to, and what an upstream is with them.
//!
//! Plain data: discovery finds, the reload engine notes and holds it, and [`Addresses::expand`] lays it over a
//! configuration, as overrides are laid, when a generation is built.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    backend::Address,
    moment::Moment,
    upstream::{
        conf::{BackendConf, NameAddresses, UpstreamConf},
        discover::Discovered,
    },
};

/// How long what an administrator changed of an address holds after it has left its name.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Addresses that have left their names and are remembered, of one name.
const MOST_LEFT: usize = 256;

/// What look-ups of names with several addresses gave, by upstream and configured address.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    names: BTreeMap<(String, String), Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// Those that are backends; none where the name is one backend.
    now: Vec<SocketAddr>,
    /// Those that were, and since when they are not.
    left: Vec<(SocketAddr, Moment)>,
    /// How many more the name has than are taken.
    left_out: usize,
}

impl Addresses {
    /// Takes note of what was found; whether that makes other backends.
    pub fn note(&mut self, found: Discovered, now: Moment) -> bool {
        let known = self.names.entry((found.upstream, found.address)).or_default();
        known.left_out = found.left_out;
        if known.now == found.servers {
            return false;
        }
        known.left.retain(|(at, since)| now.since(*since) < REMEMBERED && !found.servers.contains(at));
        let leaving = known.now.iter().filter(|at| !found.servers.contains(at)).map(|at| (*at, now));
        known.left.extend(leaving.collect::<Vec<_>>());
        let too_many = known.left.len().saturating_sub(MOST_LEFT);
        known.left.drain(..too_many);
        known.now = found.servers;
        true
    }

    /// Whether both make the same backends.
    pub fn is_same(&self, other: &Self) -> bool {
        let servers = |(name, known): (&'_ (String, String), &'_ Known)| (name.clone(), known.now.clone());
        let of = |this: &Self| -> Vec<_> {
            this.names.iter().filter(|(_, it)| !it.now.is_empty()).map(servers).collect()
        };
        of(self) == of(other)
    }

    /// Forgets the names that these upstreams do not have, or do not have as several backends.
    pub fn retain(&mut self, upstreams: &[UpstreamConf]) {
        self.names.retain(|(name, address), _| {
            let upstream = upstreams.iter().find(|it| it.name == *name);
            upstream.is_some_and(|it| {
                it.backend.iter().any(|it| is_name(it) && it.address.to_string() == *address)
            })
        });
    }

    /// Puts a backend for each address in the place of those whose names have several. One that is listed besides, or
    /// belongs to two names, is one backend still.
    pub fn expand(&self, upstream: &mut UpstreamConf) {
        if !self.names.iter().any(|((name, _), known)| *name == upstream.name && !known.now.is_empty()) {
            return;
        }
        let mut taken: HashSet<String> = upstream.backend.iter().map(|it| it.address.to_string()).collect();
        let mut all = Vec::with_capacity(upstream.backend.len());
        for backend in std::mem::take(&mut upstream.backend) {
            let servers = self.servers(&upstream.name, &backend);
            if servers.is_empty() {
                all.push(backend);
                continue;
            }
            let free = servers.iter().filter(|at| taken.insert(at.to_string()));
            all.extend(free.filter_map(|at| of_name(&backend, *at)).collect::<Vec<_>>());
        }
        upstream.backend = all;
    }

    fn servers(&self, upstream: &str, backend: &BackendConf) -> &[SocketAddr] {
        if !is_name(backend) {
            return &[];
        }
        let known = self.names.get(&(upstream.to_owned(), backend.address.to_string()));
        known.map_or(&[], |known| &known.now)
    }

    /// Whether an address that was a backend of a name has left it for so long that nothing is remembered of it.
    pub fn is_forgotten(&self, upstream: &str, name: &str, address: &str, now: Moment) -> bool {
        let Some(known) = self.names.get(&(upstream.to_owned(), name.to_owned())) else { return false };
        let is_it = |at: &SocketAddr| at.to_string() == address;
        let is_remembered = |(at, since): &(SocketAddr, Moment)| is_it(at) && now.since(*since) < REMEMBERED;
        !known.now.iter().any(is_it) && !known.left.iter().any(is_remembered)
    }

    /// How many addresses are not taken, since their names have too many.
    pub fn left_out(&self) -> usize {
        self.names.values().map(|known| known.left_out).sum()
    }

    /// The addresses for the next program, which [`Addresses::from_json`] reads.
    pub fn to_json(&self) -> Value {
        let name = |((upstream, address), known): (&(String, String), &Known)| {
            let servers: Vec<String> = known.now.iter().map(ToString::to_string).collect();
            json!({"upstream": upstream, "address": address, "servers": servers})
        };
        self.names.iter().filter(|(_, known)| !known.now.is_empty()).map(name).collect()
    }

    /// What another program wrote; what is not understood is looked up again.
    pub fn from_json(json: &Value) -> Self {
        let name = |it: &Value| {
            let text = |key: &str| Some(it.get(key)?.as_str()?.to_owned());
            let servers = it.get("servers")?.as_array()?.iter();
            let now = servers.map(|at| at.as_str()?.parse().ok()).collect::<Option<Vec<_>>>()?;
            Some(((text("upstream")?, text("address")?), Known { now, ..Known::default() }))
        };
        Self { names: json.as_array().into_iter().flatten().filter_map(name).collect() }
    }
}

/// Whether a backend is a host name whose addresses are backends.
fn is_name(backend: &BackendConf) -> bool {
    backend.addresses == NameAddresses::Each && matches!(backend.address, Address::Host { .. })
}

/// The backend at one address of a name.
fn of_name(backend: &BackendConf, at: SocketAddr) -> Option<BackendConf> {
    let Address::Host { host, .. } = &backend.address else { return None };
    let name = format!("{}@{}", backend.name, at.ip());
    Some(BackendConf { name, address: Address::OfName { host: host.clone(), at }, ..backend.clone() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn upstream(backends: &str) -> UpstreamConf {
        let text = format!(
            "[[upstream]]\nname = \"u\"\nbackend = [{backends}]\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n"
        );
        config::parse(&text, Path::new("x.toml")).unwrap().upstream.remove(0)
    }

    fn found(servers: &[&str]) -> Discovered {
        Discovered {
            upstream: "u".into(),
            address: "app.test:80".into(),
            servers: servers.iter().map(|it| it.parse().unwrap()).collect(),
            left_out: 0,
        }
    }

    fn names(addresses: &Addresses, mut upstream: UpstreamConf) -> Vec<String> {
        addresses.expand(&mut upstream);
        upstream.backend.iter().map(|it| format!("{} {}", it.name, it.address)).collect()
    }

    #[test]
    fn each_address_is_a_backend_in_its_names_place() {
        let mut addresses = Addresses::default();
        let now = Moment::now();
        let file = upstream(
            "{ address = \"10.0.0.9:80\" }, { name = \"app\", address = \"app.test:80\", weight = 3 }, \
             { name = \"z\", address = \"z.test:80\" }",
        );
        let before = names(&addresses, file.clone());
        assert_eq!(before, ["10.0.0.9:80 10.0.0.9:80", "app app.test:80", "z z.test:80"]);
        assert!(addresses.note(found(&["10.0.0.1:80", "10.0.0.9:80", "[2001:db8::1]:80"]), now));
        assert!(!addresses.note(found(&["10.0.0.1:80", "10.0.0.9:80", "[2001:db8::1]:80"]), now));
        let expected = [
            "10.0.0.9:80 10.0.0.9:80",
            "app@10.0.0.1 10.0.0.1:80",
            "app@2001:db8::1 [2001:db8::1]:80",
            "z z.test:80",
        ];
        assert_eq!(names(&addresses, file.clone()), expected, "the listed one is there once");
        let mut expanded = file.clone();
        addresses.expand(&mut expanded);
        assert_eq!(expanded.backend[1].weight, 3);
        assert_eq!(expanded.backend[1].address.configured(), "app.test:80");
        let copy = Addresses::from_json(&addresses.to_json());
        assert_eq!(names(&copy, file.clone()), expected);
        let one = upstream("{ name = \"app\", address = \"app.test:80\", addresses = \"one\" }");
        assert_eq!(names(&addresses, one.clone()), ["app app.test:80"]);
        let mut without = addresses.clone();
        without.retain(&[one]);
        assert_eq!(names(&without, file.clone()), before);
        addresses.retain(std::slice::from_ref(&file));
        assert_eq!(names(&addresses, file.clone()), expected);
        assert!(addresses.note(found(&[]), now));
        assert_eq!(names(&addresses, file), before, "it is one backend again");
    }

    #[test]
    fn an_address_that_left_is_remembered_for_an_hour() {
        let mut addresses = Addresses::default();
        let now = Moment::now();
        let gone = |addresses: &Addresses, at: &str, now| addresses.is_forgotten("u", "app.test:80", at, now);
        assert!(!gone(&addresses, "10.0.0.1:80", now), "nothing is known of the name yet");
        addresses.note(found(&["10.0.0.1:80", "10.0.0.2:80"]), now);
        addresses.note(found(&["10.0.0.2:80", "10.0.0.3:80"]), now);
        assert!(gone(&addresses, "10.0.0.4:80", now));
        assert!(!gone(&addresses, "10.0.0.1:80", now.plus(Duration::from_secs(3599))));
        assert!(gone(&addresses, "10.0.0.1:80", now.plus(Duration::from_secs(3600))));
        assert!(!gone(&addresses, "10.0.0.2:80", now.plus(Duration::from_secs(9999))));
        for number in 0..1000_u16 {
            let at = format!("10.1.{}.{}:80", number / 256, number % 256);
            addresses.note(found(&[&at, "10.0.0.2:80"]), now);
        }
        let known = &addresses.names[&("u".to_owned(), "app.test:80".to_owned())];
        assert_eq!(known.left.len(), MOST_LEFT);
    }
}
