//! The control side: signals, health checks, discovery, admin; on a thread and an event loop of its own.
//!
//! Started by `app` once the workers run. Nothing here waits for a name server or a backend before the
//! proxy serves: what takes time is a task of its own. The admin endpoint answers for as long as the loop
//! turns, through draining to the end.

mod background;
mod checks;
mod collector;
mod fitness;
mod fleet;
mod memory;
mod notify;
mod peers;
mod predecessor;
mod predecessor_sessions;
mod stop;
mod traces;

use std::{io, sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, LocalOptions, LocalRuntime},
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::UnboundedReceiver,
    task::{JoinHandle, spawn_local},
};

pub use self::predecessor::TakeOver;
use self::{background::Followers, peers::Peers};
use crate::{
    admin::{Admin, access::Scope, server},
    cluster::role::Role,
    config::Config,
    listen::{
        admin_sockets::{self, Each},
        yielding,
    },
    reload::{
        Cause, Reloader,
        engine::{Engine, Event},
    },
    runtime::{drain::Stage, worker::Shared},
    telemetry::access_log::AccessLog,
    tls::tickets::Tickets,
};

/// What the control side works with.
#[derive(Debug)]
pub struct Control {
    /// What it shares with the workers.
    pub shared: Arc<Shared>,
    /// Keys of TLS session tickets, which it rotates.
    pub tickets: Arc<Tickets>,
    /// The access log, which it has reopened.
    pub log: Arc<AccessLog>,
    /// Makes generations.
    pub engine: Engine,
    /// The way to ask it to.
    pub reloader: Reloader,
    /// What it reports.
    pub events: UnboundedReceiver<Event>,
    /// What the admin endpoint reports.
    pub admin: Arc<Admin>,
    /// Where the admin endpoint listens, when there is one.
    pub sockets: Each<Option<server::Socket>>,
    /// What there is to take over from a program before this one.
    pub take_over: TakeOver,
}

/// The loop of the control side before there is one: signals that ask a running program for something wait in it. To be
/// made first of all: until then each ends the program, as is every program's default, and `killall -USR1` reaches a
/// program that reads its configuration still.
#[derive(Debug)]
pub struct Early {
    runtime: LocalRuntime,
    hang_up: Signal,
    reopen: Signal,
    upgrade: Signal,
}

impl Early {
    /// Makes the loop, and catches these signals from now on. The error is for people.
    pub fn new() -> Result<Self, String> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build_local(LocalOptions::default())
            .map_err(no_loop)?;
        let caught = runtime.block_on(async {
            // A file that is as large as this process may make one is a write that fails, and not the end of all.
            let _caught_from_here_on = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
            let hang_up = signal(SignalKind::hangup())?;
            let reopen = signal(SignalKind::user_defined1())?;
            io::Result::Ok((hang_up, reopen, signal(SignalKind::user_defined2())?))
        });
        let (hang_up, reopen, upgrade) = caught.map_err(no_loop)?;
        Ok(Self { runtime, hang_up, reopen, upgrade })
    }
}

fn no_loop(error: io::Error) -> String {
    format!("cannot start the control loop: {error}")
}

/// The control side's event loop, which signals wait in. To be made before anything says that the
/// program is there: until then one that asks it to stop ends it at once.
#[derive(Debug)]
pub struct Loop {
    runtime: LocalRuntime,
    signals: Signals,
}

impl Loop {
    /// Catches the signals that are left, too. The error is for people.
    pub fn new(early: Early) -> Result<Self, String> {
        let Early { runtime, hang_up, reopen, upgrade } = early;
        let caught = runtime.block_on(async {
            io::Result::Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
        });
        let (terminate, interrupt) = caught.map_err(no_loop)?;
        Ok(Self { runtime, signals: Signals { terminate, interrupt, hang_up, reopen, upgrade } })
    }
}

/// How long what was begun beside the loop may take at the end.
const LAST: Duration = Duration::from_secs(1);

