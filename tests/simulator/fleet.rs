//! The backends of a simulated upstream.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::seeds::World;
use crate::{
    backend::{Address, Admin, Backend, Probed, Shared},
    moment::Moment,
};

/// A backend named and addressed by a number.
pub(super) fn backend(number: usize) -> Backend {
    Backend {
        name: format!("b{number}").into(),
        address: Address::Host { host: format!("10.0.0.{number}").into(), port: 80 },
        weight: 1,
        max_connections: 0,
        backup: false,
        slow_start: Duration::ZERO,
        shared: Arc::new(Shared::default()),
    }
}

/// Backends of any kind.
pub(super) fn mixed(world: &mut World, most: usize) -> Vec<Arc<Backend>> {
    let count = world.rng.usize(1..=most);
    let backends = (0..count).map(|number| {
        Arc::new(Backend {
            weight: world.one_of(&[0, 1, 1, 1, 2, 5]),
            max_connections: world.one_of(&[0, 0, 1, 2, 5]),
            backup: world.chance(20),
            slow_start: world.one_of(&[Duration::ZERO, Duration::ZERO, Duration::from_secs(30)]),
            ..backend(number)
        })
    });
    backends.collect()
}

/// The same backends as another generation has them.
pub(super) fn again(backend: &Backend) -> Backend {
    Backend {
        name: backend.name.clone(),
        address: backend.address.clone(),
        shared: backend.shared.clone(),
        ..*backend
    }
}

pub(super) fn set_probed(backend: &Backend, probed: Probed) {
    backend.shared.probed.store(probed as u8, Relaxed);
}

pub(super) fn set_admin(backend: &Backend, admin: Admin) {
    backend.shared.admin.store(admin as u8, Relaxed);
}

/// Whether a backend could be picked if it were not full.
pub(super) fn stands(backend: &Backend, now: Moment, despite_health: bool) -> bool {
    let is_fit = backend.is_healthy(now) || despite_health && backend.is_enabled();
    is_fit && backend.weight_at(now) > 0
}

/// Those that may be picked: the first of four groups that has one.
pub(super) fn allowed(
    backends: &[Arc<Backend>],
    tried: &[usize],
    now: Moment,
    despite_health: bool,
) -> Vec<usize> {
    let standing = |is_backup: bool| {
        let all = backends.iter().enumerate().filter(move |(_, it)| it.backup == is_backup);
        all.filter(move |(_, it)| stands(it, now, despite_health)).map(|(index, _)| index)
    };
    let free = |index: &usize| !backends[*index].is_full();
    let untried = |index: &usize| !tried.contains(index);
    // Those that are merely full keep the backups asleep: the caller waits for them.
    let has_primary = standing(false).next().is_some();
    let has_untried_primary = standing(false).any(|index| untried(&index));
    let groups = [
        standing(false).filter(free).filter(untried).collect(),
        if has_untried_primary { vec![] } else { standing(true).filter(free).filter(untried).collect() },
        standing(false).filter(free).collect(),
        if has_primary { vec![] } else { standing(true).filter(free).collect::<Vec<_>>() },
    ];
    groups.into_iter().find(|group| !group.is_empty()).unwrap_or_default()
}
