//! Which backend takes the next exchange: the contract of the policies and the closed list of them.
//!
//! Previous stop: `upstream::acquire`; next stop: `upstream::pool`. Everything here is pure: it is
//! given `now` and a seeded generator, and each worker owns its [`Balancer`], so a pick takes no lock,
//! allocates nothing and hashes no string. What workers share is read from [`Backend`]'s atomics.
//!
//! Rules that hold for every policy (see `candidates`): only healthy backends below
//! `max_connections` with a weight are picked; one that was tried in this exchange only when nothing
//! else is left; backups only when no other backend is usable; effective weights follow overrides and
//! slow start; ties never go to the first in the list.

mod backend_stats;
mod bound;
mod candidates;
pub mod conf;
mod consistent_hash;
mod identity;
mod ip_hash;
mod least_bandwidth;
mod least_connections;
mod least_cost;
mod least_response_time;
mod maglev;
mod power_of_two;
mod random;
mod round_robin;
mod schedule;
pub mod sticky;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

pub use self::{
    backend_stats::{BackendStats, Outcome, Traffic},
    conf::Policy,
};
use self::{
    candidates::{Candidates, TIERS, Tier},
    consistent_hash::ConsistentHash,
    ip_hash::IpHash,
    least_bandwidth::LeastBandwidth,
    least_connections::LeastConnections,
    least_response_time::LeastResponseTime,
    maglev::Maglev,
    power_of_two::PowerOfTwo,
    random::Random,
    round_robin::RoundRobin,
};
use crate::{backend::Backend, moment::Moment};

/// What a policy may know of the exchange that needs a backend.
#[derive(Debug)]
pub struct Pick<'a> {
    /// Hash of what the upstream hashes on, made by the caller; used by ip-hash, consistent-hash, maglev.
    pub key: u64,
    /// Indices of the backends already tried in this exchange.
    pub tried: &'a [usize],
    /// The present.
    pub now: Moment,
    /// The worker's generator.
    pub rng: &'a mut fastrand::Rng,
}

/// One worker's balancing state for one upstream.
///
/// Indices are positions in the `backends` slice of the snapshot that it was built for.
#[derive(Debug)]
pub struct Balancer {
    algorithm: Algorithm,
    traffic: Traffic,
}

impl Balancer {
    /// Builds the state of `worker`; its index sets the phase, so that workers do not march in step.
    /// `hash_balance` is the bounded-load factor of the hashing policies; 0 turns the bound off.
    ///
    /// Building a ring or a table takes milliseconds: build once per generation off the workers and
    /// give each its own by [`Balancer::for_worker`].
    pub fn build(policy: Policy, hash_balance: f64, backends: &[Arc<Backend>], worker: usize) -> Self {
        let algorithm = match policy {
            Policy::RoundRobin | Policy::WeightedRoundRobin => {
                Algorithm::RoundRobin(RoundRobin::among_all(backends))
            }
            Policy::LeastConnections => Algorithm::LeastConnections(LeastConnections::build(backends)),
            Policy::LeastResponseTime => Algorithm::LeastResponseTime(LeastResponseTime::build(backends)),
            Policy::LeastBandwidth => Algorithm::LeastBandwidth(LeastBandwidth::build(backends)),
            Policy::IpHash => Algorithm::IpHash(IpHash::build(backends)),
            Policy::ConsistentHash => {
                Algorithm::ConsistentHash(ConsistentHash::build(backends, hash_balance))
            }
            Policy::Maglev => Algorithm::Maglev(Maglev::build(backends, hash_balance)),
            Policy::Random => Algorithm::Random(Random::build(backends)),
            Policy::PowerOfTwo => Algorithm::PowerOfTwo(PowerOfTwo::build(backends)),
        };
        let prototype = Self { algorithm, traffic: Traffic::new(backends.len()) };
        prototype.for_worker(worker)
    }

    /// A fresh state for another worker that shares this one's immutable tables.
    pub fn for_worker(&self, worker: usize) -> Self {
        self.with_rows(worker, (0..self.traffic.len()).map(|_| Arc::default()).collect())
    }

