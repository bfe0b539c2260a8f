//! Hit ratios against an independent simulation, to the request, and against figures that others published.

use super::{
    generate::{Generator, Sizes, Workload},
    *,
};
use crate::cache::evict::tests::naive::Naive;

const FIXED: Sizes = Sizes::Fixed(1);

fn policies() -> impl Iterator<Item = Eviction> {
    Eviction::ALL.iter().map(|(policy, ..)| *policy)
}

fn requests(workload: Workload, objects: u64, alpha: f64, sizes: Sizes) -> impl Iterator<Item = Request> {
    Generator::new(workload, objects, alpha, sizes, 11).map(|(key, size)| Request { key, size })
}

#[test]
fn hit_ratios_equal_the_naive_models_to_the_request() {
    let workloads = [
        Workload::Zipf,
        Workload::Scan { between: 700, sweep: 300 },
        Workload::Shift { every: 1500 },
        Workload::Scan { between: 0, sweep: 400 },
    ];
    let lognormal = Sizes::Lognormal { median: 1000, sigma: 1.0 };
    for workload in workloads {
        for (limit, changes) in [(20_000, 0), (150_000, 0), (150_000, 97)] {
            let asked: Vec<Request> = requests(workload, 800, 0.8, lognormal)
                .zip(0_u64..)
                // Now and then an object has another size than before.
                .map(|(it, at)| Request { size: it.size + u64::from(changes > 0 && at % 97 == 0) * at, ..it })
                .take(8000)
                .collect();
            for policy in policies() {
                let mut cache = Simulation::new(policy, limit, Admission::Always, 5);
                let mut victims = Vec::new();
                asked.iter().for_each(|request| cache.request(*request, &mut victims));
                assert_eq!(cache.tally, naive_tally(policy, limit, &asked), "{} {workload:?}", policy.name());
            }
        }
    }
}

fn naive_tally(policy: Eviction, limit: u64, asked: &[Request]) -> Tally {
    let mut cache = Naive::new(policy, limit, 5);
    let mut tally = Tally::default();
    for &Request { key, size } in asked {
        tally.requests += 1;
        tally.bytes += size;
        let known = cache.size(key);
        if known.is_some() {
            tally.hits += 1;
            tally.hit_bytes += size;
        }
        if known == Some(size) {
            assert!(cache.touch(key));
            continue;
        }
        match (cache.admit(key, size), known) {
            (Some(victims), _) => {
                tally.evictions += victims.len() as u64;
                tally.admitted += u64::from(known.is_none());
            }
            (None, Some(_)) => {
                cache.remove(key);
                tally.evictions += 1;
            }
            (None, None) => tally.refused += 1,
        }
    }
    tally
}

/// The hit ratio of a cache for `limit` objects, once it is warm.
fn warm_ratio(policy: Eviction, limit: u64, asked: impl Iterator<Item = Request>, count: usize) -> f64 {
    let mut cache = Simulation::new(policy, limit, Admission::Always, 5);
    let mut victims = Vec::new();
    let mut asked = asked;
    asked.by_ref().take(count / 4).for_each(|request| cache.request(request, &mut victims));
    let cold = cache.tally;
    asked.take(count).for_each(|request| cache.request(request, &mut victims));
    (cache.tally.hits - cold.hits) as f64 / (cache.tally.requests - cold.requests) as f64
}

/// The popularity of each rank by Zipf's law.
fn popularity(objects: u64, alpha: f64) -> Vec<f64> {
    let weights: Vec<f64> = (1..=objects).map(|rank| (rank as f64).powf(-alpha)).collect();
    let whole: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / whole).collect()
}

/// The hit ratio where an object of popularity p is there with the chance `there(p, t)`, and t is such that as many are
/// there as fit.
fn fixed_point(popularity: &[f64], fit: f64, there: fn(f64, f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1e12);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        let count: f64 = popularity.iter().map(|&p| there(p, middle)).sum();
        if count < fit { low = middle } else { high = middle }
    }
    popularity.iter().map(|&p| p * there(p, low)).sum()
}

#[track_caller]
fn agrees(what: &str, measured: f64, published: f64, tolerance: f64) {
    println!("{what}: measured {measured:.4}, published {published:.4}");
    assert!((measured - published).abs() <= tolerance, "{what}: {measured}, and not {published}");
}

const OBJECTS: u64 = 10_000;
const FIT: u64 = 1_000;
const ALPHA: f64 = 0.8;
const COUNT: usize = 400_000;

fn zipf_ratio(policy: Eviction) -> f64 {
    warm_ratio(policy, FIT, requests(Workload::Zipf, OBJECTS, ALPHA, FIXED), COUNT)
}

/// Che, Tung and Wang, "Hierarchical web caching systems", IEEE JSAC 20, 2002: an object is in an LRU cache with
/// the chance 1 − e^(−pt).
#[test]
fn figure_1_lru_under_zipf_is_as_che_approximates() {
    let published = fixed_point(&popularity(OBJECTS, ALPHA), FIT as f64, |p, t| 1.0 - (-p * t).exp());
    agrees("LRU", zipf_ratio(Eviction::Lru), published, 0.005);
}

