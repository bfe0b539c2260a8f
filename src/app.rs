//! Wires the rooms, and owns start and drain order; the only file that knows every room.

use std::{
    io,
    os::fd::OwnedFd,
    rc::Rc,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    io::unix::AsyncFd,
    runtime::{Builder, LocalOptions, LocalRuntime},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use crate::{
    admin::{Admin, access::Access, server},
    config::{Config, log::AccessLog as AccessTo, runtime::Workers},
    control::{Control, Loop},
    listen::{
        accept::{self, Accepted, Mailboxes},
        connection, socket,
    },
    moment::Moment,
    net::timer,
    runtime::{
        Worker,
        drain::{Drain, Stage, reached},
        registry::Registry,
        snapshot,
        worker::Shared,
    },
    telemetry::access_log::{AccessLog, Sink, WorkerLog},
    tls::tickets::Tickets,
};

/// Runs the proxy until it has drained. The error is for people.
pub fn run(config: Config) -> Result<(), String> {
    let workers = workers(&config);
    let registry = Registry::new(workers);
    let tickets = Tickets::new(Moment::now()).map_err(|error| error.to_string())?;
    let snapshot = snapshot::build(config, 1, &registry, &tickets)?;
    let control = Loop::new()?;
    let mut sockets: Vec<Vec<OwnedFd>> = (0..workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::with_capacity(snapshot.listeners.len());
    for listener in &snapshot.listeners {
        let conf = &listener.conf;
        let bound = socket::bind(&conf.address, workers).map_err(|error| {
            format!("listener `{}`: cannot listen on {}: {error}", conf.name, conf.address)
        })?;
        tracing::info!(listener = %conf.name, address = %bound.address, "listening");
        addresses.push((conf.name.clone(), bound.address));
        for (own, socket) in sockets.iter_mut().zip(bound.sockets) {
            own.push(socket);
        }
    }
    let admin = match &snapshot.config.admin {
        None => None,
        Some(conf) => Some((Access::new(conf)?, server::bind(conf)?)),
    };
    let log = match &snapshot.config.log.access {
        AccessTo::Off => None,
        AccessTo::Stdout => Some(Sink::Stdout),
        AccessTo::Stderr => Some(Sink::Stderr),
        AccessTo::File(path) => Some(Sink::File(path.clone())),
    };
    let mut log = log
        .map(AccessLog::start)
        .transpose()
        .map_err(|error| format!("cannot open the access log: {error}"))?;
    let shared =
        Arc::new(Shared { snapshot: ArcSwap::from_pointee(snapshot), registry, drain: Drain::default() });
    let threads = start_workers(&shared, sockets, log.as_ref())
        .map_err(|error| format!("cannot start a worker: {error}"))?;
    let admin =
        admin.map(|(access, socket)| (Arc::new(Admin::new(shared.clone(), access, addresses)), socket));
    let result = Control { shared, tickets, log: log.as_ref(), admin }.run(control);
    for thread in threads {
        // A worker that panicked has told so already.
        let _ = thread.join();
    }
    if let Some(log) = &mut log {
        log.finish();
    }
    result
}

fn workers(config: &Config) -> usize {
    match config.runtime.workers {
        Workers::Count(count) => usize::from(count.get()),
        Workers::Auto => std::thread::available_parallelism().map_or(1, |count| count.get()),
    }
}

fn start_workers(
    shared: &Arc<Shared>,
    sockets: Vec<Vec<OwnedFd>>,
    log: Option<&AccessLog>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let (senders, receivers): (Vec<_>, Vec<_>) = sockets.iter().map(|_| unbounded_channel()).unzip();
    let mailboxes = Mailboxes::new(senders);
    let mut threads = Vec::with_capacity(sockets.len());
    for (index, (sockets, mailbox)) in sockets.into_iter().zip(receivers).enumerate() {
        let (shared, mailboxes) = (shared.clone(), mailboxes.clone());
        let log = log.map(AccessLog::for_worker);
        let (ready, is_ready) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            match runtime() {
                Ok(runtime) => {
                    let _ = ready.send(Ok(()));
                    runtime.block_on(worker(index, shared, sockets, mailbox, mailboxes, log));
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
    sockets: Vec<OwnedFd>,
    mut mailbox: UnboundedReceiver<Accepted>,
    mailboxes: Mailboxes,
    log: Option<WorkerLog>,
) {
    let mut stage = shared.drain.subscribe();
    let worker = Worker::new(index, shared, log);
    tokio::task::spawn_local(timer::drive());
    tokio::task::spawn_local(worker.clone().housekeeping());
    let mut accepting = Vec::new();
    for (listener, socket) in sockets.into_iter().enumerate() {
        let Ok(socket) = register(socket).map(Rc::new) else { continue };
        let run = accept::run(worker.clone(), listener, socket.clone(), mailboxes.clone());
        accepting.push((listener, socket, tokio::task::spawn_local(run)));
    }
    let handed_over = worker.clone();
    tokio::task::spawn_local(async move {
        while let Some(accepted) = mailbox.recv().await {
            connection::begin(&handed_over, accepted);
        }
    });
    reached(&mut stage, Stage::Draining).await;
    worker.begin_draining();
    for (listener, socket, task) in accepting {
        task.abort();
        accept::empty(&worker, listener, &socket, &mailboxes);
    }
    timer::hurry_idle(Moment::now().plus(IDLE_GRACE));
    let is_over = async {
        while mailboxes.open(index) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = is_over => {}
        () = reached(&mut stage, Stage::Closing) => {}
    }
    worker.flush_log();
}

/// Registers a listening socket with this worker's event loop.
#[expect(unsafe_code, reason = "an `OwnedFd` is open, stays the same, and is closed by the `AsyncFd` alone")]
fn register(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the `AsyncFd` from here to its end, and `as_raw_fd` of an
    // `OwnedFd` never changes, which is what `register` asks for.
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
}

/// What an idle connection is given when stopping begins: a request may be on its way.
const IDLE_GRACE: Duration = Duration::from_secs(1);
