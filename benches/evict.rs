//! What an eviction policy costs: operations per second on a Zipf workload, and memory per object when a million are
//! resident and as many have left. `cargo bench --bench evict`. Prints, and judges nothing.

use std::time::Instant;

use pointsman::{
    cache::conf::{Admission, Eviction},
    replay::{
        Simulation,
        generate::{Generator, Sizes, Workload},
        trace::Request,
    },
};

const OBJECTS: u64 = 4_000_000;
const RESIDENT: u64 = 1_000_000;
const REQUESTS: usize = 8_000_000;

fn main() {
    // The keys of a cache are hashes.
    let mix = |key: u64| pointsman::rng::scramble(key);
    let requests: Vec<Request> = Generator::new(Workload::Zipf, OBJECTS, 0.8, Sizes::Fixed(1024), 1)
        .map(|(object, size)| Request { key: mix(object), size })
        .take(REQUESTS)
        .collect();
    println!("{REQUESTS} requests of {OBJECTS} objects, of which {RESIDENT} fit");
    println!("{:<8} {:>10} {:>10} {:>18}", "policy", "hit ratio", "ns/request", "bytes per object");
    for (policy, name, _) in Eviction::ALL {
        let mut cache = Simulation::new(*policy, RESIDENT * 1024, Admission::Always, 1);
        let mut victims = Vec::new();
        let begun = Instant::now();
        requests.iter().for_each(|request| cache.request(*request, &mut victims));
        let nanos = begun.elapsed().as_secs_f64() * 1e9 / REQUESTS as f64;
        let memory = cache.memory() as f64 / RESIDENT as f64;
        println!("{name:<8} {:>10.4} {nanos:>10.0} {memory:>18.1}", cache.tally.hit_ratio());
    }
}
