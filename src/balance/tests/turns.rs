//! Exact sequences, phases and ties.

use super::*;

fn names(balancer: &mut Balancer, fleet: &[Arc<Backend>], picks: usize) -> String {
    let mut rng = fastrand::Rng::with_seed(1);
    let letter = |index: usize| char::from(b'a' + index as u8);
    (0..picks).map(|_| letter(pick(balancer, fleet, &mut rng).unwrap())).collect()
}

#[test]
fn weights_of_5_1_1_interleave_smoothly() {
    let fleet = fleet(&[5, 1, 1]);
    for policy in [Policy::RoundRobin, Policy::WeightedRoundRobin] {
        let mut balancer = Balancer::build(policy, 0.0, &fleet, 0);
        assert_eq!(names(&mut balancer, &fleet, 14), "aabacaaaabacaa");
    }
}

#[test]
fn equal_weights_give_plain_round_robin() {
    let fleet = fleet(&[3, 3, 3]);
    let mut balancer = Balancer::build(Policy::RoundRobin, 0.0, &fleet, 0);
    assert_eq!(names(&mut balancer, &fleet, 7), "abcabca");
}

#[test]
fn workers_start_at_different_places_of_the_same_order() {
    let fleet = fleet(&[1; 8]);
    let mut first = std::collections::HashSet::new();
    for worker in 0..8 {
        let mut balancer = Balancer::build(Policy::RoundRobin, 0.0, &fleet, worker);
        let order = names(&mut balancer, &fleet, 16);
        assert!("abcdefghabcdefghabcdefgh".contains(&order), "{order}");
        first.insert(order.as_bytes()[0]);
    }
    assert!(first.len() >= 6, "{first:?}");
}

#[test]
fn workers_together_keep_the_weights_within_2_percent() {
    let fleet = fleet(&[5, 3, 2]);
    let mut counts = [0_i32; 3];
    let mut rng = fastrand::Rng::with_seed(1);
    for worker in 0..16 {
        let mut balancer = Balancer::build(Policy::RoundRobin, 0.0, &fleet, worker);
        for _ in 0..13 {
            counts[pick(&mut balancer, &fleet, &mut rng).unwrap()] += 1;
        }
    }
    let total = f64::from(counts.iter().sum::<i32>());
    for (count, share) in counts.iter().zip([0.5, 0.3, 0.2]) {
        assert!((f64::from(*count) / total - share).abs() < 0.02, "{counts:?}");
    }
}

#[test]
fn a_backend_that_returns_is_not_given_what_it_missed() {
    let fleet = fleet(&[1, 1, 1]);
    let mut balancer = Balancer::build(Policy::RoundRobin, 0.0, &fleet, 0);
    set_probed(&fleet[1], Probed::Down);
    assert_eq!(names(&mut balancer, &fleet, 6), "acacac");
    set_probed(&fleet[1], Probed::Up);
    let order = names(&mut balancer, &fleet, 9);
    assert_eq!(order.matches('b').count(), 3, "{order}");
    assert!(!order.contains("bb"), "{order}");
}

#[test]
fn turns_go_on_over_a_reload_with_a_new_backend() {
    let old_fleet = fleet(&[1, 1, 1]);
    let mut old = Balancer::build(Policy::RoundRobin, 0.0, &old_fleet, 0);
    assert_eq!(names(&mut old, &old_fleet, 4), "abca");
    let mut same = Balancer::build(Policy::RoundRobin, 0.0, &old_fleet, 0);
    same.carry_over(&old, &[Some(0), Some(1), Some(2)]);
    assert_eq!(names(&mut same, &old_fleet, 3), "bca");
    let larger = fleet(&[1, 1, 1, 1]);
    let mut new = Balancer::build(Policy::LeastConnections, 0.0, &larger, 0);
    new.carry_over(&old, &[Some(0), Some(1), Some(2), None]);
    let order = names(&mut new, &larger, 8);
    assert_eq!(order.matches('d').count(), 2, "{order}");
}

