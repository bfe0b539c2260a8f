//! ip-hash, consistent-hash and maglev: stable, fair, little disrupted, bounded.

use super::*;

const HASHING: [Policy; 3] = [Policy::IpHash, Policy::ConsistentHash, Policy::Maglev];

/// Where each of `KEYS` keys goes.
fn places(balancer: &mut Balancer, fleet: &[Arc<Backend>]) -> Vec<usize> {
    let mut rng = fastrand::Rng::with_seed(3);
    (0..KEYS)
        .map(|key| {
            let key = xxhash_rust::xxh3::xxh3_64(&key.to_le_bytes());
            let pick = Pick { key, tried: &[], now: NOW, rng: &mut rng };
            balancer.pick(fleet, pick).unwrap()
        })
        .collect()
}

const KEYS: u64 = 20_000;

fn name_of<'a>(fleet: &'a [Arc<Backend>], place: &usize) -> &'a str {
    &fleet[*place].name
}

#[test]
fn a_key_stays_and_shares_follow_the_weights() {
    let fleet = fleet(&[1, 2, 3, 4, 10]);
    for (policy, tolerance) in HASHING.into_iter().zip([0.02, 0.05, 0.02]) {
        // Phase, generator and worker must not matter.
        let first = places(&mut Balancer::build(policy, 0.0, &fleet, 0), &fleet);
        assert_eq!(first, places(&mut Balancer::build(policy, 0.0, &fleet, 5), &fleet));
        for (index, weight) in [1.0, 2.0, 3.0, 4.0, 10.0].into_iter().enumerate() {
            let count = first.iter().filter(|place| **place == index).count();
            let share = count as f64 / KEYS as f64;
            assert!((share - weight / 20.0).abs() < tolerance, "{policy:?} {index}: {share}");
        }
    }
}

#[test]
fn the_order_in_the_file_does_not_matter() {
    let fleet = fleet(&[3, 1, 2, 1]);
    let mut turned = fleet.clone();
    turned.rotate_left(1);
    for policy in HASHING {
        let a = places(&mut Balancer::build(policy, 0.0, &fleet, 0), &fleet);
        let b = places(&mut Balancer::build(policy, 0.0, &turned, 0), &turned);
        let same = a.iter().zip(&b).all(|(a, b)| name_of(&fleet, a) == name_of(&turned, b));
        assert!(same, "{policy:?}");
    }
}

#[test]
fn a_removed_backend_moves_its_own_share_and_little_else() {
    let all = fleet(&[1; 10]);
    for (policy, most_others) in HASHING.into_iter().zip([0.0, 0.0, 0.06]) {
        let before = places(&mut Balancer::build(policy, 0.0, &all, 0), &all);
        let fewer: Vec<_> = all.iter().filter(|b| &*b.name != "b4").cloned().collect();
        let after = places(&mut Balancer::build(policy, 0.0, &fewer, 0), &fewer);
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(a, _)| **a != 4)
            .filter(|(a, b)| name_of(&all, a) != name_of(&fewer, b))
            .count();
        assert!(moved as f64 / KEYS as f64 <= most_others, "{policy:?}: {moved}");
    }
}

#[test]
fn one_more_of_many_takes_about_its_share_of_keys() {
    const MANY: u64 = 100_000;
    let (before, after) = (fleet(&[1; 64]), fleet(&[1; 65]));
    for (policy, most) in [(Policy::ConsistentHash, 0.018), (Policy::Maglev, 0.04)] {
        let [mut old, mut new] = [&before, &after].map(|fleet| Balancer::build(policy, 0.0, fleet, 0));
        let mut rng = fastrand::Rng::with_seed(1);
        let mut at = |balancer: &mut Balancer, fleet: &[Arc<Backend>], key: u64| {
            balancer.pick(fleet, Pick { key, tried: &[], now: NOW, rng: &mut rng }).unwrap()
        };
        let (mut moved, mut elsewhere) = (0, 0);
        for key in (0..MANY).map(|key| key.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let (from, to) = (at(&mut old, &before, key), at(&mut new, &after, key));
            moved += u32::from(from != to);
            elsewhere += u32::from(from != to && to != 64);
        }
        println!("{policy:?}: {moved} of {MANY} keys move, {elsewhere} of them not to the one that came");
        let share = f64::from(moved) / MANY as f64;
        assert!((0.013..most).contains(&share), "{policy:?}: {moved}");
        assert!(policy == Policy::Maglev || elsewhere == 0, "{elsewhere}");
    }
}