impl Control {
    /// Runs the control side until the program may end.
    pub fn run(self, Loop { runtime, signals }: Loop) -> Result<(), String> {
        let shared = self.shared.clone();
        let result = runtime.block_on(self.serve(signals)).map_err(|error| error.to_string());
        end_workers(&shared);
        // A thread beside it may hang: in a file that cannot be read, or with a program that was to follow.
        runtime.shutdown_timeout(LAST);
        result
    }

    async fn serve(self, mut signals: Signals) -> io::Result<()> {
        let Self { shared, tickets, log, engine, reloader, mut events, admin, sockets, take_over } = self;
        let mut serving = Each::<Option<Serving>>::default();
        follow(&mut serving, &admin, &shared.snapshot.load().config, sockets)?;
        let mut followers = Followers::new(&shared.snapshot.load(), &reloader);
        background::start(&shared, tickets.clone(), admin.clone());
        peers::start(Peers { shared: shared.clone(), tickets: tickets.clone(), admin: admin.clone() });
        let (successor, socket_files) = (engine.successor(), engine.socket_files());
        let engine = take_over.begin(engine, shared.clone());
        let exporter = traces::start(&shared);
        notify::ready();
        let mut is_handed_over = false;
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop => break,
                    Asked::ReopenLogs => log.reopen(),
                    Asked::Reload => drop(spawn_local(reload(reloader.clone()))),
                    // How it went is in the log.
                    Asked::Upgrade => drop(spawn_local({
                        let reloader = reloader.clone();
                        async move { reloader.upgrade().await }
                    })),
                },
                Some(event) = events.recv() => match event {
                    Event::HandedOver(pid) => {
                        tracing::info!(pid, "handed over");
                        notify::main_process(pid);
                        successor.hand_over();
                        is_handed_over = true;
                        break;
                    }
                    Event::Published(snapshot, bound) => {
                        followers.set(&snapshot);
                        shared.registry.cluster.set(snapshot.config.cluster.as_ref(), None);
                        let conf = snapshot.config.admin.as_ref();
                        admin.set_access(conf, bound.whole.as_ref().map(|bound| bound.address.as_str()));
                        let next = server::Socket::of(conf, bound, &socket_files);
                        // What is in force is not without checks, signals and reloads for that.
                        if let Err(error) = follow(&mut serving, &admin, &snapshot.config, next) {
                            tracing::error!(
                                "the admin endpoint cannot be served at its new address: {error}; set another, or restart"
                            );
                        }
                    }
                },
            }
        }
        engine.abort();
        if is_handed_over {
            socket_files.leave();
            // The next program answers there.
            drop(std::mem::take(&mut serving));
        } else {
            notify::stopping();
            successor.stop();
        }
        let at_once = async {
            signals.stop().await;
            successor.stop();
        };
        // Before anything is refused: clients come to another node from here on, or to the next program.
        let cluster = &shared.registry.cluster;
        let has_addresses = cluster.status().is_on() && cluster.status().role() == Role::Primary;
        if has_addresses && !is_handed_over {
            yielding::prepare(admin.mailboxes()).await;
        }
        cluster.leave(is_handed_over).await;
        yielding::end(admin.mailboxes());
        stop::drain(&shared, is_handed_over, &successor, at_once).await;
        socket_files.remove_all();
        traces::finish(&shared, exporter).await;
        Ok(())
    }
}

/// The admin endpoint.
#[derive(Debug)]
struct Serving {
    task: JoinHandle<()>,
    /// Of a unix socket; it is removed with this.
    _file: Option<server::File>,
}

impl Serving {
    fn begin(admin: &Arc<Admin>, socket: server::Socket, scope: Scope) -> io::Result<Self> {
        let (listener, file) = socket.listen()?;
        Ok(Self { task: spawn_local(server::run(admin.clone(), listener, scope)), _file: file })
    }

