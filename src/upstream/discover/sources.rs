//! Where the addresses of a host come from: the hosts file first, and then name servers.

use std::{
    collections::HashMap,
    fs,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use hickory_resolver::{
    Hosts, Resolver, TokioResolver,
    config::{ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::Query,
        rr::{Name, RecordType},
    },
    system_conf::read_system_conf,
};
use tokio::time::timeout;

use super::fault::{Fault, Unanswered, is_denial};

/// What the system's lookups depend on.
const SYSTEM_FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// The longest time between two lookups of a name: beyond it, a long TTL would delay a move that was not planned for.
pub(super) const TTL_MOST: Duration = Duration::from_secs(60);

/// The addresses that came for the hosts behind a name, by the whole names that had them.
pub(super) type Came = HashMap<String, Vec<IpAddr>>;

/// The addresses of a host; at least one.
pub(super) struct Ips {
    pub(super) all: Vec<IpAddr>,
    /// How long those hold that were answered.
    pub(super) holds: Duration,
    /// The families that are as they came before, and why.
    kept: Vec<(RecordType, Fault)>,
}

impl Ips {
    /// What of these of a host was not answered.
    pub(super) fn unanswered(&self, host: &str) -> impl Iterator<Item = Unanswered> {
        self.kept
            .iter()
            .map(move |(family, why)| Unanswered { what: format!("{family} of {host}"), why: why.clone() })
    }
}

/// Why a host has no address.
pub(super) struct Nothing {
    pub(super) why: Fault,
    /// Whether name servers say so, and did not fail to answer.
    pub(super) is_denied: bool,
}

/// The hosts file and the name servers, as they were loaded.
pub(super) struct Sources {
    resolver: TokioResolver,
    hosts: Hosts,
    /// The domains in which short names are looked for.
    search: Vec<Name>,
    changed: [Option<SystemTime>; 2],
}

impl Sources {
    /// As the system's files say now.
    pub(super) fn of_system() -> Self {
        let changed = changed();
        // Without a name server there is still the hosts file.
        let (config, options) = read_system_conf().unwrap_or_else(|error| {
            tracing::warn!("{} lists no name server: {error}", SYSTEM_FILES[1]);
            (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())
        });
        Self { changed, ..Self::new(config, options, Hosts::from_system().unwrap_or_default()) }
    }

    pub(super) fn new(config: ResolverConfig, mut options: ResolverOpts, hosts: Hosts) -> Self {
        // Answers are kept in the backends, for their time; a second memory would only delay changes.
        options.cache_size = 0;
        // Asked here, before DNS: the resolver would add to its answer.
        options.use_hosts_file = ResolveHosts::Never;
        // A name with more than some thirty addresses does not fit into 512 bytes, and TCP costs the server a process.
        options.edns0 = true;
        let search = config.domain.iter().chain(&config.search).cloned().collect();
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
        Self { resolver, hosts, search, changed: [None; 2] }
    }

    /// Whether the system's files are still those that were loaded.
    pub(super) fn are_current(&self) -> bool {
        self.changed == changed()
    }

    /// The records of a service.
    pub(super) async fn service(&self, name: &str) -> Result<Lookup, Fault> {
        self.resolver.srv_lookup(name).await.map_err(|error| Fault::from(&error))
    }

    /// A host as it is configured, which may be short for a name on the search list, and the name that has the addresses.
    /// A family that fails while something comes is as it came for the same name before.
    pub(super) async fn host(&self, host: &str, came: &Came) -> Result<(String, Ips), Fault> {
        let name = Name::from_utf8(host).map_err(|error| Fault::from(&NetError::from(error)))?;
        if let Some(known) = self.in_hosts(&name) {
            return Ok((host.to_owned(), known));
        }
        let mut failure = Fault::from("the name has no address");
        for meant in self.meant(name) {
            // Name servers have their own time, as with `getaddrinfo`.
            let heard = self.ask(&meant, Duration::MAX).await;
            let whole = meant.to_ascii();
            // Where nothing comes, the next name on the list may be the one.
            let before: &[IpAddr] = if heard.ips.is_empty() { &[] } else { before(came, &whole) };
            match heard.with(before) {
                Ok(ips) => return Ok((whole, ips)),
                Err(nothing) => failure = nothing.why,
            }
        }
        Err(failure)
    }

    /// A target of a service, whose name is whole (RFC 2782) and waited for so long; what of it fails is as before.
    pub(super) async fn target(
        &self,
        name: &Name,
        before: &[IpAddr],
        patience: Duration,
    ) -> Result<Ips, Nothing> {
        match self.in_hosts(name) {
            Some(known) => Ok(known),
            None => self.ask(name, patience).await.with(before),
        }
    }

    /// Asks name servers for both families side by side. The resolver would do so, but gives nothing before both are
    /// there, and does not say where one of them failed.
    async fn ask(&self, name: &Name, patience: Duration) -> Heard {
        let (v4, v6) = tokio::join!(
            self.ask_for(RecordType::A, name, patience),
            self.ask_for(RecordType::AAAA, name, patience),
        );
        Heard::of([(RecordType::A, v4), (RecordType::AAAA, v6)])
    }

    async fn ask_for(&self, family: RecordType, name: &Name, patience: Duration) -> Result<Lookup, NetError> {
        let lookup = self.resolver.lookup(name.clone(), family);
        timeout(patience, lookup).await.unwrap_or(Err(NetError::Timeout))
    }

    /// The names that one may be short for, in the order in which they are asked for, which is the resolver's own. Both
    /// families are of one of them: those of another may be somebody else's.
    fn meant(&self, name: Name) -> Vec<Name> {
        if name.is_fqdn() {
            return vec![name];
        }
        let mut itself = name.clone();
        itself.set_fqdn(true);
        let is_first = usize::from(name.num_labels()) > self.resolver.options().ndots || name.is_localhost();
        let searched = self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        let first = is_first.then(|| itself.clone());
        let mut all: Vec<Name> = Vec::new();
        for meant in first.into_iter().chain(searched).chain([itself]) {
            if !all.contains(&meant) {
                all.push(meant);
            }
        }
        all
    }

    /// What the hosts file says.
    fn in_hosts(&self, name: &Name) -> Option<Ips> {
        let lookups = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)));
        let all: Vec<IpAddr> = lookups
            .flat_map(|it| it.answers().iter().filter_map(|it| it.data.ip_addr()).collect::<Vec<_>>())
            .collect();
        (!all.is_empty()).then_some(Ips { all, holds: TTL_MOST, kept: Vec::new() })
    }
}

