//! Lookups, in the hosts file and by DNS.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use hickory_resolver::{
    Hosts, Resolver, TokioResolver,
    config::{ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::{Query, ResponseCode},
        rr::{Name, RData, RecordType},
    },
    system_conf::read_system_conf,
};

use crate::{backend::Address, net::dial};

/// What the system's lookups depend on.
const SYSTEM_FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// The longest time between two lookups of a name: beyond it, a long TTL would delay a move that was not planned for.
pub(super) const TTL_MOST: Duration = Duration::from_secs(60);

/// What a lookup gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// At least one; in order, so that two answers can be compared.
    pub(super) addresses: Vec<SocketAddr>,
    /// How long it holds.
    pub(super) ttl: Duration,
}

/// Why a lookup gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The name's, or that of whom is asked for it; the reason is for people.
    OfName(String),
    /// There was nothing left here to ask with: it says nothing of the name.
    NoSocket,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OfName(why) => why,
            Self::NoSocket => "no ports, descriptors or memory left to query a name server",
        })
    }
}

impl From<&str> for Fault {
    fn from(why: &str) -> Self {
        Self::OfName(why.to_owned())
    }
}

/// Where names are looked up.
pub(super) struct Names {
    loaded: Mutex<Arc<Loaded>>,
    /// Whether changes of the system's files are followed.
    is_system: bool,
}

struct Loaded {
    resolver: TokioResolver,
    hosts: Hosts,
    changed: [Option<SystemTime>; 2],
}

impl Names {
    /// As the system's files say; a change of them is noticed at the next lookup.
    pub(super) fn of_system() -> Self {
        Self { loaded: Mutex::new(Arc::new(Loaded::from_system())), is_system: true }
    }

    /// As given; for tests.
    #[cfg(test)]
    pub(super) fn of(config: ResolverConfig, options: ResolverOpts, hosts: Hosts) -> Self {
        let loaded = Loaded::new(config, options, hosts);
        Self { loaded: Mutex::new(Arc::new(loaded)), is_system: false }
    }

    /// The socket addresses behind an address.
    pub(super) async fn lookup(&self, address: &Address) -> Result<Found, Fault> {
        let loaded = self.current();
        let mut found = match address {
            Address::Host { host, port } => loaded.host(host, *port).await?,
            Address::OfName { host, at } => loaded.host(host, at.port()).await?,
            Address::Srv(name) => loaded.service(name).await?,
            Address::Unix(path) => {
                return Err(Fault::OfName(format!("{} is not a name", path.display())));
            }
        };
        found.addresses.sort_unstable();
        found.addresses.dedup();
        Ok(found)
    }

    fn current(&self) -> Arc<Loaded> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_system && loaded.changed != changed() {
            *loaded = Arc::new(Loaded::from_system());
        }
        loaded.clone()
    }
}

impl Loaded {
    fn from_system() -> Self {
        let changed = changed();
        // Without a name server there is still the hosts file.
        let (config, options) = read_system_conf().unwrap_or_else(|error| {
            tracing::warn!("{} lists no name server: {error}", SYSTEM_FILES[1]);
            (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())
        });
        Self { changed, ..Self::new(config, options, Hosts::from_system().unwrap_or_default()) }
    }

    fn new(config: ResolverConfig, mut options: ResolverOpts, hosts: Hosts) -> Self {
        // Answers are kept in the backends, for their time; a second memory would only delay changes.
        options.cache_size = 0;
        // Asked here, before DNS: the resolver would add to its answer.
        options.use_hosts_file = ResolveHosts::Never;
        // A name with more than some thirty addresses does not fit into 512 bytes, and TCP costs the server a process.
        options.edns0 = true;
        let build = |config| {
            let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
            *builder.options_mut() = options.clone();
            builder.build()
        };
        let resolver = build(config).unwrap_or_else(|error| {
            tracing::warn!("name servers cannot be used: {error}");
            build(ResolverConfig::from_name_servers(Vec::new()))
                .expect("a resolver without name servers can be built")
        });
        Self { resolver, hosts, changed: [None; 2] }
    }

    async fn host(&self, host: &str, port: u16) -> Result<Found, Fault> {
        let with_port = |ip| SocketAddr::new(ip, port);
        let known: Vec<_> = self.in_hosts(host).into_iter().map(with_port).collect();
        if !known.is_empty() {
            return Ok(Found { addresses: known, ttl: TTL_MOST });
        }
        let answer = self.resolver.lookup_ip(host).await.map_err(|error| reason(&error))?;
        let addresses: Vec<_> = answer.iter().map(with_port).collect();
        if addresses.is_empty() {
            return Err("the name has no address".into());
        }
        Ok(Found { addresses, ttl: ttl(answer.as_lookup()) })
    }

    /// The targets of a service (RFC 2782) that have the best priority and can be resolved.
    async fn service(&self, name: &str) -> Result<Found, Fault> {
        let answer = self.resolver.srv_lookup(name).await.map_err(|error| reason(&error))?;
        let mut ttl = ttl(&answer);
        let mut by_priority: BTreeMap<u16, Vec<(Name, u16)>> = BTreeMap::new();
        for record in answer.answers() {
            // RFC 2782: a target of "." says that the service is not to be had here.
            if let RData::SRV(srv) = &record.data
                && !srv.target.is_root()
            {
                by_priority.entry(srv.priority).or_default().push((srv.target.clone(), srv.port));
            }
        }
        let mut failure = Fault::from("the service has no target");
        for targets in by_priority.into_values() {
            let mut addresses = Vec::new();
            for (target, port) in targets {
                match self.host(&target.to_ascii(), port).await {
                    Ok(found) => {
                        addresses.extend(found.addresses);
                        ttl = ttl.min(found.ttl);
                    }
                    Err(Fault::OfName(why)) => failure = Fault::OfName(format!("target {target}: {why}")),
                    Err(Fault::NoSocket) => failure = Fault::NoSocket,
                }
            }
            if !addresses.is_empty() {
                return Ok(Found { addresses, ttl });
            }
        }
        Err(failure)
    }

    /// What the hosts file says.
    fn in_hosts(&self, host: &str) -> Vec<IpAddr> {
        let Ok(name) = Name::from_utf8(host) else {
            return Vec::new();
        };
        let lookups = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)));
        lookups
            .flat_map(|it| it.answers().iter().filter_map(|it| it.data.ip_addr()).collect::<Vec<_>>())
            .collect()
    }
}

/// When the system's files were changed last.
fn changed() -> [Option<SystemTime>; 2] {
    SYSTEM_FILES.map(|path| fs::metadata(path).and_then(|it| it.modified()).ok())
}

/// The time for which all of an answer holds.
fn ttl(answer: &Lookup) -> Duration {
    let seconds = answer.answers().iter().map(|record| record.ttl).min();
    Duration::from_secs(seconds.unwrap_or_default().into())
}

/// Whether no socket can be had here at this moment. The resolver does not say so: it leaves out a name server to which it
/// gets no socket, and in the end has none to ask.
fn has_no_socket() -> bool {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).is_err_and(|error| dial::is_exhausted(&error))
}

fn reason(error: &NetError) -> Fault {
    match error {
        NetError::Io(_) | NetError::Busy | NetError::NoConnections if has_no_socket() => Fault::NoSocket,
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => {
            "there is no such name".into()
        }
        NetError::Dns(DnsError::NoRecordsFound(_)) => "the name has no address".into(),
        NetError::Timeout => "no name server answers".into(),
        NetError::NoConnections => "there is no name server to ask".into(),
        error => Fault::OfName(error.to_string()),
    }
}
