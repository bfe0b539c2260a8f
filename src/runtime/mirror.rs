//! What a route copies to another upstream, and what was counted of it.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

/// What a route copies.
#[derive(Debug)]
pub struct Mirror {
    /// The upstream that gets the copies, by index.
    pub upstream: usize,
    /// The share of requests, from 0 to 1.
    pub share: f64,
    /// Most bytes of a body.
    pub max_body: u64,
    /// Most copies under way.
    pub max_in_flight: u32,
    /// What was counted; generations of the route share it.
    pub counts: Arc<MirrorCounts>,
}

/// What was counted of the copies of a route's requests, over all workers.
#[derive(Debug, Default)]
pub struct MirrorCounts {
    /// Copies under way.
    pub in_flight: AtomicU32,
    /// Copies that were answered, with whatever status.
    pub answered: AtomicU64,
    /// Copies that got no answer.
    pub failed: AtomicU64,
    /// Requests that were not copied, since as many copies were under way as may.
    pub full: AtomicU64,
    /// Requests that were not copied, since their body was too long.
    pub too_large: AtomicU64,
    /// Requests that were not copied, since their body did not come whole.
    pub cut_off: AtomicU64,
}

/// A copy under way; it is no more when this is dropped.
#[derive(Debug)]
pub struct CopyPlace(Arc<MirrorCounts>);

impl Drop for CopyPlace {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Mirror {
    /// A place for a copy; `None`, and counted, where all are taken.
    pub fn enter(&self) -> Option<CopyPlace> {
        let in_flight = &self.counts.in_flight;
        let entered =
            in_flight.fetch_update(Relaxed, Relaxed, |is| (is < self.max_in_flight).then_some(is + 1));
        match entered {
            Ok(_) => Some(CopyPlace(self.counts.clone())),
            Err(_) => {
                self.counts.full.fetch_add(1, Relaxed);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_and_what_finds_none_is_counted() {
        let counts = Arc::default();
        let mirror = Mirror { upstream: 0, share: 1.0, max_body: 0, max_in_flight: 1, counts };
        let first = mirror.enter();
        assert!(first.is_some() && mirror.enter().is_none());
        assert_eq!(mirror.counts.full.load(Relaxed), 1);
        drop(first);
        assert!(mirror.enter().is_some());
    }
}
