//! Smooth weighted round robin, as nginx has it since 1.3.1: each candidate gains its weight per pick,
//! the one that has gained most is taken and pays the sum. Weights 5, 1, 1 give a a b a c a a.
//!
//! Among more than [`MANY`] backends turns are of a [`Schedule`]: nobody sees their exact order, and a walk over thousands
//! costs more than the rest of a request.
//!
//! The other policies break their ties with it, over the tied candidates only.

use std::sync::Arc;

use super::{
    candidates::{Candidates, Tier},
    schedule::{MANY, Schedule},
};
use crate::backend::{Backend, WEIGHT_UNIT};

/// The turns of one worker.
#[derive(Clone, Debug)]
pub(super) struct RoundRobin {
    turns: Box<[Turn]>,
    schedule: Option<Schedule>,
}

/// One backend's place in the order.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// What it has gained and not yet paid.
    gained: i64,
    /// Weight at build, from which the phases are made; 0 of a backup.
    weight: u32,
    /// Weight at build of a backup, among which turns are apart; 0 of all others.
    of_backup: u32,
}

impl RoundRobin {
    pub(super) fn build(backends: &[Arc<Backend>]) -> Self {
        let turn = |backend: &Arc<Backend>| {
            let weight = backend.full_weight() / WEIGHT_UNIT;
            let (weight, of_backup) = if backend.backup { (0, weight) } else { (weight, 0) };
            Turn { gained: 0, weight, of_backup }
        };
        Self { turns: backends.iter().map(turn).collect(), schedule: None }
    }

    /// As [`RoundRobin::build`], for turns among all backends: with a schedule where there are many.
    pub(super) fn among_all(backends: &[Arc<Backend>]) -> Self {
        let schedule = (backends.len() > MANY).then(|| Schedule::build(backends));
        Self { schedule, ..Self::build(backends) }
    }

    /// Starts the order at a place of this worker's own.
    ///
    /// Multiples of the golden ratio, modulo one, are spread evenly however many workers there are.
    /// Worker 0 starts at the beginning.
    pub(super) fn set_phase(&mut self, worker: usize) {
        if let Some(schedule) = &mut self.schedule {
            return schedule.set_phase(worker);
        }
        self.turns.iter_mut().for_each(|turn| turn.gained = 0);
        let weights = || self.turns.iter().map(|turn| u64::from(turn.weight));
        let (total, divisor) = (weights().sum::<u64>(), weights().fold(0, gcd));
        if divisor == 0 {
            return;
        }
        let phase = (worker as f64 * GOLDEN).fract() * (total / divisor) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float beyond the range becomes its end"
        )]
        let phase = phase as usize;
        let most = PHASE_WORK / self.turns.len().max(1);
        let weights: Vec<u32> = self.turns.iter().map(|turn| turn.weight).collect();
        for _ in 0..phase.min(most) {
            self.take(weights.iter().copied().enumerate());
        }
        // What follows counts in finer units of weight.
        let unit = i64::from(WEIGHT_UNIT);
        self.turns.iter_mut().for_each(|turn| turn.gained *= unit);
    }

    /// The candidate whose turn it is.
    #[inline]
    pub(super) fn pick(&mut self, candidates: &Candidates<'_>) -> Option<usize> {
        self.scheduled(candidates)
            .or_else(|| self.take(candidates.iter().map(|(index, _, weight)| (index, weight))))
    }

    fn scheduled(&mut self, candidates: &Candidates<'_>) -> Option<usize> {
        let schedule = self.schedule.as_mut().filter(|_| candidates.tier == Tier::Primary)?;
        schedule.take(candidates)
    }

    /// The one whose turn it is among `tied`, given as index and weight. Weight 0 takes no part.
    #[inline]
    pub(super) fn take(&mut self, tied: impl Iterator<Item = (usize, u32)>) -> Option<usize> {
        let mut total = 0;
        let mut best = usize::MAX;
        let mut most = i64::MIN;
        for (index, weight) in tied {
            let Some(turn) = self.turns.get_mut(index) else {
                continue;
            };
            let weight = i64::from(weight);
            turn.gained += weight;
            total += weight;
            // Which one leads changes at each pick, so no branch could be predicted here.
            let leads = weight > 0 && turn.gained > most;
            most = if leads { turn.gained } else { most };
            best = if leads { index } else { best };
        }
        let turn = self.turns.get_mut(best)?;
        turn.gained -= total;
        Some(best)
    }

    /// Takes what backends that remain have gained; new ones begin in the middle. It is counted in parts of all weights
    /// together: what was a part of a turn among weights of a thousand would be hundreds of turns among weights of one.
    pub(super) fn carry_over(&mut self, old: &Self, map: &[Option<usize>]) {
        if map.iter().all(Option::is_none) {
            return;
        }
        if let (Some(schedule), Some(old)) = (&mut self.schedule, &old.schedule) {
            schedule.carry_over(old, map);
        }
        let (now, before) = (self.totals(), old.totals());
        for (turn, from) in self.turns.iter_mut().zip(map) {
            let old = from.and_then(|from| old.turns.get(from));
            // Who was a backup, or is one now, had its turns among others.
            let same = old.filter(|old| (old.of_backup > 0) == (turn.of_backup > 0));
            let (now, before) = if turn.of_backup > 0 { (now.1, before.1) } else { (now.0, before.0) };
            let scaled =
                same.map_or(0, |old| i128::from(old.gained) * i128::from(now) / i128::from(before.max(1)));
            turn.gained = i64::try_from(scaled).unwrap_or(0);
        }
    }

    /// All weights together: of those that are no backups, and of backups.
    fn totals(&self) -> (i64, i64) {
        self.turns.iter().fold((0, 0), |(primary, backup), turn| {
            (primary + i64::from(turn.weight), backup + i64::from(turn.of_backup))
        })
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

const GOLDEN: f64 = 0.618_033_988_749_895;

/// Backends × turns that finding a phase may cost, since it is paid per upstream and worker.
const PHASE_WORK: usize = 65_536;
