//! Wires the rooms, and owns start and drain order; the only file that knows every room.

use std::{
    io,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use arc_swap::ArcSwap;
use tokio::{
    runtime::{Builder, LocalOptions, LocalRuntime},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use crate::{
    account,
    admin::{Admin, access::Access, server},
    cache::fill,
    cluster::privilege,
    config::{Config, KeptCopy, Loaded, listen::ListenAddress, runtime::Workers},
    control::{Control, Early, Loop, TakeOver},
    http::writeback::deliver,
    listen::{
        activation::Activated,
        admin_sockets::{self, Each},
        handover::Predecessor,
        listener_sockets::{Handed, Sockets},
        mailbox::{Change, Mailboxes, Message},
        parking,
        worker_sockets::WorkerSockets,
    },
    moment::Moment,
    net::{timer, tunnel},
    reload::{
        self,
        engine::{self, Engine, Started},
        handover_state,
        upgrade::Origin,
    },
    runtime::{
        Snapshot, Worker,
        addresses::Addresses,
        build,
        changes::Maker,
        drain::{Drain, Stage, reached},
        overrides::Overrides,
        registry::Registry,
        worker::Shared,
    },
    telemetry::access_log::{AccessLog, WorkerLog},
    tls::tickets::Tickets,
};

/// Runs the proxy until it has drained. The error is for people.
/// `before` is the program that this one takes over from; with `origin` it can be followed by another.
/// `activated` are sockets of a service manager; in `early` signals wait that came meanwhile.
pub fn run(
    early: Early,
    loaded: Loaded,
    mut before: Option<Predecessor>,
    activated: Activated,
    origin: Option<Origin>,
) -> Result<(), String> {
    check_privileges(&loaded.config)?;
    // First of all: a certificate that is replaced from here on is taken over by a reload.
    let hashes = reload::hashes_of(&loaded);
    let (workers, fleet, copy) = (workers(&loaded.config), loaded.fleet.clone(), KeptCopy::of(&loaded));
    let (handed, handed_admin) = match before.as_mut() {
        Some(before) => (std::mem::take(&mut before.sockets), std::mem::take(&mut before.admin)),
        None => sockets_of(&loaded.config, activated, workers),
    };
    let (registry, control) = (Registry::new(workers), Loop::new(early)?);
    let tickets = Tickets::new(Moment::now()).map_err(|error| error.to_string())?;
    let (snapshot, overrides, names) = first(&loaded.config, before.as_ref(), &registry, &tickets)?;
    open_caches(&loaded, &snapshot, before.is_some())?;
    before.iter().for_each(|before| handover_state::adopt_journals(&before.state, &snapshot, &registry));
    account::set_limit(snapshot.config.runtime.memory.0);
    let is_waiting = before.is_some() && serves_later(&snapshot);
    if before.is_some() {
        registry.changes.leave_to(Maker::Before);
    }
    let log = Arc::new(access_log(&loaded, &snapshot)?);
    let shared = Arc::new(Shared {
        snapshot: ArcSwap::from_pointee(snapshot),
        registry,
        drain: Drain::default(),
        flows: Arc::default(),
    });
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded_channel()).unzip();
    let mailboxes = Mailboxes::new(senders);
    let start = engine::Start {
        shared: shared.clone(),
        tickets: tickets.clone(),
        mailboxes: mailboxes.clone(),
        sockets: Sockets::new(handed, before.is_some()),
        admin: handed_admin,
        origin,
        log: log.clone(),
        loaded,
        hashes,
        overrides,
        names,
    };
    let Started { engine, reloader, events, changes, admin: bound } = Engine::start(start)?;
    let copy = kept_at_once(copy, before.is_some())?;
    let conf = shared.snapshot.load().config.admin.clone();
    let admin = Arc::new(Admin::new(shared.clone(), Access::Nobody, reloader.clone(), mailboxes.clone()));
    if let Some((conf, bound)) = conf.as_ref().zip(bound.whole.as_ref()) {
        admin.begin(conf, &bound.address)?;
    }
    let sockets = server::Socket::of(conf.as_ref(), bound, &engine.socket_files());
    let hands_sessions = before.as_ref().is_some_and(|before| before.hands_sessions);
    let First { changes, held, datagrams } = first_changes(changes, is_waiting, hands_sessions);
    let receivers = receivers.into_iter().zip(changes).collect();
    let threads = start_workers(&shared, receivers, &mailboxes, &log)
        .map_err(|error| format!("cannot start a worker: {error}"))?;
    let (kept, fleet) = (shared.clone(), fleet.map(|fleet| (fleet, reloader.clone())));
    let take_over = TakeOver { before, mailboxes, held, datagrams, copy, fleet };
    let control_side =
        Control { shared, tickets, log: log.clone(), engine, reloader, events, admin, sockets, take_over };
    let result = control_side.run(control);
    for thread in threads {
        // A worker that panicked has reported it already.
        let _ = thread.join();
    }
    kept.registry.finish();
    kept.registry.cluster.finish();
    log.finish();
    result
}

/// Whether [`run`] would come to serve with a configuration; the error is for people. What it asks of the machine is had for a
/// moment, but for the folders of caches, which take their time.
pub fn rehearse(loaded: &Loaded, activated: &Activated) -> Result<(), String> {
    check_privileges(&loaded.config)?;
    let (handed, handed_admin) = sockets_of(&loaded.config, activated.duplicate(), 1);
    reload::rehearse(loaded, handed, handed_admin)
}

/// Whether this process may do what a cluster does; the error is for people.
fn check_privileges(config: &Config) -> Result<(), String> {
    match config.cluster.as_ref().and_then(privilege::missing) {
        Some((message, hint)) => Err(format!("{message}; {hint}")),
        None => Ok(()),
    }
}

/// Writes the last good copy of what a store has, since it can be served with; what is left for when the program before this
/// one, which would go on with its own, has let go. The error is for people.
fn kept_at_once(copy: Option<KeptCopy>, takes_over: bool) -> Result<Option<KeptCopy>, String> {
    if takes_over {
        return Ok(copy);
    }
    copy.map_or(Ok(()), |copy| copy.write())?;
    Ok(None)
}

/// Whether requests are left to the program before this one until it lets go: without what is in a folder it serves better,
/// and what both had in memory would be purged in one of them only.
fn serves_later(snapshot: &Snapshot) -> bool {
    snapshot.caches.iter().any(|cache| cache.is_storing)
}

/// Opens the folders of caches. The error is for people.
fn open_caches(loaded: &Loaded, snapshot: &Snapshot, takes_over: bool) -> Result<(), String> {
    for cache in &snapshot.caches {
        let told = |failure| {
            reload::cannot_open((&loaded.text, &loaded.path), &loaded.included, cache, failure).to_string()
        };
        cache.store.start(&cache.conf, takes_over).map_err(told)?;
    }
    Ok(())
}

/// Begins the access log. The error is for people.
fn access_log(loaded: &Loaded, snapshot: &Snapshot) -> Result<AccessLog, String> {
    AccessLog::start(reload::sink(&snapshot.config.log.access)).map_err(|error| {
        reload::no_access_log((&loaded.text, &loaded.path), &loaded.included, &error).to_string()
    })
}

/// What each worker is sent, and when.
struct First {
    /// What it begins with.
    changes: Vec<Change>,
    /// What it accepts on once the program before this one has let go.
    held: Vec<Change>,
    /// What it reads datagrams from once that program has handed its sessions over.
    datagrams: Vec<Change>,
}

/// Parts what was acquired by when it is for the workers.
fn first_changes(changes: Vec<Change>, is_waiting: bool, hands_sessions: bool) -> First {
    let (mut changes, mut held): (Vec<Change>, Vec<Change>) = match is_waiting {
        true => (changes.iter().map(|_| Change::default()).collect(), changes),
        false => (changes, Vec::new()),
    };
    // A program that hands its sessions over reads their datagrams until it has.
    let datagrams = match hands_sessions {
        true if is_waiting => held.iter_mut().map(Change::take_datagrams).collect(),
        true => changes.iter_mut().map(Change::take_datagrams).collect(),
        false => Vec::new(),
    };
    First { changes, held, datagrams }
}

/// Those of a service manager's sockets that the listeners have, and those of the admin endpoint.
fn sockets_of(config: &Config, activated: Activated, workers: usize) -> (Vec<Handed>, Each<Option<Handed>>) {
    let admin = admin_sockets::addresses(config);
    let listeners = config.listener.iter().flat_map(|listener| listener.address.iter());
    let all = listeners.chain(admin.whole).chain(admin.metrics);
    let addresses: Vec<String> = all.map(ToString::to_string).collect();
    let mut sockets = activated.sockets(workers, &addresses);
    let mut take = |address: Option<&ListenAddress>| {
        let address = address?.to_string();
        let index = sockets.iter().position(|socket| socket.address == address)?;
        Some(sockets.swap_remove(index))
    };
    let admin = Each { whole: take(admin.whole), metrics: take(admin.metrics) };
    (sockets, admin)
}

/// The first generation, and what administrators changed of it before this program began.
fn first(
    config: &Config,
    before: Option<&Predecessor>,
    registry: &Registry,
    tickets: &Arc<Tickets>,
) -> Result<(Snapshot, Overrides, Addresses), String> {
    let Some(before) = before else {
        let snapshot = build::build(config.clone(), 1, registry, tickets)?;
        return Ok((snapshot, Overrides::default(), Addresses::default()));
    };
    let (state, now) = (&before.state, Moment::now());
    handover_state::restore_tickets(state, tickets, now);
    let overrides = handover_state::overrides(state).kept(config);
    let mut effective = config.clone();
    let names = handover_state::names(state);
    overrides.apply_with(&mut effective, &names);
    let snapshot = build::build(effective, handover_state::generation(state) + 1, registry, tickets)?;
    handover_state::restore(state, &snapshot, now);
    Ok((snapshot, overrides, names))
}

fn workers(config: &Config) -> usize {
    match config.runtime.workers {
        Workers::Count(count) => usize::from(count.get()),
        Workers::Auto => std::thread::available_parallelism().map_or(1, |count| count.get()),
    }
}

/// What a worker begins with: what it is sent, and its first sockets.
type Begin = (UnboundedReceiver<Message>, Change);

fn start_workers(
    shared: &Arc<Shared>,
    begin: Vec<Begin>,
    mailboxes: &Mailboxes,
    log: &AccessLog,
) -> io::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::with_capacity(begin.len());
    for (index, begin) in begin.into_iter().enumerate() {
        let (shared, mailboxes, log) = (shared.clone(), mailboxes.clone(), log.for_worker());
        let (ready, is_ready) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            match runtime() {
                Ok(runtime) => {
                    let _ = ready.send(Ok(()));
                    runtime.block_on(worker(index, shared, begin, mailboxes, log));
                    // Tasks that are left end here, before the worker's own state does.
                    drop(runtime);
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
        is_ready.recv().map_err(io::Error::other)??;
        threads.push(thread);
    }
    Ok(threads)
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default())
}

/// The life of a worker.
async fn worker(
    index: usize,
    shared: Arc<Shared>,
    (mut mailbox, sockets): Begin,
    mailboxes: Mailboxes,
    log: WorkerLog,
) {
    let mut stage = shared.drain.subscribe();
    let worker = Worker::new(index, shared, log);
    tokio::task::spawn_local(timer::drive());
    tokio::task::spawn_local(fill::drive());
    tokio::task::spawn_local(worker.clone().housekeeping());
    tokio::task::spawn_local(parking::drive(worker.clone()));
    let delivering = (index == 0).then(|| tokio::task::spawn_local(deliver::run(worker.clone())));
    let accepting = WorkerSockets::new(worker.clone(), mailboxes);
    accepting.change(sockets);
    tokio::select! {
        () = accepting.serve(&mut mailbox) => {}
        () = reached(&mut stage, Stage::Draining) => {}
    }
    worker.begin_draining();
    accepting.stop();
    tokio::select! {
        () = accepting.finish(&mut mailbox) => {}
        () = reached(&mut stage, Stage::Closing) => {}
    }
    if worker.tunnels.close(|_| true) > 0 {
        // Each has its own limit.
        let _cut_off = tokio::time::timeout(tunnel::CLOSING * 2, worker.tunnels.closed()).await;
    }
    if let Some(delivering) = delivering {
        // What waits stays in the journals; what is under way need not be sent twice.
        worker.shared.registry.journals.close();
        let _cut_off = tokio::time::timeout(deliver::LAST_GRACE, delivering).await;
    }
}
