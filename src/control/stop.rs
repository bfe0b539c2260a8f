//! Stopping by and by: unready, draining, closing.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::Signals;
use crate::runtime::{
    Listener,
    drain::{Stage, reached},
    worker::Shared,
};

/// Goes through the stages: `drain_delay` while connections are still accepted, then until nothing is
/// open or `drain_timeout` is over. To be asked for once more cuts it short.
pub(super) async fn drain(shared: &Arc<Shared>, signals: &mut Signals) {
    let timeouts = shared.snapshot.load().config.runtime.clone();
    tracing::info!(delay = ?timeouts.drain_delay, timeout = ?timeouts.drain_timeout, "draining");
    shared.drain.advance(Stage::Unready);
    let sequence = async {
        tokio::time::sleep(timeouts.drain_delay).await;
        shared.drain.advance(Stage::Draining);
        tokio::time::sleep(timeouts.drain_timeout).await;
    };
    tokio::select! {
        () = sequence => tracing::warn!(open = open(shared), "the time to drain is over: closing what is left"),
        () = drained(shared) => tracing::info!("drained"),
        () = signals.stop() => tracing::warn!(open = open(shared), "stopping at once"),
    }
    shared.drain.advance(Stage::Draining);
    shared.drain.advance(Stage::Closing);
}

/// Waits until nothing is open while draining.
async fn drained(shared: &Arc<Shared>) {
    let mut stage = shared.drain.subscribe();
    reached(&mut stage, Stage::Draining).await;
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if open(shared) <= 0 {
            return;
        }
    }
}

/// Open connections of all listeners.
fn open(shared: &Shared) -> i64 {
    let open = |listener: &Listener| listener.shared.open.load(Relaxed);
    shared.snapshot.load().listeners.iter().map(open).sum()
}
