//! What the control side does by the clock: discovery, health checks, the end of ejections, ticket
//! keys, the watchdog.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::{spawn_blocking, spawn_local},
    time::{MissedTickBehavior, interval},
};

use super::{checks::ActiveChecks, memory, notify};
use crate::{
    admin::{Admin, traffic::history},
    moment::Moment,
    reload::Reloader,
    runtime::{Snapshot, worker::Shared},
    telemetry::{metrics::HistogramSum, recent_latency},
    tls::tickets::Tickets,
    upstream::{
        conf::NameAddresses,
        discover::{Candidate, Discovery},
    },
};

/// How often ended ejections are looked for.
const END_EJECTIONS: Duration = Duration::from_secs(1);

/// How often ticket keys are looked at; they are much older when they are replaced.
const ROTATE: Duration = Duration::from_secs(60);

/// How often it is looked whether caches have something that nobody asks for.
const REMOVE_INACTIVE: Duration = Duration::from_millis(500);

/// How often memory that is free goes back to the system.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// What follows the configuration.
#[derive(Debug)]
pub(super) struct Followers {
    checks: ActiveChecks,
    discovery: Discovery,
}

impl Followers {
    /// Of the current generation, on the control loop.
    pub(super) fn new(snapshot: &Snapshot, reloader: &Reloader) -> Self {
        let reloader = reloader.clone();
        let discovery = Discovery::of_system(Arc::new(move |found| reloader.found(found)));
        let mut all = Self { checks: ActiveChecks::default(), discovery };
        all.set(snapshot);
        all
    }

    /// Goes on with another generation.
    pub(super) fn set(&mut self, snapshot: &Snapshot) {
        let candidates = snapshot.upstreams.iter().flat_map(|upstream| {
            upstream.backends.iter().zip(&upstream.conf.backend).map(|(backend, conf)| Candidate {
                upstream: &upstream.conf.name,
                backend,
                is_each: conf.addresses == NameAddresses::Each,
            })
        });
        self.discovery.set(candidates);
        self.checks.set(snapshot);
    }
}

/// Starts what the clock alone drives, on the control loop.
pub(super) fn start(shared: &Arc<Shared>, tickets: Arc<Tickets>, admin: Arc<Admin>) {
    spawn_local(every(history::EVERY, move || admin.note_traffic()));
    let watched = shared.clone();
    spawn_local(every(END_EJECTIONS, move || end_ejections(&watched.snapshot.load(), Moment::now())));
    spawn_local(every(ROTATE, move || {
        if tickets.rotate(Moment::now()) {
            tracing::debug!("new key for TLS session tickets");
        }
    }));
    let measured = shared.clone();
    spawn_local(every(recent_latency::EVERY, move || take_latencies(&measured.snapshot.load())));
    let cached = shared.clone();
    spawn_local(every(REMOVE_INACTIVE, move || remove_inactive(&cached.snapshot.load())));
    spawn_local(every(GIVE_BACK, memory::give_back));
    if let Some(period) = notify::watchdog() {
        spawn_local(every(period, notify::alive));
    }
}

/// Logs the ejections that are over, and has those called who wait for a backend that takes exchanges again, be it for
/// that or for another configuration.
fn end_ejections(snapshot: &Snapshot, now: Moment) {
    for upstream in &snapshot.upstreams {
        upstream.passive.report_ended(now).iter().for_each(|change| upstream.log_change(change));
        upstream.queue.call_if_free(now);
    }
}

/// Has caches let go of what nobody asks for, beside this loop.
fn remove_inactive(snapshot: &Snapshot) {
    for cache in snapshot.caches.iter().filter(|cache| cache.watches_inactive()) {
        let (cache, now) = (cache.clone(), Moment::now());
        drop(spawn_blocking(move || cache.remove_inactive(now)));
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

/// Notes how long each backend has taken to answer so far.
fn take_latencies(snapshot: &Snapshot) {
    for upstream in &snapshot.upstreams {
        for (index, backend) in upstream.backends.iter().enumerate() {
            let mut sum = HistogramSum::default();
            for own in upstream.own.iter().filter_map(|own| own.get(index)) {
                own.series.response.add_to(&mut sum);
            }
            backend.shared.latency.take(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::Ordering::Relaxed,
        task::{Context, Waker},
    };

    use super::*;
    use crate::{
        admin::tests::{CONFIG, shared},
        backend::Backend,
        upstream::queue::Fleet,
    };

    /// Another backend, of the same settings.
    fn apart(backend: &Backend) -> Backend {
        let (name, address) = (backend.name.clone(), backend.address.clone());
        Backend { name, address, shared: Arc::default(), ..*backend }
    }

    #[test]
    fn who_waits_is_called_when_an_ejection_is_over() {
        let snapshot = shared(CONFIG).snapshot.load_full();
        let upstream = &snapshot.upstreams[1];
        upstream.queue.set_most(1);
        // There is another, which is full.
        let full = Backend { max_connections: 1, ..apart(&upstream.backends[0]) };
        full.shared.in_flight.0.store(1, Relaxed);
        let fleet: Fleet = Arc::new([upstream.backends[0].clone(), full.into()]);
        let waits = upstream.queue.join(&fleet, None).unwrap();
        let now = Moment::now();
        let until = now.plus(Duration::from_secs(30));
        upstream.backends[0].shared.ejected_until.store(until.0, Relaxed);
        let is_called = || waits.poll_called(&mut Context::from_waker(Waker::noop())).is_ready();
        end_ejections(&snapshot, now);
        assert!(!is_called());
        end_ejections(&snapshot, until);
        assert!(is_called());
    }
}
