//! Balancing: every policy, on several workers that share the backends' counts, while backends come and go.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    fleet,
    seeds::{World, run},
};
use crate::{
    backend::{Admin, Backend, Probed},
    balance::{self, Balancer, Outcome, Pick, Policy},
    moment::Moment,
};

/// With a bound that did not hold among backups.
const ONCE_FAILED: &[u64] = &[119];

/// What is built once for many seeds, since a ring or a table takes milliseconds.
struct Prototype {
    policy: Policy,
    bound: f64,
    backends: Vec<Arc<Backend>>,
    balancer: Balancer,
}

impl Prototype {
    fn new(policy: Policy, world: &mut World) -> Self {
        let backends = fleet::mixed(world, 10);
        let bound = world.one_of(&[0.0, 1.0, 1.25, 2.0]);
        Self { balancer: Balancer::build(policy, bound, &backends, 0), policy, bound, backends }
    }

    fn is_by_key(&self) -> bool {
        matches!(self.policy, Policy::IpHash | Policy::ConsistentHash | Policy::Maglev)
    }

    fn of_every_policy() -> Vec<Self> {
        let world = &mut World::of_chance(1);
        let policies = Policy::ALL.iter().flat_map(|(policy, ..)| [*policy; 8]);
        policies.map(|policy| Self::new(policy, world)).collect()
    }
}

struct Upstream<'a> {
    prototype: &'a Prototype,
    backends: Vec<Arc<Backend>>,
    workers: Vec<Balancer>,
    /// Worker and backend of each exchange.
    in_flight: Vec<(usize, usize)>,
}

