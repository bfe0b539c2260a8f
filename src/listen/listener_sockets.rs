//! The listening sockets of the program, as they follow the configuration from generation to generation.
//!
//! Two steps: [`Sockets::acquire`] binds what is new and can fail, with nothing changed then;
//! [`Sockets::commit`] makes it so. A descriptor of each socket stays here, so that it can be handed to the
//! next program; it is let go before the workers are asked to close theirs.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    net::SocketAddr,
    time::Duration,
};

use super::{
    bind::{self, Bound, Manner},
    defer,
    mailbox::{Carries, Change},
};
use crate::{
    config::listen::{ListenAddress, ListenerConf},
    runtime::{Listener, ListenerId, Snapshot},
};

/// All sockets that are held.
#[derive(Debug, Default)]
pub struct Sockets {
    held: Vec<Held>,
    /// Sockets of a program before this one that no listener has taken yet.
    handed: Vec<Handed>,
}

/// The sockets of one listener, of one kind.
#[derive(Debug)]
struct Held {
    slot: ListenerId,
    name: String,
    address: ListenAddress,
    bound: Bound,
}

impl Held {
    fn place(&self) -> Place {
        (self.slot, carries(&self.address))
    }
}

/// A listener, and which of its sockets.
type Place = (ListenerId, Carries);

fn carries(address: &ListenAddress) -> Carries {
    match address {
        ListenAddress::Udp(_) => Carries::Datagrams,
        ListenAddress::Tcp(_) | ListenAddress::Unix(_) => Carries::Connections,
    }
}

/// The sockets of an address that a program before this one accepted on.
#[derive(Debug)]
pub struct Handed {
    /// The address as it was configured.
    pub address: String,
    /// The sockets, and where they really listen.
    pub bound: Bound,
}

/// What a generation needs, bound; dropped, it closes what is new.
#[derive(Debug, Default)]
pub struct Acquired {
    kept: Vec<Place>,
    passed: Vec<(Place, ListenerId, String)>,
    new: Vec<Held>,
    /// Indices of what was taken from [`Sockets::handed`].
    taken: HashSet<usize>,
}

/// Why a generation's sockets could not be had.
#[derive(Debug)]
pub struct Failure {
    /// Index of the listener.
    pub listener: usize,
    /// What is wrong, for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Sockets {
    /// The sockets of a program before, and none of our own yet.
    pub fn new(handed: Vec<Handed>) -> Self {
        Self { held: Vec::new(), handed }
    }

    /// Binds what the snapshot needs and is not held yet.
    pub fn acquire(&self, snapshot: &Snapshot, workers: usize) -> Result<Acquired, Failure> {
        let all = snapshot.listeners.iter();
        let wanted: HashSet<Place> = all
            .flat_map(|listener| listener.conf.addresses().map(|address| (listener.slot, carries(&address))))
            .collect();
        let free = self.held.iter().filter(|held| !wanted.contains(&held.place()));
        let mut free: HashMap<&ListenAddress, &Held> = free.map(|held| (&held.address, held)).collect();
        let mut acquired = Acquired::default();
        for (index, listener) in snapshot.listeners.iter().enumerate() {
            let (slot, conf) = (listener.slot, &listener.conf);
            for address in conf.addresses() {
                let place = (slot, carries(&address));
                if self.held.iter().any(|held| held.place() == place) {
                    acquired.kept.push(place);
                    continue;
                }
                // Another name or protocol at an address that is held: whoever is in its queue is served.
                if let Some(held) = free.remove(&address) {
                    acquired.passed.push((held.place(), slot, conf.name.clone()));
                    continue;
                }
                let wanted = (listener, is_virtual(&listener.conf, snapshot));
                self.bind_for(wanted, &address, workers, &mut acquired).map_err(|error| {
                    let message = format!("listener `{}`: cannot listen on {address}: {error}", conf.name);
                    Failure { listener: index, message, hint: hint(&error) }
                })?;
            }
        }
        Ok(acquired)
    }

