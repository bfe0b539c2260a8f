//! Which backends a pick may choose from: the rules that every policy shares.
//!
//! A pick goes through the [`Tier`]s until one gives a backend. A policy asks [`Candidates::weight`]
//! for each backend as it walks them, so that nothing is collected and the common case reads each
//! backend once.

use std::sync::Arc;

use crate::{backend::Backend, moment::Moment};

/// The backends of an upstream as one pick sees them.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    pub(super) backends: &'a [Arc<Backend>],
    pub(super) tried: &'a [usize],
    pub(super) now: Moment,
    pub(super) tier: Tier,
    /// Whether those that health took out are asked as well (`when_all_down = "use-all"`).
    pub(super) despite_health: bool,
}

/// Groups of backends in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// Those that are no backup and were not tried in this exchange.
    Primary,
    /// Backups that were not tried; only when no backend of the tier before is usable.
    Backup,
    /// Those that are no backup, tried or not.
    TriedPrimary,
    /// Backups, tried or not.
    TriedBackup,
}

impl Tier {
    #[inline]
    fn is_backup(self) -> bool {
        matches!(self, Self::Backup | Self::TriedBackup)
    }

    /// Whether those that were tried belong to it, too.
    #[inline]
    fn is_tried(self) -> bool {
        matches!(self, Self::TriedPrimary | Self::TriedBackup)
    }
}

/// The tiers that are asked when [`Tier::Primary`] gave nothing.
pub(super) const TIERS: [Tier; 3] = [Tier::Backup, Tier::TriedPrimary, Tier::TriedBackup];

impl Candidates<'_> {
    /// The effective weight of a candidate, or 0 when it may not be picked.
    #[inline]
    pub(super) fn weight(&self, index: usize, backend: &Backend) -> u32 {
        let is_of_tier = backend.backup == self.tier.is_backup()
            && (self.tried.is_empty() || self.tier.is_tried() || !self.is_tried(index));
        if is_of_tier && self.is_fit(backend) && !backend.is_full() { backend.weight_at(self.now) } else { 0 }
    }

    /// The weight of the candidate at `index`; 0 beyond the end.
    #[inline]
    pub(super) fn weight_of(&self, index: usize) -> u32 {
        match self.backends.get(index) {
            Some(backend) => self.weight(index, backend),
            None => 0,
        }
    }

    /// Every candidate with its index and effective weight.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Backend, u32)> {
        self.backends.iter().enumerate().filter_map(|(index, backend)| {
            let weight = self.weight(index, backend);
            (weight > 0).then_some((index, &**backend, weight))
        })
    }

    /// A candidate other than `except`, at random in proportion to weight: a reservoir of one, so the
    /// backends are walked once.
    #[inline]
    pub(super) fn random(&self, rng: &mut fastrand::Rng, except: Option<usize>) -> Option<usize> {
        let mut chosen = None;
        let mut total = 0_u64;
        for (index, _, weight) in self.iter() {
            if Some(index) == except {
                continue;
            }
            total += u64::from(weight);
            if rng.u64(0..total) < u64::from(weight) {
                chosen = Some(index);
            }
        }
        chosen
    }

    /// Whether some backend that is no backup and was not tried would be a candidate if it were not
    /// full.
    pub(super) fn is_any_primary_usable(&self) -> bool {
        self.backends
            .iter()
            .enumerate()
            .any(|(index, backend)| self.is_available_primary(backend) && !self.is_tried(index))
    }

    /// Whether some backend that is no backup is healthy with a weight, tried or not.
    pub(super) fn is_any_primary_available(&self) -> bool {
        self.backends.iter().any(|backend| self.is_available_primary(backend))
    }

    fn is_available_primary(&self, backend: &Backend) -> bool {
        !backend.backup && self.is_fit(backend) && backend.weight_at(self.now) > 0
    }

    #[inline]
    fn is_fit(&self, backend: &Backend) -> bool {
        backend.is_healthy(self.now) || (self.despite_health && backend.is_enabled())
    }

    #[inline]
    fn is_tried(&self, index: usize) -> bool {
        self.tried.contains(&index)
    }
}
