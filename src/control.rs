//! The control side: signals, health checks, discovery, admin; on a thread and an event loop of its own.

use std::sync::Arc;

use tokio::{
    runtime::{Builder, LocalOptions},
    signal::unix::{SignalKind, signal},
};

use crate::{
    runtime::{drain::Stage, worker::Shared},
    telemetry::access_log::AccessLog,
    tls::tickets::Tickets,
};

/// Runs the control side until the program may end.
pub fn run(shared: &Arc<Shared>, _tickets: &Arc<Tickets>, log: Option<&AccessLog>) -> Result<(), String> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
        .map_err(|error| format!("cannot start the control loop: {error}"))?;
    runtime.block_on(control(shared, log)).map_err(|error| error.to_string())
}

async fn control(shared: &Arc<Shared>, log: Option<&AccessLog>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reopen = signal(SignalKind::user_defined1())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = reopen.recv() => {
                if let Some(log) = log {
                    log.reopen();
                }
            }
        }
    }
    tracing::info!("draining");
    let timeouts = shared.snapshot.load().config.runtime.clone();
    shared.drain.advance(Stage::Unready);
    let sequence = async {
        tokio::time::sleep(timeouts.drain_delay).await;
        shared.drain.advance(Stage::Draining);
        tokio::time::sleep(timeouts.drain_timeout).await;
    };
    tokio::select! {
        () = sequence => {}
        () = drained(shared) => {}
        _ = terminate.recv() => tracing::warn!("stopping at once"),
        _ = interrupt.recv() => tracing::warn!("stopping at once"),
    }
    shared.drain.advance(Stage::Draining);
    shared.drain.advance(Stage::Closing);
    Ok(())
}

/// Waits until nothing is open while draining.
async fn drained(shared: &Arc<Shared>) {
    let mut stage = shared.drain.subscribe();
    crate::runtime::drain::reached(&mut stage, Stage::Draining).await;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let snapshot = shared.snapshot.load();
        let open = |listener: &crate::runtime::Listener| {
            listener.shared.open.load(std::sync::atomic::Ordering::Relaxed) > 0
        };
        if !snapshot.listeners.iter().any(open) {
            return;
        }
    }
}
