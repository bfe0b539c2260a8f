//! Connections to the backends of an upstream, of one worker, over the generations of the configuration.

use std::{collections::HashSet, rc::Rc};

use super::{Upstream, http2_pool::Http2Pool, pool::Pool};
use crate::exchange::Way;

/// Connections to one backend.
#[derive(Debug)]
pub(super) struct Pools {
    pub(super) http1: Pool,
    pub(super) http2: Http2Pool,
    /// How they are opened. Those that are one client's alone are in no pool, and are told by it from what came before.
    pub(super) way: Way,
}

impl Pools {
    /// Closes what is idle, and keeps nothing any more.
    pub(super) fn close(&self) {
        self.http1.close();
        self.http2.close();
    }
}

/// Pools for each backend: the one that was there, where backend and TLS are still the same. An exchange
/// of the generation before gives its connection back to it; what is idle to a backend that is gone, or
/// under settings that are gone, is closed.
pub(super) fn pools(
    upstream: &Upstream,
    before: Option<(&Upstream, &[Rc<Pools>])>,
    map: &[Option<usize>],
) -> Vec<Rc<Pools>> {
    let conf = &upstream.conf;
    let (most, timeout) = (conf.max_idle as usize, conf.idle_timeout);
    let may_keep = before.is_some_and(|(before, _)| upstream.speaks_as(before));
    let kept = |index: usize| {
        let from = map.get(index).copied().flatten().filter(|_| may_keep)?;
        before?.1.get(from).cloned()
    };
    let pools: Vec<_> = (0..upstream.backends.len())
        .map(|index| match kept(index) {
            Some(pool) => {
                pool.http1.set(most, timeout);
                pool
            }
            None => {
                let (http1, http2) = (Pool::new(most, timeout), Http2Pool::default());
                Rc::new(Pools { http1, http2, way: Way::default() })
            }
        })
        .collect();
    if let Some((_, before)) = before {
        let kept: HashSet<usize> = match may_keep {
            true => map.iter().copied().flatten().collect(),
            false => HashSet::new(),
        };
        let gone = before.iter().enumerate().filter(|(index, _)| !kept.contains(index));
        gone.for_each(|(_, pool)| pool.close());
    }
    pools
}