    /// As [`Balancer::for_worker`], measuring into rows that were there before: one for each backend.
    pub fn with_rows(&self, worker: usize, rows: Box<[Arc<BackendStats>]>) -> Self {
        let mut algorithm = self.algorithm.clone();
        if let Some(turns) = algorithm.turns_mut() {
            turns.set_phase(worker);
        }
        Self { algorithm, traffic: Traffic::of(rows) }
    }

    /// The backend for the next attempt, or `None` when none may take it now (the caller queues or
    /// answers 503). The caller counts it in `in_flight` at once.
    #[inline]
    pub fn pick(&mut self, backends: &[Arc<Backend>], pick: Pick<'_>) -> Option<usize> {
        self.pick_fit(backends, pick, false)
    }

    /// The backend for the next attempt when health took all of them out and the upstream is to fail
    /// open (`when_all_down = "use-all"`). `None` while some backend is healthy, and for those that
    /// administration took out.
    #[cold]
    pub fn pick_despite_health(&mut self, backends: &[Arc<Backend>], pick: Pick<'_>) -> Option<usize> {
        if are_all_down(backends, pick.now) { self.pick_fit(backends, pick, true) } else { None }
    }

    #[inline]
    fn pick_fit(&mut self, backends: &[Arc<Backend>], pick: Pick<'_>, despite_health: bool) -> Option<usize> {
        let mut candidates =
            Candidates { backends, tried: pick.tried, now: pick.now, tier: Tier::Primary, despite_health };
        // The first tier holds nearly always; the others are for retries and outages.
        self.algorithm
            .pick(&candidates, pick.key, pick.rng, &self.traffic)
            .or_else(|| self.pick_below(&mut candidates, pick.key, pick.rng))
    }

    #[cold]
    fn pick_below(
        &mut self,
        candidates: &mut Candidates<'_>,
        key: u64,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        for tier in TIERS {
            // As in HAProxy, backends that are merely full do not wake the backups: the caller queues.
            let is_closed = match tier {
                Tier::Primary | Tier::TriedPrimary => false,
                Tier::Backup => candidates.is_any_primary_usable(),
                Tier::TriedBackup => candidates.is_any_primary_available(),
            };
            if is_closed {
                continue;
            }
            candidates.tier = tier;
            let index = self.algorithm.pick(candidates, key, rng, &self.traffic);
            if index.is_some() {
                return index;
            }
        }
        None
    }

    /// An attempt on the backend begins.
    #[inline]
    pub fn on_start(&mut self, index: usize, _now: Moment) {
        self.traffic.count_start(index);
    }

    /// Bytes were forwarded to or from the backend, counted as they go so that one large download
    /// shows at once.
    #[inline]
    pub fn on_bytes(&mut self, index: usize, bytes: u64, now: Moment) {
        self.traffic.add_bytes(index, bytes, now);
    }

    /// An attempt on the backend got its response head, or failed.
    #[inline]
    pub fn on_done(&mut self, index: usize, outcome: &Outcome, now: Moment) {
        self.traffic.add_outcome(index, outcome, now);
    }

    /// Takes the turns from the balancer of the generation before; `map` gives for each new index the old
    /// one. The policy may have changed in between. Averages and counts go on in their [`BackendStats`]s.
    pub fn carry_over(&mut self, old: &Self, map: &[Option<usize>]) {
        if let (Some(turns), Some(old)) = (self.algorithm.turns_mut(), old.algorithm.turns()) {
            turns.carry_over(old, map);
        }
    }

    /// The peak EWMA of the time to the response head; `None` without a sample.
    pub fn average(&self, index: usize, now: Moment) -> Option<Duration> {
        self.traffic.average(index, now)
    }

    /// Bytes per second in both directions.
    pub fn bandwidth(&self, index: usize, now: Moment) -> f64 {
        self.traffic.bandwidth(index, now)
    }

