//! Where the addresses of a host come from: the hosts file first, and then name servers.

use std::{collections::HashMap, fs, net::IpAddr, time::Duration, time::SystemTime};

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

use super::fault::{Fault, is_denial};

/// What the system's lookups depend on.
const SYSTEM_FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// The longest time between two lookups of a name: beyond it, a long TTL would delay a move that was not planned for.
pub(super) const TTL_MOST: Duration = Duration::from_secs(60);

/// What fails of a lookup of several is asked for again after this time.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

/// The addresses that came for the hosts behind a name.
pub(super) type Came = HashMap<String, Vec<IpAddr>>;

/// The addresses of a host, and how long they hold.
pub(super) type Ips = (Vec<IpAddr>, Duration);

/// The hosts file and the name servers, as they were loaded.
pub(super) struct Sources {
    resolver: TokioResolver,
    hosts: Hosts,
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

    /// Whether the system's files are still those that were loaded.
    pub(super) fn are_current(&self) -> bool {
        self.changed == changed()
    }

    /// The records of a service.
    pub(super) async fn service(&self, name: &str) -> Result<Lookup, Fault> {
        self.resolver.srv_lookup(name).await.map_err(|error| Fault::from(&error))
    }

    pub(super) async fn host(&self, host: &str, before: &[IpAddr]) -> Result<Ips, Fault> {
        let known = self.in_hosts(host);
        if !known.is_empty() {
            return Ok((known, TTL_MOST));
        }
        let (ips, ttl) = self.ask(host, before).await.map_err(|error| Fault::from(&error))?;
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

    /// The same for a target of a service, which is there as before where asking for it fails, while others answer.
    pub(super) async fn target(&self, host: &str, before: &[IpAddr]) -> Result<Ips, Fault> {
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

/// What came for a host before.
pub(super) fn before<'c>(came: &'c Came, host: &str) -> &'c [IpAddr] {
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

/// When the system's files were changed last.
fn changed() -> [Option<SystemTime>; 2] {
    SYSTEM_FILES.map(|path| fs::metadata(path).and_then(|it| it.modified()).ok())
}

/// The time for which all of an answer holds.
pub(super) fn ttl(answer: &Lookup) -> Duration {
    let seconds = answer.answers().iter().map(|record| record.ttl).min();
    Duration::from_secs(seconds.unwrap_or_default().into())
}
