//! The property suite that every policy passes, and what they share: a fleet to pick from.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::backend::{Address, Admin, Probed, Shared};

mod hashing;
mod simulation;
mod turns;

/// A backend named and addressed by its index.
fn backend(index: usize, weight: u32) -> Backend {
    Backend {
        name: format!("b{index}").into(),
        address: Address::Host { host: format!("10.0.{}.{}", index / 250, index % 250).into(), port: 8080 },
        weight,
        max_connections: 0,
        backup: false,
        slow_start: Duration::ZERO,
        shared: Arc::new(Shared::default()),
    }
}

fn fleet(weights: &[u32]) -> Vec<Arc<Backend>> {
    let indexed = weights.iter().enumerate();
    indexed.map(|(index, weight)| Arc::new(backend(index, *weight))).collect()
}

fn set_in_flight(backend: &Backend, count: u32) {
    backend.shared.in_flight.0.store(count, Relaxed);
}

fn set_probed(backend: &Backend, probed: Probed) {
    backend.shared.probed.store(probed as u8, Relaxed);
}

/// A pick with nothing tried, at one second, with a key from the generator.
fn pick(balancer: &mut Balancer, fleet: &[Arc<Backend>], rng: &mut fastrand::Rng) -> Option<usize> {
    pick_at(balancer, fleet, rng, NOW)
}

fn pick_at(
    balancer: &mut Balancer,
    fleet: &[Arc<Backend>],
    rng: &mut fastrand::Rng,
    now: Moment,
) -> Option<usize> {
    let key = rng.u64(..);
    let tried = &[];
    balancer.pick(fleet, Pick { key, tried, now, rng })
}

/// How many of `picks` each backend gets, all of them ending at once.
fn shares(balancer: &mut Balancer, fleet: &[Arc<Backend>], picks: usize) -> Vec<f64> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut counts = vec![0; fleet.len()];
    for _ in 0..picks {
        counts[pick(balancer, fleet, &mut rng).unwrap()] += 1;
    }
    counts.iter().map(|count| f64::from(*count) / picks as f64).collect()
}

const NOW: Moment = Moment(1_000_000);

/// One backend as the property suite makes it up.
#[derive(Clone, Debug)]
struct State {
    weight: u32,
    max_connections: u32,
    in_flight: u32,
    backup: bool,
    is_down: bool,
    is_drained: bool,
    is_ejected: bool,
    is_tried: bool,
    ramps: bool,
}

fn state() -> impl Strategy<Value = State> {
    let numbers = (0_u32..4, 0_u32..3, 0_u32..4);
    let flags = (
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
    );
    (numbers, flags).prop_map(|((weight, max_connections, in_flight), flags)| State {
        weight,
        max_connections,
        in_flight,
        backup: flags.0,
        is_down: flags.1,
        is_drained: flags.2,
        is_ejected: flags.3,
        is_tried: flags.4,
        ramps: flags.5,
    })
}

impl State {
    fn make(&self, index: usize) -> Arc<Backend> {
        let mut backend = backend(index, self.weight);
        backend.max_connections = self.max_connections;
        backend.backup = self.backup;
        if self.ramps {
            backend.slow_start = Duration::from_secs(30);
            backend.shared.up_since.store(NOW.0, Relaxed);
        }
        if self.is_down {
            set_probed(&backend, Probed::Down);
        }
        if self.is_drained {
            backend.shared.admin.store(Admin::Draining as u8, Relaxed);
        }
        if self.is_ejected {
            backend.shared.ejected_until.store(NOW.0 + 1, Relaxed);
        }
        set_in_flight(&backend, self.in_flight);
        Arc::new(backend)
    }
}

