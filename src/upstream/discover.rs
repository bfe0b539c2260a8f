//! Discovery: keeps the socket addresses behind backends' names fresh.
//!
//! One task per name on the control thread. Where a name is one backend, what is found is stored in
//! [`crate::backend::Shared`], where the next connection to the backend takes it from; connections that are there stay.
//! Where each address is a backend, the reload engine is told, which makes a generation of it. Answers of the hosts file
//! come first, as with `getaddrinfo`, and then those of the name servers of `/etc/resolv.conf`.

mod fault;
mod names;
mod sources;
mod targets;

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{task::AbortHandle, time::sleep};

use self::{
    fault::{Fault, Unanswered},
    names::{Found, Names},
    sources::{Came, TTL_MOST},
};
use crate::backend::{Address, Backend, Shared};

/// The shortest time between two lookups of a name: a TTL of 0 must not make a flood of them.
const TTL_LEAST: Duration = Duration::from_secs(1);

/// Addresses of one name that are backends each, at most, and those of one family that one backend has.
const SERVERS_MOST: usize = 64;

/// Times between attempts after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What fails of a lookup, while the rest is answered, is asked for again after this time: a family that came before, and a
/// target of a service. A family that never came is asked for with the rest: there are name servers that never answer for it.
const AGAIN: Duration = Duration::from_secs(5);

/// Stores the address of a backend that is given by an IP literal, which needs no lookup. To be called
/// when a snapshot is built.
pub fn seed(backend: &Backend) {
    if let Some(address) = literal(&backend.address) {
        backend.shared.resolved.store(Arc::new(vec![address]));
    }
}

/// What a look-up of a name gave, whose addresses are backends each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// The upstream's name.
    pub upstream: String,
    /// The backend's address as it is configured.
    pub address: String,
    /// Addresses that are backends, in order; none where the name is one backend.
    pub servers: Vec<SocketAddr>,
    /// How many more there are than are taken.
    pub left_out: usize,
}

/// Who is told of servers that come and go.
pub type Tell = Arc<dyn Fn(Discovered) + Send + Sync>;

/// A backend whose name may have to be looked up.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The upstream's name.
    pub upstream: &'a str,
    /// The backend: a name, or one of the addresses that it led to.
    pub backend: &'a Arc<Backend>,
    /// Whether the addresses of a host name are backends each.
    pub is_each: bool,
}

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// For one backend, by what outlives reloads of it; the task holds it, so that its address is not another's meanwhile.
    Backend(*const Shared),
    /// A host name whose addresses are backends each: upstream and configured address.
    Name(String, String),
}

/// Looks names up, at once and then whenever an answer expires, for as long as it lives. A lookup that
/// fails leaves the addresses that were there, also where only a family of addresses fails, or a target of a service.
pub struct Discovery {
    names: Arc<Names>,
    tell: Tell,
    tasks: HashMap<Key, (Arc<Followed>, AbortHandle)>,
}

impl Discovery {
    /// Of nothing yet, by the system's name servers.
    pub fn of_system(tell: Tell) -> Self {
        Self::new(Names::of_system(), tell)
    }

    fn new(names: Names, tell: Tell) -> Self {
        Self { names: Arc::new(names), tell, tasks: HashMap::new() }
    }

