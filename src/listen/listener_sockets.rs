//! The listening sockets of the program, as they follow the configuration from generation to generation.
//!
//! Two steps: [`Sockets::acquire`] binds what is new and can fail, with nothing changed then;
//! [`Sockets::commit`] makes it so. A descriptor of each socket stays here, so that it can be handed to the
//! next program; it is let go before the workers are asked to close theirs.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use super::{
    bind::{self, Bound, Manner, Owner},
    defer,
    mailbox::{Change, SocketId},
    socket_files::{NewFile, SocketFiles},
    unbound::Unbound,
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
    /// That program has not let go: where this one fails, it goes on with its sockets as they are.
    is_proving: bool,
    /// The number that was given last.
    last_id: SocketId,
    files: Arc<SocketFiles>,
}

/// The sockets of one address of a listener.
#[derive(Debug)]
struct Held {
    id: SocketId,
    slot: ListenerId,
    name: String,
    address: ListenAddress,
    bound: Bound,
}

impl Held {
    fn is_of(&self, slot: ListenerId, address: &ListenAddress) -> bool {
        self.slot == slot && self.address == *address
    }
}

/// The sockets of an address that a program before this one accepted on.
#[derive(Debug)]
pub struct Handed {
    /// The address as a configuration has it now.
    pub address: String,
    /// The sockets, and where they really listen.
    pub bound: Bound,
}

impl Handed {
    /// Those of an address as somebody else has it: of a unix socket that may be another spelling.
    pub fn new(address: &str, bound: Bound) -> Self {
        let unix = address.strip_prefix("unix:").map(|path| ListenAddress::unix(path.as_ref()));
        Self { address: unix.map_or_else(|| address.to_owned(), |unix| unix.to_string()), bound }
    }
}

/// What a generation needs, bound; dropped, it closes what is new and removes its files.
#[derive(Debug, Default)]
pub struct Acquired {
    kept: HashSet<SocketId>,
    passed: Vec<(SocketId, ListenerId, String)>,
    new: Vec<New>,
    /// Indices of what was taken from [`Sockets::handed`].
    taken: HashSet<usize>,
}

#[derive(Debug)]
struct New {
    slot: ListenerId,
    name: String,
    address: ListenAddress,
    bound: Bound,
    file: NewFile,
    /// Other descriptors of the same, for the workers.
    for_workers: Vec<OwnedFd>,
}

impl New {
    fn bound(slot: ListenerId, name: String, address: ListenAddress, bound: Bound) -> Self {
        let file = NewFile::of(&address, bound.owner);
        Self { slot, name, address, bound, file, for_workers: Vec::new() }
    }
}

impl Acquired {
    /// Makes the workers' descriptors of what is new: nothing can fail once it is published.
    fn share_with_workers(&mut self, snapshot: &Snapshot) -> Result<(), Unbound> {
        for new in &mut self.new {
            let shared = new.bound.try_clone().map_err(|error| {
                let listener = snapshot.listeners.iter().position(|it| it.slot == new.slot).unwrap_or(0);
                Unbound::of_listener(listener, &new.name, &new.address, &error)
            })?;
            new.for_workers = shared.sockets;
        }
        Ok(())
    }
}

impl Sockets {
    /// Sockets that were handed over, and none of our own yet. With `is_proving` they are those of a program that goes on
    /// with them until it lets go.
    pub fn new(handed: Vec<Handed>, is_proving: bool) -> Self {
        Self { handed, is_proving, ..Self::default() }
    }

    /// The files of unix sockets that are there, to be removed at the end.
    pub fn files(&self) -> Arc<SocketFiles> {
        self.files.clone()
    }