#[test]
fn a_lost_backend_moves_only_its_keys_and_regains_them() {
    let fleet = fleet(&[1; 10]);
    for policy in HASHING {
        let mut balancer = Balancer::build(policy, 0.0, &fleet, 0);
        let before = places(&mut balancer, &fleet);
        set_probed(&fleet[4], Probed::Down);
        let during = places(&mut balancer, &fleet);
        let mut taken_over = [0_usize; 10];
        for (before, during) in before.iter().zip(&during) {
            match before {
                4 => taken_over[*during] += 1,
                _ => assert_eq!(before, during, "{policy:?}"),
            }
        }
        // What it had is spread, not handed to one neighbour.
        let largest = taken_over.iter().max().unwrap();
        let total: usize = taken_over.iter().sum();
        assert!(largest * 3 < total, "{policy:?}: {taken_over:?}");
        set_probed(&fleet[4], Probed::Up);
        assert_eq!(before, places(&mut balancer, &fleet), "{policy:?}");
    }
}

#[test]
fn few_of_many_left_still_share_and_stay() {
    let fleet = fleet(&[1; 400]);
    fleet[2..].iter().for_each(|b| set_probed(b, Probed::Down));
    for policy in HASHING {
        let mut balancer = Balancer::build(policy, 0.0, &fleet, 0);
        let first = places(&mut balancer, &fleet);
        assert_eq!(first, places(&mut balancer, &fleet));
        let share = first.iter().sum::<usize>() as f64 / KEYS as f64;
        assert!((share - 0.5).abs() < 0.3, "{policy:?}: {share}");
    }
}

#[test]
fn no_backend_takes_more_than_its_bound() {
    let fleet = fleet(&[1, 1, 2, 4]);
    for policy in [Policy::ConsistentHash, Policy::Maglev] {
        let mut balancer = Balancer::build(policy, 1.25, &fleet, 0);
        let mut rng = fastrand::Rng::with_seed(1);
        // One key for all: without the bound, one backend would have everything.
        for total in 0..1_000_u32 {
            let pick = Pick { key: 42, tried: &[], now: NOW, rng: &mut rng };
            let index = balancer.pick(&fleet, pick).unwrap();
            fleet[index].shared.in_flight.0.fetch_add(1, Relaxed);
            let cap = 1.25 * f64::from(total + 1) * f64::from(fleet[index].weight) / 8.0;
            assert!(f64::from(fleet[index].in_flight()) <= cap.ceil(), "{policy:?}");
        }
        fleet.iter().for_each(|backend| set_in_flight(backend, 0));
        let mut unbound = Balancer::build(policy, 0.0, &fleet, 0);
        let pick = Pick { key: 42, tried: &[], now: NOW, rng: &mut rng };
        let home = unbound.pick(&fleet, pick).unwrap();
        set_in_flight(&fleet[home], 1_000);
        let pick = Pick { key: 42, tried: &[], now: NOW, rng: &mut rng };
        assert_eq!(unbound.pick(&fleet, pick), Some(home));
        set_in_flight(&fleet[home], 0);
    }
}