/// What the rules allow, spelled out slowly.
fn allowed(fleet: &[Arc<Backend>], tried: &[usize]) -> Vec<usize> {
    let select = |wanted: &dyn Fn(usize, &Backend) -> bool| -> Vec<usize> {
        let indexed = fleet.iter().enumerate();
        indexed.filter(|(i, b)| wanted(*i, b)).map(|(i, _)| i).collect()
    };
    let is_tried = |i: usize| tried.contains(&i);
    let is_usable = |b: &Backend| b.is_healthy(NOW) && b.weight_at(NOW) > 0;
    let fresh = select(&|i, b| !b.backup && !is_tried(i) && is_usable(b));
    let standing = select(&|_, b| !b.backup && is_usable(b));
    let tiers = [
        select(&|i, b| !b.backup && !is_tried(i) && b.is_available(NOW)),
        match fresh.is_empty() {
            true => select(&|i, b| b.backup && !is_tried(i) && b.is_available(NOW)),
            false => vec![],
        },
        select(&|_, b| !b.backup && b.is_available(NOW)),
        match standing.is_empty() {
            true => select(&|_, b| b.backup && b.is_available(NOW)),
            false => vec![],
        },
    ];
    tiers.into_iter().find(|tier| !tier.is_empty()).unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Every policy picks what may be picked, nothing else, and something whenever it can.
    #[test]
    fn only_what_the_rules_allow_is_picked(
        states in prop::collection::vec(state(), 0..14),
        worker in 0_usize..5,
        seed: u64,
    ) {
        let fleet: Vec<_> = states.iter().enumerate().map(|(i, s)| s.make(i)).collect();
        let tried: Vec<usize> = (0..states.len()).filter(|i| states[*i].is_tried).collect();
        let allowed = allowed(&fleet, &tried);
        let mut rng = fastrand::Rng::with_seed(seed);
        for &(policy, ..) in Policy::ALL {
            if policy == Policy::Maglev && !seed.is_multiple_of(8) {
                continue; // Its table costs a second per hundred builds without optimization.
            }
            let mut balancer = Balancer::build(policy, 1.25, &fleet, worker);
            for _ in 0..12 {
                let key = rng.u64(..);
                let pick = Pick { key, tried: &tried, now: NOW, rng: &mut rng };
                match balancer.pick(&fleet, pick) {
                    Some(index) => {
                        prop_assert!(allowed.contains(&index), "{policy:?}: {index} of {allowed:?}");
                        balancer.on_start(index, NOW);
                        balancer.on_bytes(index, rng.u64(0..10_000), NOW);
                        let elapsed = Duration::from_micros(rng.u64(0..100_000));
                        let failed = rng.bool();
                        balancer.on_done(index, &Outcome { elapsed, failed }, NOW);
                    }
                    None => prop_assert!(allowed.is_empty(), "{policy:?}: none of {allowed:?}"),
                }
            }
        }
    }
}

#[test]
fn indices_beyond_the_fleet_do_no_harm() {
    for &(policy, ..) in Policy::ALL {
        let mut balancer = Balancer::build(policy, 1.25, &fleet(&[1, 1]), 0);
        let outcome = Outcome { elapsed: Duration::from_millis(1), failed: true };
        balancer.on_start(9, NOW);
        balancer.on_bytes(9, 1, NOW);
        balancer.on_done(9, &outcome, NOW);
        assert_eq!(balancer.average(9, NOW), None);
        assert_eq!(balancer.bandwidth(9, NOW), 0.0);
        // Another slice than it was built for is a mistake, and still no panic.
        let larger = fleet(&[1, 1, 1]);
        let mut rng = fastrand::Rng::with_seed(1);
        assert!(pick(&mut balancer, &larger, &mut rng).is_some(), "{policy:?}");
    }
}

#[test]
fn averages_and_counts_go_on_in_existing_rows() {
    for &(policy, ..) in Policy::ALL {
        let rows: Vec<Arc<BackendStats>> = (0..3).map(|_| Arc::default()).collect();
        let prototype = Balancer::build(policy, 1.25, &fleet(&[1, 1, 1]), 0);
        let mut old = prototype.with_rows(0, rows.clone().into());
        let outcome = Outcome { elapsed: Duration::from_millis(70), failed: false };
        old.on_start(2, NOW);
        old.on_done(2, &outcome, NOW);
        old.on_bytes(2, 5_000, NOW);
        for &(next, ..) in Policy::ALL {
            let prototype = Balancer::build(next, 1.25, &fleet(&[1, 1]), 0);
            let mut new = prototype.with_rows(0, [rows[2].clone(), Arc::default()].into());
            new.carry_over(&old, &[Some(2), None]);
            assert_eq!(new.average(0, NOW), Some(outcome.elapsed));
            assert_eq!(new.average(1, NOW), None);
            assert_eq!(new.bandwidth(0, NOW), old.bandwidth(2, NOW));
            assert_eq!(new.traffic().requests(0), 1);
            assert_eq!(new.traffic().failures(0), 0);
        }
        if policy == Policy::ConsistentHash {
            break; // The other side of the square adds nothing but time.
        }
    }
}

#[test]
fn backends_are_usable_when_all_are_down() {
    for &(policy, ..) in Policy::ALL {
        let fleet = fleet(&[1, 1, 0, 1]);
        let mut balancer = Balancer::build(policy, 1.25, &fleet, 0);
        let mut rng = fastrand::Rng::with_seed(1);
        let mut despite = |rng: &mut fastrand::Rng| {
            let key = rng.u64(..);
            let pick = Pick { key, tried: &[], now: NOW, rng };
            balancer.pick_despite_health(&fleet, pick)
        };
        fleet[1..].iter().for_each(|backend| set_probed(backend, Probed::Down));
        assert_eq!(despite(&mut rng), None, "{policy:?}");
        fleet[0].shared.ejected_until.store(u64::MAX, Relaxed);
        fleet[3].shared.admin.store(Admin::Disabled as u8, Relaxed);
        for _ in 0..20 {
            // Not what has no weight, nor what an administrator took out.
            let index = despite(&mut rng);
            assert!(matches!(index, Some(0 | 1)), "{policy:?}: {index:?}");
        }
    }
}
