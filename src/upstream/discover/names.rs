//! Lookups, in the hosts file and by DNS.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

#[cfg(test)]
use hickory_resolver::{
    Hosts,
    config::{ResolverConfig, ResolverOpts},
};

use super::{
    fault::{Fault, Unanswered},
    sources::{Came, Sources},
    targets::{PATIENCE, Part, Parts, of_service},
};
use crate::backend::Address;

/// What a lookup gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// At least one; in order, so that two answers can be compared.
    pub(super) addresses: Vec<SocketAddr>,
    /// How long what was answered holds.
    pub(super) ttl: Duration,
    /// How many targets there are that were not looked up.
    pub(super) left_out: usize,
    /// What is as it was, since it was not answered.
    pub(super) unanswered: Vec<Unanswered>,
}

/// Where names are looked up.
pub(super) struct Names {
    loaded: Mutex<Arc<Sources>>,
    /// Whether changes of the system's files are followed.
    is_system: bool,
    /// The longest that targets of a service are waited for.
    patience: Duration,
}

impl Names {
    /// As the system's files say; a change of them is noticed at the next lookup.
    pub(super) fn of_system() -> Self {
        Self { loaded: Mutex::new(Arc::new(Sources::of_system())), is_system: true, patience: PATIENCE }
    }

    /// As given; for tests.
    #[cfg(test)]
    pub(super) fn of(config: ResolverConfig, options: ResolverOpts, hosts: Hosts) -> Self {
        let sources = Sources::new(config, options, hosts);
        Self { loaded: Mutex::new(Arc::new(sources)), is_system: false, patience: PATIENCE }
    }

    /// Waits for targets of a service no longer than this; for tests.
    #[cfg(test)]
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The socket addresses behind an address.
    pub(super) async fn lookup(&self, address: &Address) -> Result<Found, Fault> {
        self.lookup_again(address, &mut Came::default()).await
    }

    /// The same for a name of which this came before: what fails of it while the rest answers is as it was.
    pub(super) async fn lookup_again(&self, address: &Address, came: &mut Came) -> Result<Found, Fault> {
        let sources = self.current();
        let parts = match address {
            Address::Host { host, port } => alone(&sources, host, *port, came).await?,
            Address::OfName { host, at } => alone(&sources, host, at.port(), came).await?,
            Address::Srv(name) => of_service(&sources, name, came, self.patience).await?,
            Address::Unix(path) => {
                return Err(Fault::OfName(format!("{} is not a name", path.display())));
            }
        };
        let at = |part: &Part| part.ips.iter().map(|ip| SocketAddr::new(*ip, part.port)).collect::<Vec<_>>();
        let mut addresses: Vec<_> = parts.all.iter().flat_map(at).collect();
        addresses.sort_unstable();
        addresses.dedup();
        *came = parts.all.into_iter().map(|part| (part.host, part.ips)).collect();
        Ok(Found { addresses, ttl: parts.ttl, left_out: parts.left_out, unanswered: parts.unanswered })
    }

    fn current(&self) -> Arc<Sources> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_system && !loaded.are_current() {
            *loaded = Arc::new(Sources::of_system());
        }
        loaded.clone()
    }
}

/// A host that is all that there is behind a name.
async fn alone(sources: &Sources, host: &str, port: u16, came: &Came) -> Result<Parts, Fault> {
    let (whole, ips) = sources.host(host, came).await?;
    let (ttl, unanswered) = (ips.holds, ips.unanswered(host).collect());
    let all = vec![Part { host: whole, port, ips: ips.all }];
    Ok(Parts { all, ttl, left_out: 0, unanswered })
}
