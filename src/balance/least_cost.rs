//! The candidate of least cost, for the policies whose cost is an estimate.
//!
//! Costs within 15 % are ties, since an estimate is no better than that, and ties go to smooth weighted
//! round robin. Over eight candidates, two at random are compared: that is nearly as good, keeps
//! workers from all running to the same backend at once, and bounds the work.

use super::{candidates::Candidates, round_robin::RoundRobin, schedule::MANY};
use crate::backend::Backend;

/// Picks by `cost`, a function of index, backend and effective weight.
#[inline]
pub(super) fn pick(
    candidates: &Candidates<'_>,
    turns: &mut RoundRobin,
    rng: &mut fastrand::Rng,
    cost: impl Fn(usize, &Backend, u32) -> f64,
) -> Option<usize> {
    if candidates.backends.len() > MANY
        && let Some(pair) = two_of_many(candidates, rng)
    {
        return cheapest(candidates, turns, pair, cost);
    }
    let mut considered = [Considered::default(); MOST];
    let may_be_many = candidates.backends.len() > MOST;
    let mut pair = [0; 2];
    let mut count = 0_usize;
    for (index, backend, weight) in candidates.iter() {
        if let Some(slot) = considered.get_mut(count) {
            let cost = cost(index, backend, weight);
            *slot = Considered { index, weight, cost };
        }
        if may_be_many {
            keep_two(&mut pair, index, count, rng);
        }
        count += 1;
    }
    if count > MOST {
        return cheapest(candidates, turns, pair, cost);
    }
    among(considered.get(..count)?, turns)
}

/// Two candidates at random, without a walk over all; `None` where few of many are left.
fn two_of_many(candidates: &Candidates<'_>, rng: &mut fastrand::Rng) -> Option<[usize; 2]> {
    let mut draws = (0..MOST_DRAWS).map(|_| rng.usize(0..candidates.backends.len()));
    let mut drawn = draws.by_ref().filter(|index| candidates.weight_of(*index) > 0);
    let first = drawn.next()?;
    let second = drawn.find(|index| *index != first)?;
    Some([first, second])
}

/// The cheaper of two.
fn cheapest(
    candidates: &Candidates<'_>,
    turns: &mut RoundRobin,
    pair: [usize; 2],
    cost: impl Fn(usize, &Backend, u32) -> f64,
) -> Option<usize> {
    let mut considered = [Considered::default(); 2];
    for (slot, index) in considered.iter_mut().zip(pair) {
        let backend = candidates.backends.get(index)?;
        // Full in the meantime is still fair to ask: the caller's count decides.
        let weight = candidates.weight(index, backend).max(1);
        let cost = cost(index, backend, weight);
        *slot = Considered { index, weight, cost };
    }
    among(&considered, turns)
}

/// Whose turn it is among those that cost least.
fn among(considered: &[Considered], turns: &mut RoundRobin) -> Option<usize> {
    let most = TIE * considered.iter().map(|it| it.cost).min_by(f64::total_cmp)?;
    let tied = considered.iter().filter(|it| it.cost <= most);
    turns.take(tied.map(|it| (it.index, it.weight)))
}

/// A candidate with what it costs.
#[derive(Clone, Copy, Debug, Default)]
struct Considered {
    index: usize,
    weight: u32,
    cost: f64,
}

/// A reservoir of two distinct candidates, each pair as likely as any other; `index` is the one after
/// `count` others.
#[inline]
fn keep_two(pair: &mut [usize; 2], index: usize, count: usize, rng: &mut fastrand::Rng) {
    let place = match count {
        0 | 1 => count,
        _ => rng.usize(0..=count),
    };
    if let Some(slot) = pair.get_mut(place) {
        *slot = index;
    }
}

/// Draws for two of many before all backends are walked: where more than half may be picked they nearly always do.
const MOST_DRAWS: usize = 12;

/// Candidates whose costs are all compared.
const MOST: usize = 8;

/// A cost up to this times the least is a tie.
const TIE: f64 = 1.15;