    /// Goes on at another socket, or none, where it is another, or where that cannot be served. Answers under way over the
    /// old one are finished.
    fn follow(
        serving: &mut Option<Self>,
        admin: &Arc<Admin>,
        is_wanted: bool,
        next: Option<server::Socket>,
        scope: Scope,
    ) -> io::Result<()> {
        let next = match next.map(|socket| Self::begin(admin, socket, scope)).transpose() {
            Ok(next) => next,
            Err(error) => {
                // Who may ask is what the new configuration says already, everyone at a unix socket: not where it was before.
                *serving = None;
                return Err(error);
            }
        };
        if next.is_some() || !is_wanted {
            *serving = next;
        }
        Ok(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Has the workers end, which they have unless the control side could not go on: nobody would look after them.
fn end_workers(shared: &Shared) {
    shared.drain.advance(Stage::Draining);
    shared.drain.advance(Stage::Closing);
}

/// Goes on at other sockets of the admin endpoint.
fn follow(
    serving: &mut Each<Option<Serving>>,
    admin: &Arc<Admin>,
    config: &Config,
    next: Each<Option<server::Socket>>,
) -> io::Result<()> {
    let wanted = admin_sockets::addresses(config);
    let Each { whole, metrics } = serving;
    let whole = Serving::follow(whole, admin, wanted.whole.is_some(), next.whole, Scope::Everything);
    // Each for itself: one that cannot be had leaves the other where it is to be.
    whole.and(Serving::follow(metrics, admin, wanted.metrics.is_some(), next.metrics, Scope::Metrics))
}

/// Reloads because of `SIGHUP`, and notifies the service manager when it is over.
async fn reload(reloader: Reloader) {
    notify::reloading();
    // How it went is in the log; what was in force goes on if it went wrong.
    drop(reloader.reload(Cause::Signal).await);
    notify::ready();
}

/// The signals that are listened to. Each is caught, also one that does nothing yet: its default would end the process.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    reopen: Signal,
    upgrade: Signal,
}

/// What a signal asks for.
enum Asked {
    Stop,
    Reload,
    ReopenLogs,
    Upgrade,
}

impl Signals {
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hang_up.recv() => Asked::Reload,
            _ = self.reopen.recv() => Asked::ReopenLogs,
            _ = self.upgrade.recv() => Asked::Upgrade,
        }
    }

    /// Waits until stopping is asked for, whatever else is.
    async fn stop(&mut self) {
        while !matches!(self.next().await, Asked::Stop) {}
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        fs::File,
        net::{SocketAddr, TcpListener},
    };

    use rustix::fs::{OFlags, fcntl_setfl};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;
    use crate::{
        admin::{
            access::Access,
            tests::{CONFIG, shared},
        },
        listen::mailbox::Mailboxes,
    };

    /// A generation is in force when it comes to its sockets: what cannot be had of them ends nothing.
    #[test]
    fn socket_that_cannot_be_served_ends_nothing_else() {
        LocalRuntime::new().unwrap().block_on(async {
            let shared = shared(CONFIG);
            let snapshot = shared.snapshot.load_full();
            let config = &snapshot.config;
            let reloader = Reloader::without_engine(CONFIG, HashMap::new());
            let admin = Admin::new(shared.clone(), Access::Nobody, reloader, Mailboxes::new(Vec::new()));
            let (admin, mut serving) = (Arc::new(admin), Each::default());
            let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
            listeners.iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
            let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
            let [first, second] = listeners.map(|it| Some(server::Socket::of_descriptor(it.into())));
            follow(&mut serving, &admin, config, Each { whole: first, metrics: None }).unwrap();
            // No event loop takes a file.
            let file = File::open(std::env::current_exe().unwrap()).unwrap();
            fcntl_setfl(&file, OFlags::NONBLOCK).unwrap();
            let broken = Some(server::Socket::of_descriptor(file.into()));
            assert!(follow(&mut serving, &admin, config, Each { whole: broken, metrics: second }).is_err());
            // Else who has no token could ask over the one before.
            assert!(!is_answered(addresses[0]).await);
            assert!(is_answered(addresses[1]).await);
        });
    }

    /// Whether somebody answers there, whatever they say.
    async fn is_answered(address: SocketAddr) -> bool {
        let answer = async {
            let mut client = TcpStream::connect(address).await?;
            client.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.map(|_| answer)
        };
        answer.await.is_ok_and(|answer: String| answer.starts_with("HTTP/1.1 "))
    }
}