#[test]
fn turns_are_shared_by_new_weights_from_the_reload_on() {
    for (before, after) in [([1000, 1], [1, 1]), ([1, 1], [100, 1]), ([3, 1], [1, 3])] {
        for picks in 0..1001 {
            let (old_fleet, new_fleet) = (fleet(&before), fleet(&after));
            let mut old = Balancer::build(Policy::RoundRobin, 0.0, &old_fleet, 0);
            names(&mut old, &old_fleet, picks);
            let mut new = Balancer::build(Policy::RoundRobin, 0.0, &new_fleet, 0);
            new.carry_over(&old, &[Some(0), Some(1)]);
            // A round of the new weights holds what they say, give or take the one that was under way.
            let round = after.iter().sum::<u32>() as usize;
            let order = names(&mut new, &new_fleet, round * 2);
            let counted = order.matches('b').count().abs_diff(after[1] as usize * 2);
            assert!(counted <= 1, "{before:?} to {after:?} after {picks}: {counted} off");
        }
    }
}

#[test]
fn backend_of_many_with_a_weight_again_has_its_turns() {
    let weights =
        |first| fleet(&(0..100).map(|index| if index == 0 { first } else { 10 }).collect::<Vec<_>>());
    let none = weights(0);
    let mut old = Balancer::build(Policy::RoundRobin, 0.0, &none, 0);
    assert_eq!(shares(&mut old, &none, 5_000)[0], 0.0);
    let all: Vec<Option<usize>> = (0..100).map(Some).collect();
    let again = weights(10);
    let mut new = Balancer::build(Policy::RoundRobin, 0.0, &again, 0);
    new.carry_over(&old, &all);
    let share = shares(&mut new, &again, 1_000)[0];
    assert!((share - 0.01).abs() < 0.002, "{share}");
}

#[test]
fn ties_never_go_to_the_first_in_the_list() {
    let policies = [Policy::LeastConnections, Policy::LeastResponseTime, Policy::LeastBandwidth];
    for policy in policies {
        for weights in [vec![2, 2, 2, 2], vec![1; 12]] {
            let fleet = fleet(&weights);
            let shares = shares(&mut Balancer::build(policy, 0.0, &fleet, 0), &fleet, 12_000);
            for share in shares {
                let fair = 1.0 / fleet.len() as f64;
                assert!((share / fair - 1.0).abs() < 0.1, "{policy:?}: {share}");
            }
        }
    }
}

#[test]
fn slow_start_ramps_from_a_tenth_unless_all_are_new() {
    let mut new = backend(1, 10);
    new.slow_start = Duration::from_secs(100);
    let fleet = vec![Arc::new(backend(0, 10)), Arc::new(new)];
    let share_at = |now: Moment| {
        let mut balancer = Balancer::build(Policy::RoundRobin, 0.0, &fleet, 0);
        let mut rng = fastrand::Rng::with_seed(1);
        let picks = (0..1_100).map(|_| pick_at(&mut balancer, &fleet, &mut rng, now).unwrap());
        picks.sum::<usize>()
    };
    assert_eq!(share_at(NOW), 550);
    fleet[1].shared.up_since.store(NOW.0, Relaxed);
    assert_eq!(share_at(NOW), 100);
    assert_eq!(share_at(NOW.plus(Duration::from_secs(50))), 367);
    assert_eq!(share_at(NOW.plus(Duration::from_secs(100))), 550);
}

#[test]
fn another_worker_shares_the_tables_and_starts_at_its_phase() {
    let fleet = fleet(&[1; 8]);
    let prototype = Balancer::build(Policy::RoundRobin, 0.0, &fleet, 3);
    let order = |balancer: &mut Balancer| names(balancer, &fleet, 8);
    let mut built = Balancer::build(Policy::RoundRobin, 0.0, &fleet, 5);
    assert_eq!(order(&mut prototype.for_worker(5)), order(&mut built));
}

