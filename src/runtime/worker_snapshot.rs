//! A snapshot as one worker sees it.

use std::{cell::OnceCell, rc::Rc, sync::Arc};

use super::{snapshot::Snapshot, worker_upstreams::WorkerUpstreams};
use crate::upstream::WorkerUpstream;

/// A snapshot as one worker sees it: every name is an index, and the worker's own state hangs on it.
///
/// It is made when the worker first sees a generation, and costs next to nothing then, however many routes
/// there are: what hangs on an upstream is taken over when a request first needs it.
#[derive(Debug)]
pub struct WorkerSnapshot {
    /// The snapshot.
    pub shared: Arc<Snapshot>,
    upstreams: Box<[OnceCell<Rc<WorkerUpstream>>]>,
    store: Rc<WorkerUpstreams>,
}

impl WorkerSnapshot {
    pub(super) fn new(shared: Arc<Snapshot>, store: Rc<WorkerUpstreams>) -> Self {
        let upstreams = shared.upstreams.iter().map(|_| OnceCell::new()).collect();
        Self { shared, upstreams, store }
    }

    /// An upstream as this worker sees it, by its index.
    #[inline]
    pub fn upstream(&self, index: usize) -> Option<&Rc<WorkerUpstream>> {
        let cell = self.upstreams.get(index)?;
        if cell.get().is_none() {
            let upstream = self.store.of(self.shared.upstreams.get(index)?);
            // It was empty a moment ago, on this thread.
            let _ = cell.set(upstream);
        }
        cell.get()
    }
}
