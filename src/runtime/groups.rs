//! A worker's view of upstreams, kept over generations.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use super::snapshot::Snapshot;
use crate::{
    moment::Moment,
    telemetry::metrics::{NameId, WorkerSeries},
    upstream::{Upstream, WorkerUpstream, worker_upstream::WorkerIndex},
};

/// By the number of its name: the newest that this worker has of each upstream.
#[derive(Debug)]
pub struct Groups {
    newest: RefCell<HashMap<NameId, Rc<WorkerUpstream>>>,
    counters: Arc<WorkerSeries>,
    place: WorkerIndex,
}

/// Upstreams that are taken over in one sweep, so that it stays short.
const TAKEN_OVER: usize = 16;

impl Groups {
    /// None yet.
    pub fn new(counters: Arc<WorkerSeries>, place: WorkerIndex) -> Self {
        Self { newest: RefCell::default(), counters, place }
    }

    /// The worker's view of exactly this upstream; the newest takes over what the one before had.
    pub fn group(&self, upstream: &Arc<Upstream>) -> Rc<WorkerUpstream> {
        let mut newest = self.newest.borrow_mut();
        let before = newest.get(&upstream.name);
        match before {
            Some(group) if Arc::ptr_eq(&group.upstream, upstream) => return group.clone(),
            // An exchange of an older generation, on an upstream that has changed since: it may not take
            // anything away from the newer one.
            Some(group) if group.upstream.generation > upstream.generation => {
                return Rc::new(self.make(upstream, None));
            }
            Some(_) | None => {}
        }
        let group = Rc::new(self.make(upstream, before.map(|group| &**group)));
        newest.insert(upstream.name, group.clone());
        group
    }

    fn make(&self, upstream: &Arc<Upstream>, before: Option<&WorkerUpstream>) -> WorkerUpstream {
        WorkerUpstream::new(upstream.clone(), self.counters.clone(), self.place, before)
    }

    /// Closes connections that were idle for too long, those to backends that are gone too.
    pub fn sweep(&self, snapshot: &Snapshot, now: Moment) {
        let current = |group: &WorkerUpstream| snapshot.upstream(group.upstream.name);
        let mut outdated = Vec::new();
        self.newest.borrow_mut().retain(|_, group| {
            group.sweep(now);
            match current(group) {
                Some(upstream) => {
                    if !Arc::ptr_eq(upstream, &group.upstream) && outdated.len() < TAKEN_OVER {
                        outdated.push(upstream.clone());
                    }
                    true
                }
                None => {
                    group.close();
                    false
                }
            }
        });
        outdated.iter().for_each(|upstream| drop(self.group(upstream)));
    }
}