    /// What this worker measured; written by this worker only, to be read by any thread.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

/// Whether no backend is healthy. One without a weight gets nothing new, healthy or not: it counts as none.
pub fn are_all_down(backends: &[Arc<Backend>], now: Moment) -> bool {
    !backends.iter().any(|backend| backend.is_healthy(now) && backend.weight_at(now) > 0)
}

/// What there is for an exchange that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// A backend.
    Free,
    /// Backends that are full.
    Full,
    /// Nothing, as long as health and administration let none have it.
    Nothing,
}

/// What there is for an exchange that has tried none; `uses_all` is whether those are used that health took out where it
/// took out all.
pub fn outlook(backends: &[Arc<Backend>], uses_all: bool, now: Moment) -> Outlook {
    let is_down = are_all_down(backends, now);
    if is_any_free(backends, now, is_down && uses_all) {
        return Outlook::Free;
    }
    let is_enabled = |backend: &Arc<Backend>| backend.is_enabled() && backend.weight_at(now) > 0;
    match is_down && !(uses_all && backends.iter().any(is_enabled)) {
        true => Outlook::Nothing,
        false => Outlook::Full,
    }
}

/// Whether a pick would give an exchange a backend that has tried none.
pub fn is_any_free(backends: &[Arc<Backend>], now: Moment, despite_health: bool) -> bool {
    let tried = &[];
    let mut candidates = Candidates { backends, tried, now, tier: Tier::Primary, despite_health };
    let has_one = |candidates: &Candidates<'_>| candidates.iter().next().is_some();
    if has_one(&candidates) {
        return true;
    }
    candidates.tier = Tier::Backup;
    !candidates.is_any_primary_available() && has_one(&candidates)
}

/// The closed list of algorithms; each in the file of its name.
#[derive(Clone, Debug)]
enum Algorithm {
    RoundRobin(RoundRobin),
    LeastConnections(LeastConnections),
    LeastResponseTime(LeastResponseTime),
    LeastBandwidth(LeastBandwidth),
    IpHash(IpHash),
    ConsistentHash(ConsistentHash),
    Maglev(Maglev),
    Random(Random),
    PowerOfTwo(PowerOfTwo),
}

impl Algorithm {
    #[inline]
    fn pick(
        &mut self,
        candidates: &Candidates<'_>,
        key: u64,
        rng: &mut fastrand::Rng,
        traffic: &Traffic,
    ) -> Option<usize> {
        match self {
            Self::RoundRobin(policy) => policy.pick(candidates),
            Self::LeastConnections(policy) => policy.pick(candidates),
            Self::LeastResponseTime(policy) => policy.pick(candidates, rng, traffic),
            Self::LeastBandwidth(policy) => policy.pick(candidates, rng, traffic),
            Self::IpHash(policy) => policy.pick(candidates, key),
            Self::ConsistentHash(policy) => policy.pick(candidates, key),
            Self::Maglev(policy) => policy.pick(candidates, key),
            Self::Random(policy) => policy.pick(candidates, rng),
            Self::PowerOfTwo(policy) => policy.pick(candidates, rng),
        }
    }

    /// The turns of smooth weighted round robin, which decide or break ties.
    fn turns(&self) -> Option<&RoundRobin> {
        match self {
            Self::RoundRobin(turns) => Some(turns),
            Self::LeastConnections(policy) => Some(&policy.turns),
            Self::LeastResponseTime(policy) => Some(&policy.turns),
            Self::LeastBandwidth(policy) => Some(&policy.turns),
            Self::IpHash(_)
            | Self::ConsistentHash(_)
            | Self::Maglev(_)
            | Self::Random(_)
            | Self::PowerOfTwo(_) => None,
        }
    }

    fn turns_mut(&mut self) -> Option<&mut RoundRobin> {
        match self {
            Self::RoundRobin(turns) => Some(turns),
            Self::LeastConnections(policy) => Some(&mut policy.turns),
            Self::LeastResponseTime(policy) => Some(&mut policy.turns),
            Self::LeastBandwidth(policy) => Some(&mut policy.turns),
            Self::IpHash(_)
            | Self::ConsistentHash(_)
            | Self::Maglev(_)
            | Self::Random(_)
            | Self::PowerOfTwo(_) => None,
        }
    }
}
