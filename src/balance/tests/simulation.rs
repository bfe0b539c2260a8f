//! Every policy in a simulated world: a clock of events, backends with service times, several workers
//! that share the backends' counts and nothing else.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::*;

const SECOND: u64 = 1_000_000;

/// How a backend behaves: microseconds of service, doubled for each ten in flight.
#[derive(Clone, Copy, Debug)]
struct Server {
    service: u64,
    fails: bool,
    bytes: u64,
}

impl Server {
    const PLAIN: Self = Self { service: 10_000, fails: false, bytes: 1_000 };
}

struct World {
    fleet: Vec<Arc<Backend>>,
    servers: Vec<Server>,
    workers: Vec<Balancer>,
    rng: fastrand::Rng,
    now: u64,
    /// (end, worker, backend, begin)
    under_way: BinaryHeap<Reverse<(u64, usize, usize, u64)>>,
}

impl World {
    fn new(policy: Policy, weights: &[u32], workers: usize) -> Self {
        let fleet = fleet(weights);
        let prototype = Balancer::build(policy, 1.25, &fleet, 0);
        Self {
            servers: vec![Server::PLAIN; fleet.len()],
            workers: (0..workers).map(|worker| prototype.for_worker(worker)).collect(),
            fleet,
            rng: fastrand::Rng::with_seed(11),
            now: 10 * SECOND,
            under_way: BinaryHeap::new(),
        }
    }

    /// Requests at random times at `rate` per second, for `seconds`; the shares that the backends got.
    fn run(&mut self, rate: f64, seconds: u64) -> Vec<f64> {
        let mut counts = vec![0.0; self.fleet.len()];
        let end = self.now + seconds * SECOND;
        loop {
            let wait = -self.rng.f64().max(1e-9).ln() / rate * SECOND as f64;
            let next = self.now + wait as u64;
            self.finish_until(next.min(end));
            self.now = next.min(end);
            if next >= end {
                break;
            }
            counts[self.begin()] += 1.0;
        }
        let total: f64 = counts.iter().sum();
        counts.iter().map(|count| count / total).collect()
    }

    fn begin(&mut self) -> usize {
        let worker = self.rng.usize(0..self.workers.len());
        let now = Moment(self.now);
        let balancer = &mut self.workers[worker];
        let index = pick_at(balancer, &self.fleet, &mut self.rng, now).unwrap();
        balancer.on_start(index, now);
        let in_flight = self.fleet[index].shared.in_flight.0.fetch_add(1, Relaxed);
        let server = self.servers[index];
        let noise = 0.5 + self.rng.f64();
        let load = 1.0 + f64::from(in_flight) / 10.0;
        let service = (server.service as f64 * noise * load) as u64;
        self.under_way.push(Reverse((self.now + service, worker, index, self.now)));
        index
    }

    fn finish_until(&mut self, end: u64) {
        while let Some(Reverse((at, worker, index, begin))) = self.under_way.peek().copied() {
            if at > end {
                break;
            }
            self.under_way.pop();
            let server = self.servers[index];
            let balancer = &mut self.workers[worker];
            let elapsed = Duration::from_micros(at - begin);
            let outcome = Outcome { elapsed, failed: server.fails };
            balancer.on_done(index, &outcome, Moment(at));
            balancer.on_bytes(index, server.bytes, Moment(at));
            self.fleet[index].shared.in_flight.0.fetch_sub(1, Relaxed);
        }
    }
}

/// Policies whose shares follow the weights whatever the backends do.
const BY_WEIGHT: [Policy; 6] = [
    Policy::RoundRobin,
    Policy::WeightedRoundRobin,
    Policy::Random,
    Policy::IpHash,
    Policy::Maglev,
    Policy::ConsistentHash,
];

/// How far a share may be off: the ring's virtual nodes are coarse, the others keep within 2 %.
fn tolerance(policy: Policy) -> f64 {
    match policy {
        Policy::ConsistentHash => 0.06,
        _ => 0.02,
    }
}

#[test]
fn equal_weights_and_equal_servers_share_equally() {
    for &(policy, ..) in Policy::ALL {
        for workers in [1, 4] {
            let shares = World::new(policy, &[1, 1, 1, 1], workers).run(2_000.0, 20);
            for share in &shares {
                assert!((share - 0.25).abs() < tolerance(policy), "{policy:?}: {shares:?}");
            }
        }
    }
}

#[test]
fn weights_are_followed() {
    for &(policy, ..) in Policy::ALL {
        for workers in [1, 4] {
            let mut world = World::new(policy, &[5, 3, 2], workers);
            // Servers as strong as their weights, so that policies by load agree with the weights.
            world.servers = [5, 3, 2].map(|w| Server { service: 120_000 / w, ..Server::PLAIN }).into();
            let shares = world.run(1_000.0, 20);
            if BY_WEIGHT.contains(&policy) {
                for (share, weight) in shares.iter().zip([0.5, 0.3, 0.2]) {
                    assert!((share - weight).abs() < tolerance(policy), "{policy:?}: {shares:?}");
                }
            } else {
                assert!(shares[0] > shares[1] && shares[1] > shares[2], "{policy:?}: {shares:?}");
                assert!(shares[2] > 0.02, "{policy:?}: {shares:?}");
            }
        }
    }
}

#[test]
fn a_slow_backend_gets_less_from_the_policies_that_look() {
    let looking =
        [(Policy::LeastConnections, 0.2), (Policy::LeastResponseTime, 0.1), (Policy::PowerOfTwo, 0.22)];
    for (policy, most) in looking {
        for workers in [1, 4] {
            let mut world = World::new(policy, &[1, 1, 1, 1], workers);
            world.servers[2].service = 100_000;
            let shares = world.run(1_000.0, 30);
            assert!(shares[2] < most && shares[2] > 0.0, "{policy:?}: {shares:?}");
        }
    }
}

