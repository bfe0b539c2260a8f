//! Turns by weight among many backends: the one whose turn is due earliest, and its next turn comes after a time in
//! inverse proportion to its weight (earliest deadline first). A pick costs the logarithm of the number of backends, where
//! smooth weighted round robin walks them all.
//!
//! The first turns are spread over each backend's time, so that neither equal weights march in the order of the file nor
//! light ones come in a row.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use super::candidates::Candidates;
use crate::backend::Backend;

/// Upstreams of more backends have a schedule.
pub(super) const MANY: usize = 64;

/// The turns of one worker.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    due: BinaryHeap<Reverse<Due>>,
}

/// When a backend's next turn is. The first in the file is first among those of the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: u64,
    index: usize,
    /// The time between two turns at its full weight.
    every: u64,
}

impl Schedule {
    /// The schedule of worker 0.
    pub(super) fn build(backends: &[Arc<Backend>]) -> Self {
        let primary = backends.iter().enumerate().filter(|(_, backend)| !backend.backup);
        let due = primary.map(|(index, backend)| {
            let place = (index as f64 * GOLDEN).fract();
            let every = until_next(backend.full_weight());
            Reverse(Due { at: part(every, place), index, every })
        });
        Self { due: due.collect() }
    }

    /// Starts at a place of this worker's own: as if a part of the turns had been taken.
    pub(super) fn set_phase(&mut self, worker: usize) {
        let phase = part(self.due.len() as u64, (worker as f64 * GOLDEN).fract());
        for _ in 0..phase.min(MOST_PHASE) {
            let Some(mut first) = self.due.peek_mut() else { return };
            let Reverse(Due { at, index, every }) = *first;
            *first = Reverse(Due { at: at.saturating_add(every), index, every });
        }
    }

    /// The candidate whose turn it is; `None` where hardly any backend is one: then they are walked. One that is none
    /// now misses its turn.
    #[inline]
    pub(super) fn take(&mut self, candidates: &Candidates<'_>) -> Option<usize> {
        for _ in 0..MOST_MISSED {
            let mut first = self.due.peek_mut()?;
            let Reverse(Due { at, index, every }) = *first;
            let weight = candidates.weight_of(index);
            let wait = if weight > 0 { until_next(weight) } else { every };
            *first = Reverse(Due { at: at.saturating_add(wait), index, every });
            // Which moves it to its new place.
            drop(first);
            if weight > 0 {
                return Some(index);
            }
        }
        None
    }

    /// Takes the turns of backends that remain; new ones keep their first from now on. With the weight that it has now
    /// nobody's turn is further away than a whole round: one that had no weight before would wait for as long as if it
    /// still had none.
    pub(super) fn carry_over(&mut self, old: &Self, map: &[Option<usize>]) {
        let Some(now) = old.due.peek().map(|Reverse(due)| due.at) else { return };
        let most = old.due.iter().map(|Reverse(due)| due.index + 1).max().unwrap_or(0);
        let mut turns = vec![None; most];
        for Reverse(Due { at, index, .. }) in &old.due {
            if let Some(turn) = turns.get_mut(*index) {
                *turn = Some(*at);
            }
        }
        let moved = std::mem::take(&mut self.due).into_iter().map(|Reverse(Due { at, index, every })| {
            let before = map.get(index).copied().flatten().and_then(|old| turns.get(old).copied().flatten());
            let at = before.unwrap_or(now.saturating_add(at)).min(now.saturating_add(every));
            Reverse(Due { at, index, every })
        });
        self.due = moved.collect();
    }
}

/// The time between two turns of a backend with this weight: an override may have left it none.
fn until_next(weight: u32) -> u64 {
    TURN / u64::from(weight.max(1))
}

/// A part of a time.
fn part(time: u64, of: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a time is not negative, and smaller than it"
    )]
    let part = (time as f64 * of) as u64;
    part
}

/// The time between two turns of a backend of weight 1: enough for a million picks a second for a thousand years.
const TURN: u64 = 1 << 36;

/// Turns that are missed in one pick before all backends are walked.
const MOST_MISSED: usize = 32;

/// Turns that finding a phase may cost, since it is paid per upstream and worker.
const MOST_PHASE: u64 = 4096;

/// Its multiples, modulo one, are spread evenly however many there are.
const GOLDEN: f64 = 0.618_033_988_749_895;