    /// Binds one of a listener's addresses. QUIC has the port that TLS has, also where that is of the system's choice.
    fn bind_for(
        &self,
        (listener, is_virtual): (&Listener, bool),
        address: &ListenAddress,
        workers: usize,
        acquired: &mut Acquired,
    ) -> io::Result<()> {
        let (conf, slot) = (&listener.conf, listener.slot);
        let (name, address) = (conf.name.clone(), address.clone());
        let beside =
            (conf.quic && carries(&address) == Carries::Datagrams).then(|| self.beside(slot, acquired));
        let Some(beside) = beside.flatten() else {
            let bound = self.bind((conf, is_virtual), (&address, &address), workers, &mut acquired.taken)?;
            acquired.new.push(Held { slot, name, address, bound });
            return Ok(());
        };
        let mut last = beside;
        for _ in 0..PORTS_TRIED {
            let at = ListenAddress::Udp(last);
            let error = match self.bind((conf, is_virtual), (&address, &at), workers, &mut acquired.taken) {
                Ok(bound) => {
                    acquired.new.push(Held { slot, name, address, bound });
                    return Ok(());
                }
                Err(error) => error,
            };
            let own = acquired.new.last_mut().filter(|held| held.slot == slot);
            let is_any = matches!(conf.address, ListenAddress::Tcp(address) if address.port() == 0);
            let Some(own) = own.filter(|_| is_any && error.kind() == io::ErrorKind::AddrInUse) else {
                return Err(error);
            };
            // Somebody has this port of UDP: another one is as good.
            let manner = Manner { is_ours: false, mptcp: conf.mptcp, is_virtual };
            own.bound = bind::bind(&conf.address, workers, manner)?;
            last = own.bound.address.parse().map_err(io::Error::other)?;
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// Where the connections of a listener are accepted.
    fn beside(&self, slot: ListenerId, acquired: &Acquired) -> Option<SocketAddr> {
        let passed = acquired.passed.iter().find(|(_, to, _)| *to == slot).map(|(from, ..)| *from);
        let place = passed.unwrap_or((slot, Carries::Connections));
        let held = self.held.iter().find(|held| held.place() == place);
        let held = held.or_else(|| acquired.new.iter().find(|held| held.place() == place));
        held.and_then(|held| held.bound.address.parse().ok())
    }

    /// Binds an address of the configuration, at another where that is said.
    fn bind(
        &self,
        (conf, is_virtual): (&ListenerConf, bool),
        (address, at): (&ListenAddress, &ListenAddress),
        workers: usize,
        taken: &mut HashSet<usize>,
    ) -> io::Result<Bound> {
        let text = address.to_string();
        // Several may have asked for port 0: each has its own.
        let mut handed = self.handed.iter().enumerate().filter(|(index, _)| !taken.contains(index));
        if let Some((index, handed)) = handed.find(|(_, handed)| handed.address == text) {
            taken.insert(index);
            return bind::complete(&handed.bound, address, workers);
        }
        // The port may be ours already, under another address: our own sockets are not in the way.
        let is_ours = self.held.iter().any(|held| is_same_port(&held.address, at));
        bind::bind(at, workers, Manner { is_ours, mptcp: conf.mptcp, is_virtual })
    }

    /// Makes what was acquired so. Gives what each worker is to be sent.
    pub fn commit(&mut self, acquired: Acquired, workers: usize) -> Vec<Change> {
        let Acquired { mut kept, passed, new, taken } = acquired;
        let mut changes: Vec<Change> = (0..workers).map(|_| Change::default()).collect();
        kept.extend(passed.iter().map(|((_, carries), to, _)| (*to, *carries)));
        for ((from, carries), to, name) in passed {
            if let Some(held) = self.held.iter_mut().find(|held| held.place() == (from, carries)) {
                tracing::info!(listener = %name, address = %held.bound.address, "listening in place of `{}`", held.name);
                (held.slot, held.name) = (to, name);
            }
            changes.iter_mut().for_each(|change| change.pass.push((from, to, carries)));
        }
        let (held, gone): (Vec<Held>, Vec<Held>) =
            std::mem::take(&mut self.held).into_iter().partition(|held| kept.contains(&held.place()));
        self.held = held;
        for held in gone {
            tracing::info!(listener = %held.name, address = %held.bound.address, "not listening any more");
            if let ListenAddress::Unix(path) = &held.address {
                // Nobody shall queue up at a socket that nobody accepts on.
                let _ = fs::remove_file(path);
            }
            changes.iter_mut().for_each(|change| change.close.push(held.place()));
        }
        for held in new {
            tracing::info!(listener = %held.name, address = %held.bound.address, "listening");
            for (index, socket) in held.bound.sockets.iter().enumerate() {
                let worker = changes.get_mut(index % workers.max(1));
                if let (Some(change), Ok(socket)) = (worker, socket.try_clone()) {
                    change.open.push((held.slot, socket));
                }
            }
            self.held.push(held);
        }
        let handed = std::mem::take(&mut self.handed).into_iter().enumerate();
        self.handed = handed.filter(|(index, _)| !taken.contains(index)).map(|(_, it)| it).collect();
        changes
    }

    /// Applies to the sockets what their listeners say of them.
    pub fn apply(&self, snapshot: &Snapshot) {
        for held in self.held.iter().filter(|held| matches!(held.address, ListenAddress::Tcp(_))) {
            let Some(listener) = snapshot.listener(held.slot) else { continue };
            // Where the server may speak first, a silent client waits for it.
            let is_late = listener.serves.awaits_client();
            let within = if is_late { listener.conf.defer_accept } else { Duration::ZERO };
            if let Some(error) = held.bound.sockets.iter().find_map(|socket| defer::set(socket, within).err())
            {
                tracing::warn!(listener = %held.name, "connections are accepted at once: {error}");
            }
        }
    }

    /// Closes the sockets of a program before that no listener took.
    pub fn forget_handed(&mut self) {
        for handed in self.handed.drain(..) {
            tracing::info!(address = %handed.address, "not listening any more");
            if let Some(path) = handed.address.strip_prefix("unix:") {
                // Nobody shall queue up at a socket that nobody accepts on.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// For each listener its slot and where it really listens: port 0 became a number.
    pub fn addresses(&self) -> HashMap<ListenerId, String> {
        self.held.iter().map(|held| (held.slot, held.bound.address.clone())).collect()
    }

    /// Every socket, with its configured address, for the program that comes after this one.
    pub fn all(&self) -> impl Iterator<Item = (String, &Bound)> {
        self.held.iter().map(|held| (held.address.to_string(), &held.bound))
    }
}

/// Whether another node may have the address of a listener.
fn is_virtual(conf: &ListenerConf, snapshot: &Snapshot) -> bool {
    let address = match conf.address {
        ListenAddress::Tcp(address) | ListenAddress::Udp(address) => address.ip(),
        ListenAddress::Unix(_) => return false,
    };
    let cluster = snapshot.config.cluster.iter();
    cluster.flat_map(|cluster| &cluster.virtual_ip).any(|it| it.address.0.addr() == address)
}

/// Ports of the system's choice that are tried until one is free for TCP and for UDP.
const PORTS_TRIED: usize = 16;

fn is_same_port(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Tcp(one), ListenAddress::Tcp(other))
        | (ListenAddress::Udp(one), ListenAddress::Udp(other)) => {
            one.port() == other.port() && one.port() != 0
        }
        (ListenAddress::Tcp(_) | ListenAddress::Udp(_) | ListenAddress::Unix(_), _) => false,
    }
}

fn hint(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "another program has it: `ss -ltunp` shows which one",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE (`AmbientCapabilities=` in a systemd unit)"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has this address",
        _ => return None,
    };
    Some(hint.to_owned())
}