impl Upstream<'_> {
    fn pick(&mut self, world: &mut World) {
        let worker = world.rng.usize(0..self.workers.len());
        let all = 0..self.backends.len();
        let tried: Vec<usize> = match world.chance(30) {
            true => all.filter(|_| world.rng.bool()).collect(),
            false => Vec::new(),
        };
        let despite_health = world.chance(10);
        let (key, now) = (world.rng.u64(0..20), world.now);
        let has_standing = self.backends.iter().any(|backend| fleet::stands(backend, now, false));
        let allowed = match despite_health && has_standing {
            true => Vec::new(),
            false => fleet::allowed(&self.backends, &tried, now, despite_health),
        };
        let mut ask = |rng: &mut fastrand::Rng| {
            let pick = Pick { key, tried: &tried, now, rng };
            match despite_health {
                true => self.workers[worker].pick_despite_health(&self.backends, pick),
                false => self.workers[worker].pick(&self.backends, pick),
            }
        };
        let picked = ask(&mut world.rng);
        // Nothing changed between the two.
        let again = self.prototype.is_by_key().then(|| ask(&mut world.rng));
        world.record(|| format!("worker {worker}, key {key}, tried {tried:?}: {picked:?} of {allowed:?}"));
        assert_eq!(picked.is_some(), !allowed.is_empty(), "one is picked when one may be");
        let Some(index) = picked else { return };
        assert!(allowed.contains(&index), "not one that may be picked");
        let is_free = !fleet::allowed(&self.backends, &[], now, false).is_empty();
        assert_eq!(balance::is_any_free(&self.backends, now, false), is_free);
        assert!(again.is_none_or(|again| again == picked), "a key goes where it went");
        self.hold_policy(&allowed, index, now);
        self.begin(worker, index, now);
    }

    /// What a policy promises of the one that it picked.
    fn hold_policy(&self, allowed: &[usize], index: usize, now: Moment) {
        let load = |index: usize| u64::from(self.backends[index].in_flight());
        let weight = |index: usize| u64::from(self.backends[index].weight_at(now));
        match self.prototype.policy {
            Policy::LeastConnections => {
                let is_least = |other: &usize| load(index) * weight(*other) <= load(*other) * weight(index);
                assert!(allowed.iter().all(is_least), "the least load by weight");
            }
            Policy::ConsistentHash | Policy::Maglev if self.prototype.bound > 0.0 => {
                let total: u64 = allowed.iter().map(|index| load(*index)).sum();
                let weights: u64 = allowed.iter().map(|index| weight(*index)).sum();
                let fair = (total + 1) as f64 * weight(index) as f64 / weights as f64;
                let most = (self.prototype.bound * fair - 1e-6).ceil();
                assert!(
                    (load(index) as f64) < most,
                    "{} in flight at {index}, of at most {most}",
                    load(index)
                );
            }
            _ => {}
        }
    }

    fn begin(&mut self, worker: usize, index: usize, now: Moment) {
        self.backends[index].shared.in_flight.0.fetch_add(1, Relaxed);
        self.workers[worker].on_start(index, now);
        self.in_flight.push((worker, index));
    }

    fn end(&mut self, world: &mut World) {
        if self.in_flight.is_empty() {
            return;
        }
        let at = world.rng.usize(0..self.in_flight.len());
        let (worker, index) = self.in_flight.swap_remove(at);
        let elapsed = Duration::from_micros(world.one_of(&[0, 10, 10_000, 3_000_000]));
        let outcome = Outcome { elapsed, failed: world.chance(20) };
        world.record(|| format!("worker {worker}: {index}: {outcome:?}"));
        let balancer = &mut self.workers[worker];
        balancer.on_bytes(index, world.one_of(&[0, 1, 1 << 40]), world.now);
        balancer.on_done(index, &outcome, world.now);
        self.backends[index].shared.in_flight.0.fetch_sub(1, Relaxed);
        let average = balancer.average(index, world.now);
        assert!(average.is_some_and(|it| it <= Duration::from_secs(60)), "{average:?}");
        assert!(
            !outcome.failed || average >= Some(Duration::from_millis(99)),
            "a failure must not look fast"
        );
        let bandwidth = balancer.bandwidth(index, world.now);
        assert!(bandwidth.is_finite() && bandwidth >= 0.0);
    }

    fn change(&self, world: &mut World) {
        let index = world.rng.usize(0..self.backends.len());
        let backend = &self.backends[index];
        match world.rng.u8(0..4) {
            0 => {
                let probed = world.one_of(&[Probed::Up, Probed::Down]);
                world.record(|| format!("{index}: {probed:?}"));
                fleet::set_probed(backend, probed);
                backend.shared.up_since.store(world.now.0, Relaxed);
            }
            1 => {
                let admin = world.one_of(&[Admin::Enabled, Admin::Enabled, Admin::Draining]);
                world.record(|| format!("{index}: {admin:?}"));
                fleet::set_admin(backend, admin);
            }
            2 => {
                let until = world.now.plus(Duration::from_secs(world.rng.u64(0..60)));
                world.record(|| format!("{index}: ejected until {}", until.0));
                backend.shared.ejected_until.store(until.0, Relaxed);
                backend.shared.up_since.fetch_max(until.0, Relaxed);
            }
            _ => world.wait(Duration::from_secs(60)),
        }
    }
}

fn simulate(prototypes: &[Prototype], world: &mut World) {
    let prototype = &prototypes[world.rng.usize(0..prototypes.len())];
    world.record(|| format!("{:?}, bound {}", prototype.policy, prototype.bound));
    let backends = prototype.backends.iter().map(|backend| {
        // Counts of its own, at the address that the tables are made of.
        let shared = Arc::default();
        Arc::new(Backend { shared, ..fleet::again(backend) })
    });
    let mut upstream = Upstream {
        prototype,
        backends: backends.collect(),
        workers: (0..world.rng.usize(1..=3)).map(|worker| prototype.balancer.for_worker(worker)).collect(),
        in_flight: Vec::new(),
    };
    for _ in 0..world.rng.usize(10..80) {
        match world.rng.u8(0..10) {
            0..5 => upstream.pick(world),
            5..8 => upstream.end(world),
            _ => upstream.change(world),
        }
    }
}

#[test]
fn balance() {
    let prototypes = Prototype::of_every_policy();
    run("balance", ONCE_FAILED, |world| simulate(&prototypes, world));
}