    /// Binds what the snapshot needs and is not held yet.
    pub fn acquire(&self, snapshot: &Snapshot, workers: usize) -> Result<Acquired, Unbound> {
        let all = snapshot.listeners.iter();
        let wanted: HashSet<(ListenerId, ListenAddress)> = all
            .flat_map(|listener| listener.conf.addresses().map(|address| (listener.slot, address)))
            .collect();
        let free = self.held.iter().filter(|held| !wanted.contains(&(held.slot, held.address.clone())));
        let mut free: HashMap<&ListenAddress, &Held> = free.map(|held| (&held.address, held)).collect();
        let mut acquired = Acquired::default();
        for (index, listener) in snapshot.listeners.iter().enumerate() {
            let (slot, conf) = (listener.slot, &listener.conf);
            for address in conf.addresses() {
                if let Some(held) = self.held.iter().find(|held| held.is_of(slot, &address)) {
                    acquired.kept.insert(held.id);
                    continue;
                }
                // Another name or protocol at an address that is held: whoever is in its queue is served.
                if let Some(held) = free.remove(&address) {
                    acquired.kept.insert(held.id);
                    acquired.passed.push((held.id, slot, conf.name.clone()));
                    continue;
                }
                let wanted = (listener, is_virtual(&address, snapshot));
                self.bind_for(wanted, &address, workers, &mut acquired)
                    .map_err(|error| Unbound::of_listener(index, &conf.name, &address, &error))?;
            }
        }
        acquired.share_with_workers(snapshot)?;
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
        let of_tls = match address {
            ListenAddress::Udp(address) if conf.quic => Some(ListenAddress::Tcp(address)),
            ListenAddress::Udp(_) | ListenAddress::Tcp(_) | ListenAddress::Unix(_) => None,
        };
        let beside = of_tls.as_ref().and_then(|of_tls| self.beside(slot, of_tls, acquired));
        let (Some(mut last), Some(of_tls)) = (beside, of_tls) else {
            let bound = self.bind((conf, is_virtual), (&address, &address), workers, acquired)?;
            acquired.new.push(New::bound(slot, name, address, bound));
            return Ok(());
        };
        for _ in 0..PORTS_TRIED {
            let at = ListenAddress::Udp(last);
            let error = match self.bind((conf, is_virtual), (&address, &at), workers, acquired) {
                Ok(bound) => {
                    acquired.new.push(New::bound(slot, name, address, bound));
                    return Ok(());
                }
                Err(error) => error,
            };
            let own = acquired.new.last_mut().filter(|new| new.slot == slot && new.address == of_tls);
            let is_any = matches!(of_tls, ListenAddress::Tcp(address) if address.port() == 0);
            let Some(own) = own.filter(|_| is_any && error.kind() == io::ErrorKind::AddrInUse) else {
                return Err(error);
            };
            // Somebody has this port of UDP: another one is as good.
            let manner = Manner { mptcp: conf.mptcp, is_virtual, ..Manner::default() };
            own.bound = bind::bind(&of_tls, workers, manner)?;
            last = own.bound.address.parse().map_err(io::Error::other)?;
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// Where the connections of an address of a listener are accepted.
    fn beside(&self, slot: ListenerId, of_tls: &ListenAddress, acquired: &Acquired) -> Option<SocketAddr> {
        let passed = acquired.passed.iter().filter(|(_, to, _)| *to == slot);
        let passed = passed.filter_map(|(id, ..)| self.held.iter().find(|held| held.id == *id));
        let held = self.held.iter().filter(|held| held.slot == slot).chain(passed);
        let held = held.filter(|held| held.address == *of_tls).map(|held| &held.bound);
        let new = acquired.new.iter().filter(|new| new.slot == slot && new.address == *of_tls);
        held.chain(new.map(|new| &new.bound)).next()?.address.parse().ok()
    }

    /// Binds an address of the configuration, at another where that is said.
    fn bind(
        &self,
        (conf, is_virtual): (&ListenerConf, bool),
        (address, at): (&ListenAddress, &ListenAddress),
        workers: usize,
        acquired: &mut Acquired,
    ) -> io::Result<Bound> {
        let taken = &mut acquired.taken;
        let text = address.to_string();
        // Several may have asked for port 0: each has its own.
        let mut handed = self.handed.iter().enumerate().filter(|(index, _)| !taken.contains(index));
        if let Some((index, handed)) = handed.find(|(_, handed)| handed.address == text) {
            taken.insert(index);
            return bind::complete(&handed.bound, address, workers);
        }
        // The port may be ours already, under another address: our own sockets are not in the way. Of two that a
        // connection could come to, the kernel takes the nearer: `127.0.0.1:80` before `0.0.0.0:80` before `[::]:80`.
        let ours = self.held.iter().map(|held| &held.address);
        let is_ours = ours.chain(acquired.new.iter().map(|new| &new.address)).any(|it| is_same_port(it, at));
        bind::bind(at, workers, Manner { is_ours, mptcp: conf.mptcp, is_virtual, access: conf.access() })
    }

    /// Makes what was acquired so. Gives what each worker is to be sent.
    pub fn commit(&mut self, acquired: Acquired, workers: usize) -> Vec<Change> {
        let Acquired { kept, passed, new, taken } = acquired;
        let mut changes: Vec<Change> = (0..workers).map(|_| Change::default()).collect();
        for (id, to, name) in passed {
            if let Some(held) = self.held.iter_mut().find(|held| held.id == id) {
                tracing::info!(listener = %name, address = %held.bound.address, "listening in place of `{}`", held.name);
                (held.slot, held.name) = (to, name);
            }
            changes.iter_mut().for_each(|change| change.pass.push((id, to)));
        }
        let (held, gone): (Vec<Held>, Vec<Held>) =
            std::mem::take(&mut self.held).into_iter().partition(|held| kept.contains(&held.id));
        self.held = held;
        for held in gone {
            tracing::info!(listener = %held.name, address = %held.bound.address, "no longer listening");
            if let ListenAddress::Unix(path) = &held.address {
                // Nobody shall queue up at a socket that nobody accepts on.
                self.files.remove(path);
            }
            changes.iter_mut().for_each(|change| change.close.push(held.id));
        }
        for New { slot, name, address, bound, file, for_workers } in new {
            self.last_id += 1;
            file.keep_among(&self.files);
            let held = Held { id: self.last_id, slot, name, address, bound };
            if let ListenAddress::Unix(path) = &held.address {
                self.files.add(path, held.bound.owner);
            }
            tracing::info!(listener = %held.name, address = %held.bound.address, "listening");
            for (index, socket) in for_workers.into_iter().enumerate() {
                if let Some(change) = changes.get_mut(index % workers.max(1)) {
                    change.open.push((held.id, held.slot, socket));
                }
            }
            self.held.push(held);
        }
        let handed = std::mem::take(&mut self.handed).into_iter().enumerate();
        self.handed = handed.filter(|(index, _)| !taken.contains(index)).map(|(_, it)| it).collect();
        changes
    }

    /// The program before, where there was one, has let go of its sockets.
    pub fn take_over(&mut self, snapshot: &Snapshot) {
        self.files.take_over();
        if std::mem::take(&mut self.is_proving) {
            self.apply(snapshot);
        }
    }

    /// Applies to the sockets what their listeners say of them; to those of the program before once it has let go.
    pub fn apply(&self, snapshot: &Snapshot) {
        let is_ours = |held: &&Held| !self.is_proving || held.bound.owner == Owner::Own;
        for held in self.held.iter().filter(is_ours) {
            let Some(listener) = snapshot.listener(held.slot) else { continue };
            let failure = match &held.address {
                ListenAddress::Tcp(_) => {
                    // Where the server may speak first, a silent client waits for it.
                    let is_late = listener.serves.awaits_client();
                    let within = if is_late { listener.conf.defer_accept } else { Duration::ZERO };
                    let mut failed = held.bound.sockets.iter().filter_map(|it| defer::set(it, within).err());
                    failed.next().map(|error| format!("connections are accepted immediately: {error}"))
                }
                // A service manager says itself who may open its socket (`SocketMode=`).
                ListenAddress::Unix(_) if held.bound.owner == Owner::Manager => None,
                ListenAddress::Unix(path) => {
                    bind::permit(path, listener.conf.access()).err().map(|error| error.to_string())
                }
                ListenAddress::Udp(_) => None,
            };
            if let Some(failure) = failure {
                tracing::warn!(listener = %held.name, "{failure}");
            }
        }
    }

    /// Closes the sockets of a program before that no listener took.
    pub fn forget_handed(&mut self) {
        for handed in self.handed.drain(..) {
            tracing::info!(address = %handed.address, "no longer listening");
            if let Some(path) = handed.address.strip_prefix("unix:") {
                self.files.add_unused(path.as_ref(), handed.bound.owner);
            }
        }
    }

    /// For each listener its slot and where it really listens, with commas between several: port 0 became a number.
    pub fn addresses(&self) -> HashMap<ListenerId, String> {
        let mut addresses = HashMap::<ListenerId, Vec<&str>>::new();
        for held in &self.held {
            let of_slot = addresses.entry(held.slot).or_default();
            // QUIC is at the port of TLS.
            if !of_slot.contains(&held.bound.address.as_str()) {
                of_slot.push(&held.bound.address);
            }
        }
        addresses.into_iter().map(|(slot, addresses)| (slot, addresses.join(", "))).collect()
    }

    /// Every socket, with its configured address, for the program that comes after this one.
    pub fn all(&self) -> impl Iterator<Item = (String, &Bound)> {
        self.held.iter().map(|held| (held.address.to_string(), &held.bound))
    }
}

/// Whether another node may have an address.
fn is_virtual(address: &ListenAddress, snapshot: &Snapshot) -> bool {
    let address = match address {
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::{admin::tests::shared, config::socket_access::SocketAccess};

    #[test]
    fn file_has_its_mode_once_the_program_before_lets_go() {
        let path = std::env::temp_dir().join(format!("pointsman-proving-{}.sock", std::process::id()));
        let address = ListenAddress::Unix(path.clone());
        let access = SocketAccess { mode: Some(0o600), ..SocketAccess::default() };
        let before = bind::bind(&address, 1, Manner { access, ..Manner::default() }).unwrap();
        let handed = Handed {
            address: address.to_string(),
            bound: Bound { owner: Owner::Before, ..before.try_clone().unwrap() },
        };
        let shared = shared(&format!(
            "[[listener]]\nname = \"web\"\naddress = \"{address}\"\nmode = \"660\"\n\
             [[upstream]]\nname = \"app\"\nbackend = [{{ address = \"127.0.0.1:1\" }}]\n\
             [[route]]\nname = \"all\"\nupstream = \"app\"\n"
        ));
        let snapshot = shared.snapshot.load_full();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let mut sockets = Sockets::new(vec![handed], true);
        let acquired = sockets.acquire(&snapshot, 1).unwrap();
        drop(sockets.commit(acquired, 1));
        sockets.apply(&snapshot);
        assert_eq!(mode(), 0o600, "the one before goes on with it where this one fails");
        sockets.take_over(&snapshot);
        assert_eq!(mode(), 0o660);
        fs::remove_file(path).unwrap();
    }

    /// Of what comes behind the binding something may fail: nobody shall queue up then at a socket that nobody accepts on.
    #[test]
    fn a_start_that_fails_later_leaves_no_files() {
        let path = std::env::temp_dir().join(format!("pointsman-failed-start-{}.sock", std::process::id()));
        let shared = shared(&format!(
            "[[listener]]\nname = \"web\"\naddress = \"unix:{}\"\n\
             [[upstream]]\nname = \"app\"\nbackend = [{{ address = \"127.0.0.1:1\" }}]\n\
             [[route]]\nname = \"all\"\nupstream = \"app\"\n",
            path.display()
        ));
        let mut sockets = Sockets::new(Vec::new(), false);
        let acquired = sockets.acquire(&shared.snapshot.load_full(), 1).unwrap();
        let changes = sockets.commit(acquired, 1);
        assert!(path.exists());
        drop((changes, sockets));
        assert!(!path.exists());
    }

    /// A version before this one has paths as the file does: the upgrade was refused, since the address was in use.
    #[test]
    fn handed_address_is_written_as_configurations_have_it() {
        for (written, expected) in [
            ("unix:/run//web.sock", "unix:/run/web.sock"),
            ("unix:/run/./web.sock", "unix:/run/web.sock"),
            ("unix:/run/web.sock", "unix:/run/web.sock"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("udp:[::1]:53", "udp:[::1]:53"),
        ] {
            let bound = Bound { sockets: Vec::new(), address: written.into(), owner: Owner::Before };
            assert_eq!(Handed::new(written, bound).address, expected);
        }
    }
}
