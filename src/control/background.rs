//! What the control side does by the clock: discovery, health checks, the end of ejections, ticket
//! keys, the watchdog.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::spawn_local,
    time::{MissedTickBehavior, interval},
};

use super::{checks::ActiveChecks, notify};
use crate::{
    moment::Moment,
    runtime::{Snapshot, worker::Shared},
    tls::tickets::Tickets,
    upstream::discover::Discovery,
};

/// How often ended ejections are looked for.
const SETTLE: Duration = Duration::from_secs(1);

/// How often ticket keys are looked at; they are much older when they are replaced.
const ROTATE: Duration = Duration::from_secs(60);

/// What follows the configuration.
#[derive(Debug)]
pub(super) struct Followers {
    checks: ActiveChecks,
    discovery: Discovery,
}

impl Followers {
    /// Of the current generation, on the control loop.
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let mut all = Self { checks: ActiveChecks::default(), discovery: Discovery::of_system() };
        all.set(snapshot);
        all
    }

    /// Goes on with another generation.
    pub(super) fn set(&mut self, snapshot: &Snapshot) {
        self.discovery.set(snapshot.upstreams.iter().flat_map(|upstream| &upstream.backends));
        self.checks.set(snapshot);
    }
}

/// Starts what the clock alone drives, on the control loop.
pub(super) fn start(shared: &Arc<Shared>, tickets: Arc<Tickets>) {
    let settled = shared.clone();
    spawn_local(every(SETTLE, move || settle(&settled.snapshot.load(), Moment::now())));
    spawn_local(every(ROTATE, move || {
        if tickets.rotate(Moment::now()) {
            tracing::debug!("new key for TLS session tickets");
        }
    }));
    if let Some(period) = notify::watchdog() {
        spawn_local(every(period, notify::alive));
    }
}

/// Logs the ejections that are over.
fn settle(snapshot: &Snapshot, now: Moment) {
    for upstream in &snapshot.upstreams {
        upstream.passive.settle(now).iter().for_each(|change| upstream.log_change(change));
    }
}

async fn every(period: Duration, mut act: impl FnMut()) {
    let mut turns = interval(period);
    // After the machine slept, once is enough.
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        act();
    }
}