#[test]
fn no_backend_of_many_takes_more_than_its_bound() {
    let fleet = fleet(&[2; 100]);
    for policy in [Policy::ConsistentHash, Policy::Maglev] {
        let mut balancer = Balancer::build(policy, 1.25, &fleet, 0);
        let mut rng = fastrand::Rng::with_seed(1);
        let mut pick = |now: Moment| {
            let pick = Pick { key: 42, tried: &[], now, rng: &mut rng };
            let index = balancer.pick(&fleet, pick).unwrap();
            fleet[index].shared.in_flight.0.fetch_add(1, Relaxed) + 1
        };
        // At the same moment, and so that what is known of all of them is never old.
        for total in 0..2_000_u32 {
            let cap = (1.25 * f64::from(total + 1) / 100.0).ceil();
            assert!(f64::from(pick(NOW)) <= cap, "{policy:?}: {total}");
        }
        // All end at once: after a while it is known.
        fleet.iter().for_each(|backend| set_in_flight(backend, 0));
        let later = NOW.plus(Duration::from_millis(1));
        assert_eq!((pick(later), pick(later)), (1, 1), "{policy:?}");
        fleet.iter().for_each(|backend| set_in_flight(backend, 0));
    }
}

/// Backups are not in the ring or the table, and are picked by score.
#[test]
fn no_backup_takes_more_than_its_bound() {
    let backup = |(index, weight)| Arc::new(Backend { backup: true, ..backend(index, weight) });
    let fleet: Vec<_> = [1, 1, 2, 4].into_iter().enumerate().map(backup).collect();
    for policy in [Policy::ConsistentHash, Policy::Maglev] {
        let mut balancer = Balancer::build(policy, 1.25, &fleet, 0);
        let mut rng = fastrand::Rng::with_seed(1);
        for total in 0..1_000_u32 {
            let pick = Pick { key: 42, tried: &[], now: NOW, rng: &mut rng };
            let index = balancer.pick(&fleet, pick).unwrap();
            fleet[index].shared.in_flight.0.fetch_add(1, Relaxed);
            let cap = 1.25 * f64::from(total + 1) * f64::from(fleet[index].weight) / 8.0;
            assert!(f64::from(fleet[index].in_flight()) <= cap.ceil(), "{policy:?}: {total}");
        }
        fleet.iter().for_each(|backend| set_in_flight(backend, 0));
    }
}

#[test]
fn slow_start_thins_a_share_out_without_moving_others() {
    let mut fleet = fleet(&[4; 5]);
    Arc::get_mut(&mut fleet[2]).unwrap().slow_start = Duration::from_secs(2);
    for policy in HASHING {
        let mut balancer = Balancer::build(policy, 0.0, &fleet, 0);
        let before = places(&mut balancer, &fleet);
        // A quarter of the time is over.
        fleet[2].shared.up_since.store(NOW.0 - 500_000, Relaxed);
        let during = places(&mut balancer, &fleet);
        for (before, during) in before.iter().zip(&during) {
            assert!(before == during || *before == 2, "{policy:?}");
        }
        let share = during.iter().filter(|place| **place == 2).count() as f64 / KEYS as f64;
        assert!((share - 1.0 / 17.0).abs() < 0.02, "{policy:?}: {share}");
        fleet[2].shared.up_since.store(0, Relaxed);
    }
}

#[test]
fn in_maglev_the_lightest_has_a_slot_too() {
    let fleet = fleet(&[100_000, 1]);
    let mut balancer = Balancer::build(Policy::Maglev, 0.0, &fleet, 0);
    let mut rng = fastrand::Rng::with_seed(1);
    let found = (0..600_000).any(|_| pick(&mut balancer, &fleet, &mut rng) == Some(1));
    assert!(found);
}

#[test]
fn two_backends_at_one_address_share() {
    let twins = vec![Arc::new(backend(0, 1)), Arc::new(backend(0, 1))];
    for policy in HASHING {
        let share = shares(&mut Balancer::build(policy, 0.0, &twins, 0), &twins, 10_000);
        assert!((share[0] - 0.5).abs() < 0.1, "{policy:?}: {share:?}");
    }
}
