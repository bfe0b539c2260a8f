//! ip-hash: a client stays with its backend while that one is available.
//!
//! Weighted rendezvous (Thaler, Ravishankar: "Using name-based mappings to increase hit rates", 1998):
//! each backend scores each key, the best score wins. When a backend goes, only its own clients move;
//! when one comes, it takes its share and nothing else moves.

use std::sync::Arc;

use super::{
    candidates::Candidates,
    identity::{identities, mix},
};
use crate::backend::Backend;

/// The identities of the backends.
#[derive(Clone, Debug)]
pub(super) struct IpHash {
    identities: Arc<[u64]>,
}

impl IpHash {
    pub(super) fn build(backends: &[Arc<Backend>]) -> Self {
        Self { identities: identities(backends) }
    }

    #[inline]
    pub(super) fn pick(&self, candidates: &Candidates<'_>, key: u64) -> Option<usize> {
        rendezvous(candidates, &self.identities, key, |_, _| true)
    }
}

/// The candidate with the best score for `key`, of those with the index and weight of which `has_room`. Cost: linear in
/// the number of backends.
pub(super) fn rendezvous(
    candidates: &Candidates<'_>,
    identities: &[u64],
    key: u64,
    has_room: impl Fn(usize, u32) -> bool,
) -> Option<usize> {
    let mut best: Option<(usize, Score)> = None;
    for (index, _, weight) in candidates.iter().filter(|(index, _, weight)| has_room(*index, *weight)) {
        let hash = mix(key, identities.get(index).copied().unwrap_or_default());
        let mut score = Score::new(hash, weight);
        let is_better = match &mut best {
            None => true,
            Some((_, best)) => score.beats(best),
        };
        if is_better {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

/// A uniform draw with a weight.
#[derive(Clone, Copy, Debug)]
struct Score {
    hash: u64,
    weight: u32,
    /// Found when it is first needed.
    waiting_time: Option<f64>,
}

impl Score {
    #[inline]
    fn new(hash: u64, weight: u32) -> Self {
        Self { hash, weight, waiting_time: None }
    }

    #[inline]
    fn beats(&mut self, other: &mut Self) -> bool {
        // With equal weights the logarithm changes nothing: it is monotone.
        if self.weight == other.weight {
            return self.hash > other.hash;
        }
        self.waiting_time() < other.waiting_time()
    }

    /// An exponential draw with the weight as its rate; the shortest is each backend's with a
    /// probability in proportion to its weight.
    fn waiting_time(&mut self) -> f64 {
        *self.waiting_time.get_or_insert_with(|| {
            let uniform = (self.hash as f64 + 1.0) / (u64::MAX as f64 + 2.0);
            -uniform.ln() / f64::from(self.weight)
        })
    }
}
