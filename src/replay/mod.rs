//! A trace of requests, played through caches that store nothing: what hit ratio would each policy have had?
//! [`trace`] reads requests, [`generate`] makes them up, [`Replay`] counts, [`plot`] draws.
//!
//! The policies are those of [`crate::cache`] itself. Previous stop: [`crate::cli`], which alone asks for it.
//!
//! All policies and sizes go through the trace together, so it is read once. Memory is a [`Footprint`] by distinct
//! key, and what each simulated cache keeps of its own objects.

pub mod generate;
pub mod plot;
#[cfg(test)]
mod tests;
pub mod trace;

use std::collections::{HashMap, hash_map::Entry};

use trace::Request;

use crate::cache::{
    admission::Doorkeeper,
    conf::{Admission, Eviction},
    evict::{Evict, Victim},
};

/// What a trace asks for: the keys, each with the largest size that it had.
#[derive(Debug, Default)]
pub struct Footprint {
    objects: HashMap<u64, u64>,
    /// Requests.
    pub requests: u64,
    /// The bytes of all requests.
    pub requested: u64,
    /// The bytes of all objects, each once: a cache of so many would keep everything.
    pub bytes: u64,
}

impl Footprint {
    /// Counts a request.
    pub fn add(&mut self, request: Request) {
        self.requests += 1;
        self.requested = self.requested.saturating_add(request.size);
        match self.objects.entry(request.key) {
            Entry::Vacant(place) => {
                place.insert(request.size);
                self.bytes = self.bytes.saturating_add(request.size);
            }
            Entry::Occupied(mut known) => {
                let more = request.size.saturating_sub(*known.get());
                *known.get_mut() += more;
                self.bytes = self.bytes.saturating_add(more);
            }
        }
    }

    /// How many keys there are.
    pub fn objects(&self) -> u64 {
        self.objects.len() as u64
    }
}

/// What came of the requests at one cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests.
    pub requests: u64,
    /// Requests of what was resident.
    pub hits: u64,
    /// The bytes of all requests.
    pub bytes: u64,
    /// The bytes of hits.
    pub hit_bytes: u64,
    /// Objects that came in.
    pub admitted: u64,
    /// Misses that did not come in: larger than the cache, or not admitted.
    pub refused: u64,
    /// Objects that had to leave.
    pub evictions: u64,
}

impl Tally {
    /// Hits per request; 0 where there were none.
    pub fn hit_ratio(&self) -> f64 {
        ratio(self.hits, self.requests)
    }

    /// Bytes of hits per byte of requests; 0 where there were none.
    pub fn byte_hit_ratio(&self) -> f64 {
        ratio(self.hit_bytes, self.bytes)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// One cache: a policy at a size.
#[derive(Debug)]
pub struct Simulation {
    /// Which object leaves.
    pub policy: Eviction,
    /// The bytes that it may keep.
    pub limit: u64,
    /// What came of it so far.
    pub tally: Tally,
    evictor: Box<dyn Evict>,
    door: Doorkeeper,
}

impl Simulation {
    /// An empty one.
    pub fn new(policy: Eviction, limit: u64, admission: Admission, seed: u64) -> Self {
        let (evictor, door) = (policy.start(limit, seed), Doorkeeper::new(admission, limit));
        Self { policy, limit, tally: Tally::default(), evictor, door }
    }

    /// The bytes of memory that eviction and admission have allocated.
    pub fn memory(&self) -> usize {
        self.evictor.memory() + self.door.memory()
    }

    /// A request. It is a hit where its key is resident, whatever the size was; an object whose size changed has
    /// that from then on, and leaves where it no longer fits.
    pub fn request(&mut self, Request { key, size }: Request, victims: &mut Vec<Victim>) {
        let tally = &mut self.tally;
        tally.requests += 1;
        tally.bytes = tally.bytes.saturating_add(size);
        victims.clear();
        match self.evictor.size(key) {
            Some(known) => {
                tally.hits += 1;
                tally.hit_bytes = tally.hit_bytes.saturating_add(size);
                if known == size {
                    self.evictor.touch(key);
                } else if !self.evictor.admit(key, size, victims) {
                    self.evictor.remove(key);
                    tally.evictions += 1;
                }
            }
            None if self.door.admits(key) && self.evictor.admit(key, size, victims) => tally.admitted += 1,
            None => tally.refused += 1,
        }
        tally.evictions += victims.len() as u64;
    }
}

/// Several caches that see the same requests.
#[derive(Debug, Default)]
pub struct Replay {
    /// The caches.
    pub simulations: Vec<Simulation>,
    /// What all of them were asked for.
    pub footprint: Footprint,
    /// Kept for its memory.
    victims: Vec<Victim>,
}

impl Replay {
    /// A replay through these caches, all empty.
    pub fn new(simulations: Vec<Simulation>) -> Self {
        Self { simulations, ..Self::default() }
    }

    /// A request of each.
    pub fn request(&mut self, request: Request) {
        self.footprint.add(request);
        for simulation in &mut self.simulations {
            simulation.request(request, &mut self.victims);
        }
    }
}
