//! Discovery: keeps the socket addresses behind backends' names fresh.
//!
//! One task per name on the control thread. What it finds is stored in [`crate::backend::Shared`], where
//! the next connection to the backend takes it from; connections that are there stay. Answers of the hosts
//! file come first, as with `getaddrinfo`, and then those of the name servers of `/etc/resolv.conf`.

mod names;

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{task::AbortHandle, time::sleep};

use self::names::{Fault, Found, Names, TTL_MOST};
use crate::backend::{Address, Backend, Shared};

/// The shortest time between two lookups of a name: a TTL of 0 must not make a flood of them.
const TTL_LEAST: Duration = Duration::from_secs(1);

/// Times between attempts after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Stores the address of a backend that is given by an IP literal, which needs no lookup. To be called
/// when a snapshot is built.
pub fn seed(backend: &Backend) {
    if let Some(address) = literal(&backend.address) {
        backend.shared.resolved.store(Arc::new(vec![address]));
    }
}

/// Looks names up, at once and then whenever an answer expires, for as long as it lives. A lookup that
/// fails leaves the addresses that were there.
pub struct Discovery {
    names: Arc<Names>,
    /// By what outlives reloads of a backend; it is held, so that its address is not another's meanwhile.
    tasks: HashMap<*const Shared, (Arc<Backend>, AbortHandle)>,
}

impl Discovery {
    /// Of nothing yet, by the system's name servers.
    pub fn of_system() -> Self {
        Self::new(Names::of_system())
    }

    fn new(names: Names) -> Self {
        Self { names: Arc::new(names), tasks: HashMap::new() }
    }

    /// Goes on with these backends and no others: those that are new are looked up, those that are gone
    /// are not any more. To be called on a runtime.
    pub fn set<'a>(&mut self, backends: impl Iterator<Item = &'a Arc<Backend>>) {
        let mut before = std::mem::take(&mut self.tasks);
        for backend in backends.filter(|it| is_named(&it.address)) {
            let key = Arc::as_ptr(&backend.shared);
            let entry = before.remove(&key).unwrap_or_else(|| {
                let task = tokio::spawn(keep_fresh(backend.clone(), self.names.clone()));
                (backend.clone(), task.abort_handle())
            });
            self.tasks.insert(key, entry);
        }
        before.values().for_each(|(_, task)| task.abort());
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery").field("names", &self.tasks.len()).finish()
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.tasks.values().for_each(|(_, task)| task.abort());
    }
}

async fn keep_fresh(backend: Arc<Backend>, names: Arc<Names>) {
    let mut failure = None;
    let mut backoff = BACKOFF.0;
    loop {
        let looked_up = names.lookup(&backend.address).await;
        let pause = match looked_up {
            Ok(found) => {
                let ttl = found.ttl.clamp(TTL_LEAST, TTL_MOST);
                if failure.take().is_some() {
                    tracing::info!(backend = &*backend.name, "{} resolves again", backend.address);
                }
                backoff = BACKOFF.0;
                backend.shared.has_no_socket.store(false, Relaxed);
                store(&backend, found);
                ttl
            }
            Err(why) => {
                let has_no_socket = why == Fault::NoSocket;
                backend.shared.has_no_socket.store(has_no_socket, Relaxed);
                // Said once for each reason, not at each attempt.
                if failure.as_ref() != Some(&why) {
                    let kept = backend.shared.resolved.load().len();
                    let name = &*backend.name;
                    tracing::warn!(backend = name, kept, "{} does not resolve: {why}", backend.address);
                    failure = Some(why);
                }
                let pause = backoff;
                // What is missing here is nothing to spare a name server for.
                backoff = if has_no_socket { BACKOFF.0 } else { (backoff * 2).min(BACKOFF.1) };
                pause
            }
        };
        backend.shared.is_looked_up.store(true, Relaxed);
        sleep(pause).await;
    }
}

fn store(backend: &Backend, Found { addresses, .. }: Found) {
    let resolved = &backend.shared.resolved;
    if **resolved.load() == addresses {
        return;
    }
    tracing::info!(backend = &*backend.name, "{} is now at {addresses:?}", backend.address);
    resolved.store(Arc::new(addresses));
}

fn literal(address: &Address) -> Option<SocketAddr> {
    match address {
        Address::Host { host, port } => Some(SocketAddr::new(host.parse().ok()?, *port)),
        Address::Unix(_) | Address::Srv(_) => None,
    }
}

/// Whether there is something to look up.
fn is_named(address: &Address) -> bool {
    match address {
        Address::Host { .. } => literal(address).is_none(),
        Address::Srv(_) => true,
        Address::Unix(_) => false,
    }
}

/// Looks an address up once; the error is the reason, for people.
pub async fn lookup(address: &Address) -> Result<Vec<SocketAddr>, String> {
    if let Some(address) = literal(address) {
        return Ok(vec![address]);
    }
    let found = Names::of_system().lookup(address).await;
    found.map(|found| found.addresses).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests;
