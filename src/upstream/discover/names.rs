//! Lookups, in the hosts file and by DNS.

use std::{
    collections::{BTreeMap, HashMap},
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
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{backend::Address, net::dial};

/// What the system's lookups depend on.
const SYSTEM_FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// The longest time between two lookups of a name: beyond it, a long TTL would delay a move that was not planned for.
pub(super) const TTL_MOST: Duration = Duration::from_secs(60);

/// What fails of a lookup of several is asked for again after this time.
const AGAIN: Duration = Duration::from_secs(5);

/// Targets of a service that are looked up, of one priority.
const TARGETS_MOST: usize = 64;

/// Targets that are looked up at once: each takes sockets, and a name server may not like floods.
const AT_ONCE: usize = 16;

/// The longest that targets of one priority are waited for together.
const TARGETS_PATIENCE: Duration = Duration::from_secs(15);

/// The addresses that came for the hosts behind a name.
pub(super) type Came = HashMap<String, Vec<IpAddr>>;

/// The addresses of a host, and how long they hold.
type Ips = (Vec<IpAddr>, Duration);

/// What a lookup gave, host by host.
struct Parts {
    all: Vec<Part>,
    ttl: Duration,
    left_out: usize,
}

/// A host behind a name.
struct Part {
    host: String,
    port: u16,
    ips: Vec<IpAddr>,
}

/// What a lookup gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// At least one; in order, so that two answers can be compared.
    pub(super) addresses: Vec<SocketAddr>,
    /// How long it holds.
    pub(super) ttl: Duration,
    /// How many targets there are that were not looked up.
    pub(super) left_out: usize,
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
        self.lookup_again(address, &mut Came::default()).await
    }

    /// The same for a name of which this came before: what fails of it while the rest answers is as it was.
    pub(super) async fn lookup_again(&self, address: &Address, came: &mut Came) -> Result<Found, Fault> {
        let loaded = self.current();
        let parts = match address {
            Address::Host { host, port } => loaded.alone(host, *port, came).await?,
            Address::OfName { host, at } => loaded.alone(host, at.port(), came).await?,
            Address::Srv(name) => loaded.service(name, came).await?,
            Address::Unix(path) => {
                return Err(Fault::OfName(format!("{} is not a name", path.display())));
            }
        };
        let at = |part: &Part| part.ips.iter().map(|ip| SocketAddr::new(*ip, part.port)).collect::<Vec<_>>();
        let mut addresses: Vec<_> = parts.all.iter().flat_map(at).collect();
        addresses.sort_unstable();
        addresses.dedup();
        *came = parts.all.into_iter().map(|part| (part.host, part.ips)).collect();
        Ok(Found { addresses, ttl: parts.ttl, left_out: parts.left_out })
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

    /// A host that is all that there is behind a name.
    async fn alone(&self, host: &str, port: u16, came: &Came) -> Result<Parts, Fault> {
        let (ips, ttl) = self.host(host, before(came, host)).await?;
        Ok(Parts { all: vec![Part { host: host.to_owned(), port, ips }], ttl, left_out: 0 })
    }

    async fn host(&self, host: &str, before: &[IpAddr]) -> Result<Ips, Fault> {
        let known = self.in_hosts(host);
        if !known.is_empty() {
            return Ok((known, TTL_MOST));
        }
        let (ips, ttl) = self.ask(host, before).await.map_err(|error| reason(&error))?;
        if ips.is_empty() {
            return Err("the name has no address".into());
        }
        Ok((ips, ttl))
    }

    /// What name servers say of a host. The resolver gives one family where the other failed, and does not say so: one that
    /// came before is asked for alone, and is as it was where that fails.
    async fn ask(&self, host: &str, before: &[IpAddr]) -> Result<Ips, NetError> {
        let answer = self.resolver.lookup_ip(host).await?;
        let (mut ips, mut holds) = (answer.iter().collect::<Vec<_>>(), ttl(answer.as_lookup()));
        let there = families(&ips);
        let mut all_lacking = families(before);
        all_lacking.retain(|family| !there.contains(family));
        for lacking in all_lacking {
            // By the name that was found: on the search list there may be another one with that family.
            let name = answer.query().name().clone();
            match self.resolver.lookup(name, lacking).await {
                Ok(more) => {
                    ips.extend(more.answers().iter().filter_map(|record| record.data.ip_addr()));
                    holds = holds.min(ttl(&more));
                }
                Err(error) if is_denial(&error) => {}
                Err(error) => {
                    tracing::debug!("{host} keeps its addresses of {lacking}: {error}");
                    ips.extend(before.iter().filter(|ip| family(ip) == lacking));
                    holds = holds.min(AGAIN);
                }
            }
        }
        Ok((ips, holds))
    }

    /// The addresses of targets, in order. They have one time for all: what is late has failed.
    async fn side_by_side(
        self: &Arc<Self>,
        targets: Vec<(Name, u16)>,
        came: &Came,
    ) -> Vec<(String, u16, Result<Ips, Fault>)> {
        let (turns, until) = (Arc::new(Semaphore::new(AT_ONCE)), Instant::now() + TARGETS_PATIENCE);
        let mut tasks = JoinSet::new();
        for (target, port) in targets {
            let host = target.to_ascii();
            let (loaded, turns, before) = (self.clone(), turns.clone(), before(came, &host).to_vec());
            tasks.spawn(async move {
                let in_turn = async {
                    let _turn = turns.acquire().await;
                    loaded.target(&host, &before).await
                };
                let result = match timeout_at(until, in_turn).await {
                    Ok(result) => result,
                    Err(_) if before.is_empty() => Err("no name server answers in time".into()),
                    Err(_) => Ok((before, AGAIN)),
                };
                (host, port, result)
            });
        }
        let mut results = Vec::new();
        while let Some(joined) = tasks.join_next().await {
            results.extend(joined);
        }
        results.sort_unstable_by(|(host, port, _), (other, its, _)| (host, port).cmp(&(other, its)));
        results
    }

    /// The same for a target of a service, which is there as before where asking for it fails, while others answer.
    async fn target(&self, host: &str, before: &[IpAddr]) -> Result<Ips, Fault> {
        match self.host(host, before).await {
            Err(why) if !before.is_empty() && !self.is_denied(host, before).await => {
                tracing::debug!("{host} keeps its addresses: {why}");
                Ok((before.to_vec(), AGAIN))
            }
            result => result,
        }
    }

    /// Whether name servers say that nothing of this is there: where both families give nothing, the resolver tells the
    /// reason of one of them.
    async fn is_denied(&self, host: &str, before: &[IpAddr]) -> bool {
        for family in families(before) {
            match self.resolver.lookup(host, family).await {
                Err(error) if is_denial(&error) => {}
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    /// The targets of a service (RFC 2782) that have the best priority and can be resolved.
    async fn service(self: &Arc<Self>, name: &str, came: &Came) -> Result<Parts, Fault> {
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
            let (targets, left_out) = lowest(targets);
            let mut all = Vec::new();
            for (host, port, result) in self.side_by_side(targets, came).await {
                match result {
                    Ok((ips, holds)) => {
                        all.push(Part { host, port, ips });
                        ttl = ttl.min(holds);
                    }
                    Err(Fault::OfName(why)) => failure = Fault::OfName(format!("target {host}: {why}")),
                    Err(Fault::NoSocket) => failure = Fault::NoSocket,
                }
            }
            if !all.is_empty() {
                return Ok(Parts { all, ttl, left_out });
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

/// The lowest targets, so that all nodes of a cluster take the same, and how many more there are.
pub(super) fn lowest(mut targets: Vec<(Name, u16)>) -> (Vec<(Name, u16)>, usize) {
    targets.sort_unstable();
    targets.dedup();
    let left_out = targets.len().saturating_sub(TARGETS_MOST);
    targets.truncate(TARGETS_MOST);
    (targets, left_out)
}

/// What came for a host before.
fn before<'c>(came: &'c Came, host: &str) -> &'c [IpAddr] {
    came.get(host).map_or(&[], Vec::as_slice)
}

fn family(ip: &IpAddr) -> RecordType {
    if ip.is_ipv4() { RecordType::A } else { RecordType::AAAA }
}

/// The families of these addresses.
fn families(ips: &[IpAddr]) -> Vec<RecordType> {
    let is_there = |kind: &RecordType| ips.iter().any(|ip| family(ip) == *kind);
    [RecordType::A, RecordType::AAAA].into_iter().filter(is_there).collect()
}

/// Whether it is an answer: there is no such name, or nothing of what is asked for at it.
fn is_denial(error: &NetError) -> bool {
    matches!(error, NetError::Dns(DnsError::NoRecordsFound(_)))
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