/// Gelenbe, "A unified approach to the evaluation of a class of replacement algorithms", IEEE Transactions on
/// Computers C-22, 1973: where requests are independent, FIFO and RANDOM have the same hit ratio.
#[test]
fn figure_2_fifo_and_random_are_equal() {
    agrees("FIFO and RANDOM", zipf_ratio(Eviction::Fifo), zipf_ratio(Eviction::Random), 0.004);
}

/// Fricker, Robert and Roberts, "A versatile and accurate approximation for LRU cache performance", ITC 24, 2012, in
/// its section on random replacement: an object is there with the chance pt / (1 + pt).
#[test]
fn figure_3_random_under_zipf_is_as_fricker_approximates() {
    let published = fixed_point(&popularity(OBJECTS, ALPHA), FIT as f64, |p, t| p * t / (1.0 + p * t));
    agrees("RANDOM", zipf_ratio(Eviction::Random), published, 0.005);
}

/// Coffman and Denning, "Operating systems theory", 1973: where requests are independent, no policy that does not know
/// the future is better than keeping the most popular objects, which is what LFU comes to. Ageing costs a little.
#[test]
fn figure_4_lfu_approaches_the_most_popular_sum() {
    let published: f64 = popularity(OBJECTS, ALPHA).iter().take(FIT as usize).sum();
    let measured = zipf_ratio(Eviction::Lfu);
    agrees("LFU", measured, published, 0.03);
    for policy in policies() {
        assert!(zipf_ratio(policy) < published + 0.004, "{} is better than can be", policy.name());
    }
}

/// Jelenković, "Asymptotic approximation of the move-to-front search cost distribution and least-recently used caching
/// fault probabilities", Annals of Applied Probability 9, 1999: for Zipf's law with an exponent α above 1, LRU misses
/// (1 − 1/α) Γ(1 − 1/α)^α times as often as keeping the most popular objects. That is π/2 for 2.
#[test]
fn figure_5_lru_misses_as_much_more_as_jelenkovic_says() {
    let best: f64 = popularity(100_000, 2.0).iter().skip(100).sum();
    let asked = requests(Workload::Zipf, 100_000, 2.0, FIXED);
    let measured = (1.0 - warm_ratio(Eviction::Lru, 100, asked, 2_000_000)) / best;
    agrees("LRU's misses, of the best possible", measured, std::f64::consts::FRAC_PI_2, 0.08);
}

/// Chou and DeWitt, "An evaluation of buffer management strategies for relational database systems", VLDB 1985: a loop
/// over more than fits never hits with LRU (or FIFO), and MRU is right for it. With room for c of n, MRU keeps all but
/// one, and hits (c − 1) / (n − 1).
#[test]
fn figure_6_a_loop_defeats_lru_and_suits_mru() {
    let looped = || requests(Workload::Scan { between: 0, sweep: 1000 }, 1, 1.0, FIXED);
    let ratio = |policy| warm_ratio(policy, 600, looped(), 400_000);
    agrees("LRU", ratio(Eviction::Lru), 0.0, 0.0);
    agrees("FIFO", ratio(Eviction::Fifo), 0.0, 0.0);
    agrees("MRU", ratio(Eviction::Mru), 599.0 / 999.0, 0.001);
}

/// Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023: S3-FIFO misses less than LRU and FIFO on
/// skewed requests, and sweeps do not hurt it. An order, and no number that could be computed.
#[test]
fn s3_fifo_is_above_lru_on_skewed_requests_and_sweeps() {
    let workloads = [Workload::Zipf, Workload::Scan { between: 5000, sweep: 5000 }];
    for workload in workloads {
        let ratio = |policy| warm_ratio(policy, FIT, requests(workload, OBJECTS, 1.0, FIXED), COUNT);
        let (s3_fifo, lru, fifo) = (ratio(Eviction::S3Fifo), ratio(Eviction::Lru), ratio(Eviction::Fifo));
        println!("{workload:?}: S3-FIFO {s3_fifo:.4}, LRU {lru:.4}, FIFO {fifo:.4}");
        assert!(s3_fifo > lru + 0.03 && lru > fifo, "{workload:?}: {s3_fifo}, {lru}, {fifo}");
    }
}

#[test]
fn second_request_keeps_one_hit_wonders_out() {
    // Sweeps over objects that are asked for again only after the filters forgot them.
    let workload = Workload::Scan { between: 2000, sweep: 6000 };
    let tally = |admission| {
        let mut cache = Simulation::new(Eviction::Lru, 500, admission, 0);
        let mut victims = Vec::new();
        requests(workload, 2000, 1.0, FIXED).take(80_000).for_each(|it| cache.request(it, &mut victims));
        cache.tally
    };
    let (always, second) = (tally(Admission::Always), tally(Admission::SecondRequest));
    assert!(second.admitted * 4 < always.admitted, "{second:?} {always:?}");
    assert!(second.hits > always.hits, "{second:?} {always:?}");
    assert_eq!(second.hits + second.admitted + second.refused, second.requests);
}

#[test]
fn a_footprint_counts_each_object_once_with_its_largest_size() {
    let mut footprint = Footprint::default();
    for (key, size) in [(1, 10), (2, 5), (1, 30), (1, 20)] {
        footprint.add(Request { key, size });
    }
    assert_eq!(
        (footprint.requests, footprint.objects(), footprint.bytes, footprint.requested),
        (4, 2, 35, 65)
    );
}
