//! The listening sockets of the program, as they follow the configuration from generation to generation.
//!
//! Two steps: [`Sockets::acquire`] binds what is new and can fail, with nothing changed then;
//! [`Sockets::commit`] makes it so. A descriptor of each socket stays here, so that it can be handed to the
//! next program; it is let go before the workers are asked to close theirs.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    time::Duration,
};

use super::{
    bind::{self, Bound, Manner},
    defer,
    mailbox::Change,
};
use crate::{
    config::listen::{ListenAddress, ListenerConf},
    runtime::{ListenerId, Snapshot},
};

/// All sockets that are held.
#[derive(Debug, Default)]
pub struct Sockets {
    held: Vec<Held>,
    /// Sockets of a program before this one that no listener has taken yet.
    handed: Vec<Handed>,
}

/// The sockets of one listener.
#[derive(Debug)]
struct Held {
    slot: ListenerId,
    name: String,
    address: ListenAddress,
    bound: Bound,
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
#[derive(Debug)]
pub struct Acquired {
    kept: Vec<ListenerId>,
    passed: Vec<(ListenerId, ListenerId, String)>,
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
        let wanted: HashSet<ListenerId> = snapshot.listeners.iter().map(|listener| listener.slot).collect();
        let mut free: HashMap<&ListenAddress, &Held> = self
            .held
            .iter()
            .filter(|held| !wanted.contains(&held.slot))
            .map(|held| (&held.address, held))
            .collect();
        let mut acquired =
            Acquired { kept: Vec::new(), passed: Vec::new(), new: Vec::new(), taken: HashSet::new() };
        for (index, listener) in snapshot.listeners.iter().enumerate() {
            let (slot, conf) = (listener.slot, &listener.conf);
            if self.held.iter().any(|held| held.slot == slot) {
                acquired.kept.push(slot);
                continue;
            }
            // Another name or protocol at an address that is held: whoever is in its queue is served.
            if let Some(held) = free.remove(&conf.address) {
                acquired.passed.push((held.slot, slot, conf.name.clone()));
                continue;
            }
            let bound = self.bind(conf, workers, is_virtual(conf, snapshot), &mut acquired.taken).map_err(
                |error| {
                    let message =
                        format!("listener `{}`: cannot listen on {}: {error}", conf.name, conf.address);
                    Failure { listener: index, message, hint: hint(&error) }
                },
            )?;
            let (name, address) = (conf.name.clone(), conf.address.clone());
            acquired.new.push(Held { slot, name, address, bound });
        }
        Ok(acquired)
    }

    fn bind(
        &self,
        conf: &ListenerConf,
        workers: usize,
        is_virtual: bool,
        taken: &mut HashSet<usize>,
    ) -> io::Result<Bound> {
        let address = &conf.address;
        let text = address.to_string();
        let handed = self.handed.iter().enumerate();
        if let Some((index, handed)) = handed.into_iter().find(|(_, handed)| handed.address == text) {
            taken.insert(index);
            return bind::complete(&handed.bound, address, workers);
        }
        // The port may be ours already, under another address: our own sockets are not in the way.
        let is_ours = self.held.iter().any(|held| is_same_port(&held.address, address));
        bind::bind(address, workers, Manner { is_ours, mptcp: conf.mptcp, is_virtual })
    }

    /// Makes what was acquired so. Gives what each worker is to be sent.
    pub fn commit(&mut self, acquired: Acquired, workers: usize) -> Vec<Change> {
        let Acquired { mut kept, passed, new, taken } = acquired;
        let mut changes: Vec<Change> = (0..workers).map(|_| Change::default()).collect();
        kept.extend(passed.iter().map(|(_, to, _)| *to));
        for (from, to, name) in passed {
            if let Some(held) = self.held.iter_mut().find(|held| held.slot == from) {
                tracing::info!(listener = %name, address = %held.bound.address, "listening in place of `{}`", held.name);
                (held.slot, held.name) = (to, name);
            }
            changes.iter_mut().for_each(|change| change.pass.push((from, to)));
        }
        let (held, gone): (Vec<Held>, Vec<Held>) =
            std::mem::take(&mut self.held).into_iter().partition(|held| kept.contains(&held.slot));
        self.held = held;
        for held in gone {
            tracing::info!(listener = %held.name, address = %held.bound.address, "not listening any more");
            if let ListenAddress::Unix(path) = &held.address {
                // Nobody shall queue up at a socket that nobody accepts on.
                let _ = fs::remove_file(path);
            }
            changes.iter_mut().for_each(|change| change.close.push(held.slot));
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
