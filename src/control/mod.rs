//! The control side: signals, health checks, discovery, admin; on a thread and an event loop of its own.
//!
//! Started by `app` once the workers run. Nothing here waits for a name server or a backend before the
//! proxy serves: what takes time is a task of its own. The admin endpoint answers for as long as the loop
//! turns, through draining to the end.

mod background;
mod checks;
mod collector;
mod notify;
mod stop;
mod traces;

use std::{io, sync::Arc};

use tokio::{
    runtime::{Builder, LocalOptions, LocalRuntime},
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    admin::{Admin, server},
    runtime::worker::Shared,
    telemetry::access_log::AccessLog,
    tls::tickets::Tickets,
};

/// What the control side works with.
#[derive(Debug)]
pub struct Control<'a> {
    /// What it shares with the workers.
    pub shared: Arc<Shared>,
    /// Keys of TLS session tickets, which it rotates.
    pub tickets: Arc<Tickets>,
    /// The access log, which it has reopened.
    pub log: Option<&'a AccessLog>,
    /// The admin endpoint and where it listens, when there is one.
    pub admin: Option<(Arc<Admin>, server::Socket)>,
}

/// The control side's event loop, which signals wait in. To be made before anything tells that the
/// program is there: until then a signal ends it, as is every program's default.
#[derive(Debug)]
pub struct Loop {
    runtime: LocalRuntime,
    signals: Signals,
}

impl Loop {
    /// Makes the loop, and catches signals from now on. The error is for people.
    pub fn new() -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot start the control loop: {error}");
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build_local(LocalOptions::default())
            .map_err(failed)?;
        let signals = runtime.block_on(async { Signals::new() }).map_err(failed)?;
        Ok(Self { runtime, signals })
    }
}

impl Control<'_> {
    /// Runs the control side until the program may end.
    pub fn run(self, Loop { runtime, signals }: Loop) -> Result<(), String> {
        runtime.block_on(self.serve(signals)).map_err(|error| error.to_string())
    }

    async fn serve(mut self, mut signals: Signals) -> io::Result<()> {
        if let Some((admin, socket)) = self.admin.take() {
            tokio::task::spawn_local(server::run(admin, socket.listen()?));
        }
        background::start(&self.shared, self.tickets.clone());
        let exporter = traces::start(&self.shared);
        notify::ready();
        loop {
            match signals.next().await {
                Asked::Stop => break,
                Asked::ReopenLogs => {
                    if let Some(log) = self.log {
                        log.reopen();
                    }
                }
                Asked::Reload => tracing::warn!("SIGHUP: this version does not reload; restart it instead"),
                Asked::Upgrade => {
                    tracing::warn!("SIGUSR2: this version does not hand over; restart it instead");
                }
            }
        }
        notify::stopping();
        stop::drain(&self.shared, signals.stop()).await;
        traces::finish(&self.shared, exporter).await;
        Ok(())
    }
}

/// The signals that are listened to. Each is caught from here on, also one that does nothing yet: its
/// default would end the process.
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
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

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
