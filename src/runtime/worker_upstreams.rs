//! The upstreams of a worker, kept over generations.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use super::snapshot::Snapshot;
use crate::{
    moment::Moment,
    telemetry::metrics::{NameId, WorkerSeries},
    upstream::{Upstream, WorkerUpstream, worker_upstream::WorkerIndex},
};

/// The newest that this worker has of each upstream, by the number of its name.
#[derive(Debug)]
pub struct WorkerUpstreams {
    newest: RefCell<HashMap<NameId, Rc<WorkerUpstream>>>,
    counters: Arc<WorkerSeries>,
    place: WorkerIndex,
}

/// Upstreams that are taken over in one sweep, so that it stays short.
const TAKEN_OVER: usize = 16;

impl WorkerUpstreams {
    /// A worker's upstreams: none yet.
    pub fn new(counters: Arc<WorkerSeries>, place: WorkerIndex) -> Self {
        Self { newest: RefCell::default(), counters, place }
    }

    /// The worker's view of exactly this upstream; the newest takes over what the one before had.
    pub fn of(&self, upstream: &Arc<Upstream>) -> Rc<WorkerUpstream> {
        let mut newest = self.newest.borrow_mut();
        let before = newest.get(&upstream.name);
        match before {
            Some(before) if Arc::ptr_eq(&before.upstream, upstream) => return before.clone(),
            // An exchange of an older generation, on an upstream that has changed since: it may not take
            // anything away from the newer one.
            Some(before) if before.upstream.generation > upstream.generation => {
                return Rc::new(self.make(upstream, None));
            }
            Some(_) | None => {}
        }
        let own = Rc::new(self.make(upstream, before.map(|before| &**before)));
        newest.insert(upstream.name, own.clone());
        own
    }

    fn make(&self, upstream: &Arc<Upstream>, before: Option<&WorkerUpstream>) -> WorkerUpstream {
        WorkerUpstream::new(upstream.clone(), self.counters.clone(), self.place, fastrand::Rng::new(), before)
    }

    /// Closes connections that were idle for too long, those to backends that are gone too.
    pub fn sweep(&self, snapshot: &Snapshot, now: Moment) {
        let current = |own: &WorkerUpstream| snapshot.upstream(own.upstream.name);
        let mut outdated = Vec::new();
        self.newest.borrow_mut().retain(|_, own| {
            own.sweep(now);
            match current(own) {
                Some(upstream) => {
                    if !Arc::ptr_eq(upstream, &own.upstream) && outdated.len() < TAKEN_OVER {
                        outdated.push(upstream.clone());
                    }
                    true
                }
                None => {
                    own.close();
                    false
                }
            }
        });
        outdated.iter().for_each(|upstream| drop(self.of(upstream)));
    }
}
