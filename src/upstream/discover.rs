//! Discovery: keeps the socket addresses behind backends' names fresh.
//!
//! One task per name on the control thread. What it finds is stored in [`crate::backend::Shared`], where
//! the next connection to the backend takes it from; connections that are there stay. Answers of the hosts
//! file come first, as with `getaddrinfo`, and then those of the name servers of `/etc/resolv.conf`.

mod names;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

use self::names::{Found, Names};
use crate::backend::{Address, Backend};

/// The shortest time between two lookups of a name: a TTL of 0 must not make a flood of them.
const TTL_LEAST: Duration = Duration::from_secs(1);

/// The longest: beyond, a long TTL would delay a move that was not planned for.
const TTL_MOST: Duration = Duration::from_secs(60);

/// Times between attempts after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Stores the address of a backend that is given by an IP literal, which needs no lookup. To be called
/// when a snapshot is built.
pub fn seed(backend: &Backend) {
    if let Some(address) = literal(&backend.address) {
        backend.shared.resolved.store(Arc::new(vec![address]));
    }
}

/// Looks the names of `backends` up, at once and then whenever an answer expires, until it is dropped.
/// With another generation it is dropped and called anew. A lookup that fails leaves the addresses that
/// were there.
pub async fn run(backends: Vec<Arc<Backend>>) {
    keep_all_fresh(backends, Arc::new(Names::of_system())).await;
}

async fn keep_all_fresh(backends: Vec<Arc<Backend>>, names: Arc<Names>) {
    let mut tasks = JoinSet::new();
    for backend in backends.into_iter().filter(|it| is_named(&it.address)) {
        tasks.spawn(keep_fresh(backend, names.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!("discovery of a name ended: {error}");
        }
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
                store(&backend, found);
                ttl
            }
            Err(why) => {
                // Said once for each reason, not at each attempt.
                if failure.as_ref() != Some(&why) {
                    let kept = backend.shared.resolved.load().len();
                    let name = &*backend.name;
                    tracing::warn!(backend = name, kept, "{} does not resolve: {why}", backend.address);
                    failure = Some(why);
                }
                let pause = backoff;
                backoff = (backoff * 2).min(BACKOFF.1);
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
    Names::of_system().lookup(address).await.map(|found| found.addresses)
}

#[cfg(test)]
mod tests;