    /// Goes on with the names of these and no others: those that are new are looked up, those that are gone
    /// are not any more. To be called on a runtime.
    pub fn set<'a>(&mut self, all: impl Iterator<Item = Candidate<'a>>) {
        let mut before = std::mem::take(&mut self.tasks);
        for candidate in all {
            let Some((key, address)) = followed(candidate) else { continue };
            let itself = (candidate.backend.address == address).then(|| candidate.backend.clone());
            let (followed, task) = match self.tasks.remove(&key).or_else(|| before.remove(&key)) {
                Some(entry) => entry,
                None => {
                    let followed = Arc::new(Followed {
                        name: candidate.backend.configured_name().to_owned(),
                        upstream: candidate.upstream.to_owned(),
                        address,
                        is_each: matches!(key, Key::Name(..)),
                        known: Mutex::default(),
                    });
                    let task = keep_fresh(followed.clone(), self.names.clone(), self.tell.clone());
                    (followed, tokio::spawn(task).abort_handle())
                }
            };
            followed.set_backend(itself);
            self.tasks.insert(key, (followed, task));
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

/// What is to be looked up for a backend, and the address that has to be.
fn followed(candidate: Candidate<'_>) -> Option<(Key, Address)> {
    let Candidate { upstream, backend, is_each } = candidate;
    let name = |address: Address| Some((Key::Name(upstream.to_owned(), address.to_string()), address));
    match &backend.address {
        Address::OfName { host, at } => name(Address::Host { host: host.clone(), port: at.port() }),
        address if !is_named(address) => None,
        address @ Address::Host { .. } if is_each => name(address.clone()),
        address => Some((Key::Backend(Arc::as_ptr(&backend.shared)), address.clone())),
    }
}

/// A name that is looked up again and again.
#[derive(Debug)]
struct Followed {
    /// The backend's, as it is configured.
    name: String,
    upstream: String,
    address: Address,
    is_each: bool,
    known: Mutex<Known>,
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Known {
    /// The backend that is the name itself, where the name is one backend.
    backend: Option<Arc<Backend>>,
    addresses: Arc<Vec<SocketAddr>>,
    /// How many addresses and targets more there are than are taken, where the name is one backend.
    left_out: usize,
    /// Why something was not answered while the rest was.
    unanswered: Vec<Fault>,
    has_no_socket: bool,
    is_looked_up: bool,
    /// What was told last.
    told: Option<Discovered>,
}

impl Known {
    /// Lets the backend that is the name itself know.
    fn share(&self) {
        if let Some(backend) = &self.backend {
            backend.shared.has_no_socket.store(self.has_no_socket, Relaxed);
            // One that was there before the name was followed may know more.
            if !self.addresses.is_empty() {
                backend.shared.resolved.store(self.addresses.clone());
            }
            backend.shared.is_looked_up.fetch_or(self.is_looked_up, Relaxed);
        }
    }
}

impl Followed {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The backend that is the name itself from here on.
    fn set_backend(&self, backend: Option<Arc<Backend>>) {
        let mut known = self.known();
        known.backend = backend;
        known.share();
    }

    /// Takes in what was found; whether something of it was not answered for a reason that is new.
    fn found(&self, Found { addresses, left_out, unanswered, .. }: Found, tell: &Tell) -> bool {
        let mut known = self.known();
        let is_news = self.say(unanswered, &mut known.unanswered);
        // Of those that are backends each, see below.
        let (addresses, more) = if self.is_each { (addresses, 0) } else { lowest(addresses) };
        let left_out = left_out + more;
        if left_out > known.left_out {
            let name = &self.address;
            tracing::warn!(
                backend = self.name,
                left_out,
                "{name} has more than {SERVERS_MOST} addresses or targets"
            );
        }
        known.left_out = left_out;
        known.has_no_socket = false;
        known.is_looked_up = true;
        if *known.addresses != addresses {
            tracing::info!(backend = self.name, "{} is now at {addresses:?}", self.address);
            known.addresses = Arc::new(addresses);
        }
        known.share();
        if self.is_each {
            let (servers, left_out) = servers(&known.addresses);
            let (upstream, address) = (self.upstream.clone(), self.address.to_string());
            let discovered = Some(Discovered { upstream, address, servers, left_out });
            if known.told != discovered {
                if left_out > known.told.as_ref().map_or(0, |told| told.left_out) {
                    let name = &self.address;
                    tracing::warn!(
                        backend = self.name,
                        left_out,
                        "{name} has more than {SERVERS_MOST} addresses"
                    );
                }
                known.told.clone_from(&discovered);
                discovered.into_iter().for_each(|discovered| tell(discovered));
            }
        }
        is_news
    }

    /// Says what is not answered while the rest is: once for each reason, and when it is over. Whether one is new.
    fn say(&self, unanswered: Vec<Unanswered>, said: &mut Vec<Fault>) -> bool {
        let Self { name, address, .. } = self;
        let (new, reasons) = news(unanswered, said);
        let is_news = !new.is_empty();
        for Unanswered { what, why } in new {
            tracing::warn!(
                backend = name,
                "{address} is answered for in part, and the rest is as it was: {what}: {why}"
            );
        }
        if reasons.is_empty() && !said.is_empty() {
            tracing::info!(backend = name, "{address} is answered for in full again");
        }
        *said = reasons;
        is_news
    }

    /// Takes in that nothing was; how many addresses are kept.
    fn failed(&self, has_no_socket: bool) -> usize {
        let mut known = self.known();
        known.has_no_socket = has_no_socket;
        known.is_looked_up = true;
        known.share();
        known.addresses.len()
    }
}

/// Of what was not answered the first of each reason that is new, and all reasons.
fn news(unanswered: Vec<Unanswered>, before: &[Fault]) -> (Vec<Unanswered>, Vec<Fault>) {
    let (mut new, mut reasons) = (Vec::new(), Vec::new());
    for unanswered in unanswered {
        if reasons.contains(&unanswered.why) {
            continue;
        }
        reasons.push(unanswered.why.clone());
        if !before.contains(&unanswered.why) {
            new.push(unanswered);
        }
    }
    (new, reasons)
}

/// The addresses of a name that are backends each, and how many more there are. A name with at most one address of each
/// family is one server; of a name with more, those of the other family are taken for further ways to the same servers.
fn servers(addresses: &[SocketAddr]) -> (Vec<SocketAddr>, usize) {
    let (v6, v4): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses.iter().partition(|it| it.is_ipv6());
    if v4.len() < 2 && v6.len() < 2 {
        return (Vec::new(), 0);
    }
    let mut servers = if v6.len() > v4.len() { v6 } else { v4 };
    // The lowest, so that all nodes of a cluster take the same.
    servers.sort_unstable();
    let left_out = servers.len().saturating_sub(SERVERS_MOST);
    servers.truncate(SERVERS_MOST);
    (servers, left_out)
}

/// The lowest addresses of each family, in order, and how many more there are.
fn lowest(addresses: Vec<SocketAddr>) -> (Vec<SocketAddr>, usize) {
    let all = addresses.len();
    let (mut v6, mut v4): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.into_iter().partition(SocketAddr::is_ipv6);
    for family in [&mut v4, &mut v6] {
        family.sort_unstable();
        family.truncate(SERVERS_MOST);
    }
    v4.append(&mut v6);
    let left_out = all.saturating_sub(v4.len());
    (v4, left_out)
}

async fn keep_fresh(followed: Arc<Followed>, names: Arc<Names>, tell: Tell) {
    let (mut failure, mut came) = (None, Came::default());
    let (mut backoff, mut again) = (BACKOFF.0, AGAIN);
    loop {
        let looked_up = names.lookup_again(&followed.address, &mut came).await;
        let pause = match looked_up {
            Ok(found) => {
                if failure.take().is_some() {
                    tracing::info!(backend = followed.name, "{} resolves again", followed.address);
                }
                backoff = BACKOFF.0;
                let (ttl, is_whole) = (found.ttl, found.unanswered.is_empty());
                let is_news = followed.found(found, &tell);
                pause(ttl, (is_whole, is_news), &mut again)
            }
            Err(why) => {
                let has_no_socket = why == Fault::NoSocket;
                let kept = followed.failed(has_no_socket);
                // Said once for each reason, not at each attempt.
                if failure.as_ref() != Some(&why) {
                    let Followed { name, address, .. } = &*followed;
                    tracing::warn!(backend = name, kept, "{address} does not resolve: {why}");
                    failure = Some(why);
                }
                let pause = backoff;
                // What is missing here is nothing to spare a name server for.
                backoff = if has_no_socket { BACKOFF.0 } else { (backoff * 2).min(BACKOFF.1) };
                pause
            }
        };
        sleep(pause).await;
    }
}

/// How long it is until the next lookup of what is known for this time, and what it is `again` where that then fails in
/// part: what fails for the same reasons is asked for less and less often, up to when the rest is asked for anyway.
fn pause(ttl: Duration, (is_whole, is_news): (bool, bool), again: &mut Duration) -> Duration {
    let ttl = ttl.clamp(TTL_LEAST, TTL_MOST);
    if is_whole || is_news {
        *again = AGAIN;
    }
    if is_whole {
        return ttl;
    }
    let pause = ttl.min(*again);
    *again = (*again * 2).min(TTL_MOST);
    pause
}

fn literal(address: &Address) -> Option<SocketAddr> {
    match address {
        Address::Host { host, port } => Some(SocketAddr::new(host.parse().ok()?, *port)),
        Address::OfName { at, .. } => Some(*at),
        Address::Unix(_) | Address::Srv(_) => None,
    }
}

/// Whether there is something to look up.
fn is_named(address: &Address) -> bool {
    match address {
        Address::Host { .. } => literal(address).is_none(),
        Address::Srv(_) => true,
        Address::OfName { .. } | Address::Unix(_) => false,
    }
}

/// Looks an address up once; the error is the reason, for people.
pub async fn lookup(address: &Address) -> Result<Vec<SocketAddr>, String> {
    if let Some(address) = literal(address) {
        return Ok(vec![address]);
    }
    let found = Names::of_system().lookup(address).await;
    found.map(|found| lowest(found.addresses).0).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests;
