//! What every policy must hold, and each one step for step against a naive model of it.

pub(crate) mod naive;

use std::collections::HashMap;

use naive::Naive;
use proptest::prelude::*;

use super::{super::conf::Eviction, *};

/// What may be asked of an evictor.
#[derive(Clone, Copy, Debug)]
enum Call {
    Admit(Key, u64),
    Touch(Key),
    Remove(Key),
}

fn policies() -> impl Iterator<Item = Eviction> {
    Eviction::ALL.iter().map(|(policy, ..)| *policy)
}

/// Few keys, so that they meet again; some differ only in their upper bits.
fn calls() -> impl Strategy<Value = Vec<Call>> {
    let key = prop_oneof![0_u64..48, (0_u64..16).prop_map(|key| key << 59)];
    let call = prop_oneof![
        4 => (key.clone(), 0_u64..40).prop_map(|(key, size)| Call::Admit(key, size)),
        4 => key.clone().prop_map(Call::Touch),
        1 => key.prop_map(Call::Remove),
    ];
    prop::collection::vec(call, 1..600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_policy_keeps_the_contract(calls in calls(), limit in 0_u64..300) {
        for policy in policies() {
            contract(policy, &calls, limit)?;
        }
    }

    #[test]
    fn every_policy_does_what_its_naive_model_does(calls in calls(), limit in 0_u64..300, seed: u64) {
        for policy in policies() {
            let (mut evictor, mut naive) = (policy.start(limit, seed), Naive::new(policy, limit, seed));
            let mut victims = Vec::new();
            for (step, call) in calls.iter().enumerate() {
                let name = policy.name();
                victims.clear();
                match *call {
                    Call::Admit(key, size) => {
                        let admitted = evictor.admit(key, size, &mut victims).then_some(victims.clone());
                        prop_assert_eq!(admitted, naive.admit(key, size), "{}, step {}", name, step);
                    }
                    Call::Touch(key) => {
                        prop_assert_eq!(evictor.touch(key), naive.touch(key), "{}, step {}", name, step);
                    }
                    Call::Remove(key) => {
                        prop_assert_eq!(evictor.remove(key), naive.remove(key), "{}, step {}", name, step);
                    }
                }
                prop_assert_eq!((evictor.len(), evictor.bytes()), (naive.len(), naive.bytes()));
            }
        }
    }
}

/// The contract, with no idea of any order: what is resident follows from admissions, victims and removals alone.
fn contract(policy: Eviction, calls: &[Call], limit: u64) -> Result<(), TestCaseError> {
    let mut evictor = policy.start(limit, 1);
    let mut resident: HashMap<Key, u64> = HashMap::new();
    let mut victims = Vec::new();
    for call in calls {
        victims.clear();
        match *call {
            Call::Admit(key, size) => {
                let is_admitted = evictor.admit(key, size, &mut victims);
                prop_assert_eq!(is_admitted, size <= limit);
                for victim in &victims {
                    prop_assert!(is_admitted && victim.key != key, "{}: {:?}", policy.name(), victim);
                    prop_assert_eq!(resident.remove(&victim.key), Some(victim.size));
                }
                if is_admitted {
                    resident.insert(key, size);
                }
            }
            Call::Touch(key) => prop_assert_eq!(evictor.touch(key), resident.contains_key(&key)),
            Call::Remove(key) => prop_assert_eq!(evictor.remove(key), resident.remove(&key)),
        }
        prop_assert_eq!(evictor.bytes(), resident.values().sum::<u64>());
        prop_assert_eq!(evictor.len(), resident.len());
        prop_assert!(evictor.bytes() <= evictor.limit());
    }
    for (&key, &size) in &resident {
        prop_assert_eq!(evictor.size(key), Some(size));
    }
    Ok(())
}

#[test]
fn nothing_leaves_while_all_fits() {
    for policy in policies() {
        let (mut evictor, mut victims) = (policy.start(1000, 0), Vec::new());
        for key in 0..100 {
            assert!(evictor.admit(key, 10, &mut victims));
        }
        assert_eq!((victims.len(), evictor.bytes()), (0, 1000), "{}", policy.name());
        assert!(!evictor.admit(7, 1001, &mut victims));
        assert_eq!((victims.len(), evictor.size(7)), (0, Some(10)), "{}", policy.name());
    }
}

#[test]
fn the_whole_range_of_sizes_is_counted() {
    for policy in policies() {
        let (mut evictor, mut victims) = (policy.start(u64::MAX, 0), Vec::new());
        assert!(evictor.admit(1, u64::MAX, &mut victims));
        assert!(evictor.admit(2, u64::MAX, &mut victims));
        assert_eq!(victims, [Victim { key: 1, size: u64::MAX }], "{}", policy.name());
    }
}

#[test]
fn an_old_favourite_leaves_lfu_in_the_end() {
    let (mut evictor, mut victims) = (Eviction::Lfu.start(100, 0), Vec::new());
    evictor.admit(0, 1, &mut victims);
    (0..1000).for_each(|_| assert!(evictor.touch(0)));
    // Nobody asks for it any more; others are asked for twice each.
    let left_at = (1..20_000).find(|&key| {
        evictor.admit(key, 1, &mut victims);
        evictor.touch(key);
        victims.iter().any(|victim| victim.key == 0)
    });
    let left_at = left_at.expect("the favourite of long ago is still there");
    assert!(left_at > 1000, "it left as if nobody had asked for it: at {left_at}");
}

#[test]
fn a_sweep_leaves_the_favourites_of_s3_fifo_alone() {
    let favourites_after_a_sweep = |policy: Eviction| {
        let (mut evictor, mut victims) = (policy.start(1000, 0), Vec::new());
        for round in 0..5_u64 {
            for key in 0..800 {
                if round == 0 || !evictor.touch(key) {
                    evictor.admit(key, 1, &mut victims);
                }
            }
        }
        (10_000..20_000).for_each(|key| {
            evictor.admit(key, 1, &mut victims);
        });
        (0..800).filter(|&key| evictor.size(key).is_some()).count()
    };
    assert_eq!(favourites_after_a_sweep(Eviction::S3Fifo), 800);
    assert_eq!(favourites_after_a_sweep(Eviction::Lru), 0);
}

/// What the decision record promises. Slabs and tables double, so a count just above a power of two is the worst.
#[test]
fn a_million_objects_cost_little_beyond_their_bytes() {
    for policy in policies() {
        let mut worst = 0.0_f64;
        let (mut evictor, mut victims) = (policy.start(u64::MAX, 0), Vec::new());
        for key in 0..1_100_000_u64 {
            evictor.admit(crate::rng::scramble(key), 1024, &mut victims);
            if key >= 999_999 {
                worst = worst.max(evictor.memory() as f64 / (key + 1) as f64);
            }
        }
        let most = match policy {
            Eviction::Fifo | Eviction::Lifo | Eviction::Lru | Eviction::Mru => 64.0,
            Eviction::Lfu | Eviction::S3Fifo => 76.0,
            Eviction::Random => 84.0,
        };
        println!("{:<8} {worst:.1} bytes per object", policy.name());
        assert!(worst <= most, "{}: {worst} bytes per object", policy.name());
    }
}

#[test]
fn memory_does_not_grow_with_what_came_and_went() {
    for policy in policies() {
        let (mut evictor, mut victims) = (policy.start(1000, 0), Vec::new());
        for key in 0..200_000 {
            victims.clear();
            evictor.admit(key, 1 + key % 3, &mut victims);
        }
        assert!(evictor.memory() < 256 * 1024, "{}: {}", policy.name(), evictor.memory());
    }
}