/// What name servers say of a host.
struct Heard {
    ips: Vec<IpAddr>,
    /// How long they hold.
    holds: Duration,
    /// The families that were not answered for, and why.
    failed: Vec<(RecordType, Fault)>,
    /// What it is if nothing failed and nothing came.
    denial: Fault,
}

impl Heard {
    /// What came of each family.
    fn of(answers: [(RecordType, Result<Lookup, NetError>); 2]) -> Self {
        let (mut ips, mut holds, mut failed) = (Vec::new(), TTL_MOST, Vec::new());
        let mut denial = Fault::from("the name has no address");
        for (family, answer) in answers {
            match answer {
                Ok(answer) => {
                    ips.extend(answer.answers().iter().filter_map(|record| record.data.ip_addr()));
                    holds = holds.min(ttl(&answer));
                }
                // An answer that there is none is one.
                Err(error) if is_denial(&error) => denial = Fault::from(&error),
                Err(error) => failed.push((family, Fault::from(&error))),
            }
        }
        Self { ips, holds, failed, denial }
    }

    /// Together with what came before of families that failed.
    fn with(self, before: &[IpAddr]) -> Result<Ips, Nothing> {
        let Self { ips: mut all, holds, failed, denial } = self;
        let mut kept = Vec::new();
        for (failed, why) in &failed {
            let there: Vec<IpAddr> = before.iter().filter(|ip| family(ip) == *failed).copied().collect();
            if !there.is_empty() {
                all.extend(there);
                kept.push((*failed, why.clone()));
            }
        }
        if all.is_empty() {
            let is_denied = failed.is_empty();
            let why = failed.into_iter().next().map_or(denial, |(_, why)| why);
            return Err(Nothing { why, is_denied });
        }
        Ok(Ips { all, holds, kept })
    }
}

/// What came for a host before.
pub(super) fn before<'c>(came: &'c Came, host: &str) -> &'c [IpAddr] {
    came.get(host).map_or(&[], Vec::as_slice)
}

fn family(ip: &IpAddr) -> RecordType {
    if ip.is_ipv4() { RecordType::A } else { RecordType::AAAA }
}

/// When the system's files were changed last.
fn changed() -> [Option<SystemTime>; 2] {
    SYSTEM_FILES.map(|path| fs::metadata(path).and_then(|it| it.modified()).ok())
}

/// The time for which all of an answer holds.
pub(super) fn ttl(answer: &Lookup) -> Duration {
    let seconds = answer.answers().iter().map(|record| record.ttl).min();
    Duration::from_secs(seconds.unwrap_or_default().into())
}