#[test]
fn random_finds_the_last_one_of_many() {
    let fleet = fleet(&[1; 500]);
    fleet[..499].iter().for_each(|backend| set_probed(backend, Probed::Down));
    for policy in [Policy::Random, Policy::PowerOfTwo] {
        let mut balancer = Balancer::build(policy, 0.0, &fleet, 0);
        assert_eq!(shares(&mut balancer, &fleet, 100)[499], 1.0);
    }
}

/// Many backends of which every fifth weighs four times as much as the others.
fn many() -> Vec<Arc<Backend>> {
    fleet(&(0..200).map(|index| if index % 5 == 0 { 4 } else { 1 }).collect::<Vec<_>>())
}

#[test]
fn turns_among_many_backends_are_exact_and_evenly_spaced() {
    let fleet = many();
    let total = 40 * 4 + 160;
    for worker in 0..3 {
        let mut balancer = Balancer::build(Policy::RoundRobin, 0.0, &fleet, worker);
        let mut rng = fastrand::Rng::with_seed(1);
        let order: Vec<usize> =
            (0..total * 10).map(|_| pick(&mut balancer, &fleet, &mut rng).unwrap()).collect();
        for (index, backend) in fleet.iter().enumerate() {
            let turns: Vec<usize> = (0..order.len()).filter(|at| order[*at] == index).collect();
            let weight = usize::try_from(backend.weight).unwrap();
            assert!(turns.len().abs_diff(weight * 10) <= 1, "{index}: {} turns", turns.len());
            let fair = total / weight;
            let gaps = turns.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(
                gaps.clone().all(|gap| gap.abs_diff(fair) < fair / 4),
                "{index}: {:?}",
                gaps.collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn picks_among_many_backends_leave_out_what_is_down() {
    for policy in [Policy::RoundRobin, Policy::LeastResponseTime, Policy::LeastBandwidth] {
        for up in [199, 120, 3, 1] {
            let fleet = many();
            fleet.iter().skip(up).for_each(|backend| set_probed(backend, Probed::Down));
            let shares = shares(&mut Balancer::build(policy, 0.0, &fleet, 0), &fleet, 20_000);
            assert!(shares.iter().skip(up).all(|share| *share == 0.0), "{policy:?}, {up} are up");
            assert!(shares.iter().take(up).all(|share| *share > 0.0), "{policy:?}, {up} are up");
        }
    }
}

#[test]
fn a_backend_of_many_that_returns_has_its_share_again() {
    let fleet = many();
    let mut balancer = Balancer::build(Policy::RoundRobin, 0.0, &fleet, 0);
    set_probed(&fleet[0], Probed::Down);
    assert_eq!(shares(&mut balancer, &fleet, 3_200)[0], 0.0);
    set_probed(&fleet[0], Probed::Up);
    let share = shares(&mut balancer, &fleet, 3_200)[0];
    assert!((share - 4.0 / 320.0).abs() < 0.001, "{share}");
}

#[test]
fn turns_among_many_go_on_over_a_reload() {
    let old_fleet = many();
    let mut old = Balancer::build(Policy::RoundRobin, 0.0, &old_fleet, 0);
    let mut rng = fastrand::Rng::with_seed(1);
    let taken: Vec<usize> = (0..100).map(|_| pick(&mut old, &old_fleet, &mut rng).unwrap()).collect();
    // The first backend goes, and a new one comes at the end.
    let mut weights: Vec<u32> = old_fleet.iter().skip(1).map(|backend| backend.weight).collect();
    weights.push(1);
    let new_fleet = fleet(&weights);
    let map: Vec<Option<usize>> = (1..200).map(Some).chain([None]).collect();
    let mut new = Balancer::build(Policy::RoundRobin, 0.0, &new_fleet, 0);
    new.carry_over(&old, &map);
    let next: Vec<usize> = (0..100).map(|_| pick(&mut new, &new_fleet, &mut rng).unwrap()).collect();
    let light = |index: &&usize| old_fleet[**index].weight == 1;
    let again = next.iter().map(|index| index + 1).filter(|index| *index < 200 && taken.contains(index));
    assert_eq!(
        again.filter(|index| light(&index)).count(),
        0,
        "none has a second turn before the others' first"
    );
}