#[test]
fn a_backend_that_sends_much_gets_less_from_least_bandwidth() {
    for workers in [1, 4] {
        let mut world = World::new(Policy::LeastBandwidth, &[1, 1, 1], workers);
        world.servers[1].bytes = 100_000;
        let shares = world.run(500.0, 30);
        assert!(shares[1] < 0.1 && shares[1] > 0.0, "{shares:?}");
    }
}

#[test]
fn one_large_download_shows_before_it_ends() {
    let fleet = fleet(&[1, 1]);
    let mut balancer = Balancer::build(Policy::LeastBandwidth, 0.0, &fleet, 0);
    let mut rng = fastrand::Rng::with_seed(1);
    balancer.on_bytes(0, 50_000_000, NOW);
    for _ in 0..10 {
        assert_eq!(pick(&mut balancer, &fleet, &mut rng), Some(1));
    }
}

#[test]
fn a_backend_that_fails_fast_does_not_draw_the_traffic() {
    for workers in [1, 4] {
        let mut world = World::new(Policy::LeastResponseTime, &[1, 1, 1], workers);
        world.servers[0] = Server { service: 100, fails: true, bytes: 0 };
        let shares = world.run(500.0, 30);
        assert!(shares[0] < 0.05, "{shares:?}");
    }
}

#[test]
fn a_punished_backend_wins_its_share_back() {
    for workers in [1, 4] {
        let mut world = World::new(Policy::LeastResponseTime, &[1, 1, 1], workers);
        world.servers[0] = Server { service: 3_000_000, fails: true, bytes: 0 };
        world.run(500.0, 20);
        world.servers[0] = Server::PLAIN;
        let soon = world.run(500.0, 120);
        assert!(soon[0] > 0.0, "{soon:?}");
        let later = world.run(500.0, 20);
        assert!((later[0] - 1.0 / 3.0).abs() < 0.06, "{later:?}");
    }
}

#[test]
fn a_returning_backend_gets_its_share_again() {
    for &(policy, ..) in Policy::ALL {
        for workers in [1, 4] {
            let mut world = World::new(policy, &[1, 1, 1, 1], workers);
            world.run(1_000.0, 5);
            set_probed(&world.fleet[1], Probed::Down);
            let without = world.run(1_000.0, 20);
            assert_eq!(without[1], 0.0, "{policy:?}");
            for index in [0, 2, 3] {
                let off = (without[index] - 1.0 / 3.0).abs();
                assert!(off < 1.5 * tolerance(policy), "{policy:?}: {without:?}");
            }
            set_probed(&world.fleet[1], Probed::Up);
            world.run(1_000.0, 10);
            let with = world.run(1_000.0, 20);
            assert!((with[1] - 0.25).abs() < 1.5 * tolerance(policy), "{policy:?}: {with:?}");
        }
    }
}

#[test]
fn a_backend_without_samples_costs_the_mean_of_others() {
    let fleet = fleet(&[1, 1, 1]);
    let mut balancer = Balancer::build(Policy::LeastResponseTime, 0.0, &fleet, 0);
    let mut rng = fastrand::Rng::with_seed(1);
    for (index, elapsed) in [(0, 10), (1, 30)] {
        let elapsed = Duration::from_millis(elapsed);
        balancer.on_done(index, &Outcome { elapsed, failed: false }, NOW);
    }
    // Cost 10, 30 and (10 + 30) / 2 = 20 ms.
    assert_eq!(pick(&mut balancer, &fleet, &mut rng), Some(0));
    set_in_flight(&fleet[0], 2);
    assert_eq!(pick(&mut balancer, &fleet, &mut rng), Some(2));
    set_in_flight(&fleet[2], 1);
    // Now 30, 30, 40: a tie of the first two, which take turns.
    let picks: Vec<_> = (0..4).map(|_| pick(&mut balancer, &fleet, &mut rng).unwrap()).collect();
    assert!(picks.contains(&0) && picks.contains(&1) && !picks.contains(&2), "{picks:?}");
}

#[test]
fn over_eight_candidates_two_are_compared() {
    let fleet = fleet(&[1; 20]);
    let mut balancer = Balancer::build(Policy::LeastResponseTime, 0.0, &fleet, 0);
    let mut rng = fastrand::Rng::with_seed(1);
    for index in 0..20 {
        let elapsed = Duration::from_millis(10 * (index as u64 + 1));
        balancer.on_done(index, &Outcome { elapsed, failed: false }, NOW);
    }
    let mut counts = [0; 20];
    (0..20_000).for_each(|_| counts[pick(&mut balancer, &fleet, &mut rng).unwrap()] += 1);
    // The fastest wins each of its pairs, 2 in 20; the slowest only ties.
    assert!((1_700..2_300).contains(&counts[0]), "{counts:?}");
    assert!(counts[10] > 500, "{counts:?}");
    assert!(counts[19] < counts[10], "{counts:?}");
}

#[test]
fn costs_within_15_percent_are_ties_and_no_others() {
    let fleet = fleet(&[1, 1, 1]);
    let mut balancer = Balancer::build(Policy::LeastResponseTime, 0.0, &fleet, 0);
    let mut rng = fastrand::Rng::with_seed(1);
    for (index, elapsed) in [(0, 1_160), (1, 1_140), (2, 1_000)] {
        let elapsed = Duration::from_micros(elapsed);
        balancer.on_done(index, &Outcome { elapsed, failed: false }, NOW);
    }
    let mut counts = [0; 3];
    (0..100).for_each(|_| counts[pick(&mut balancer, &fleet, &mut rng).unwrap()] += 1);
    assert_eq!(counts, [0, 50, 50]);
}
