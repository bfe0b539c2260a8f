//! A connection's place: on its worker, its listener, and among those of its address.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use super::registry::ListenerShared;
use crate::telemetry::metrics::WorkerSeries;

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub struct Permit {
    /// Open connections by worker.
    pub open: Arc<[AtomicI64]>,
    /// The worker that has the connection.
    pub worker: u32,
    /// The listener that it came over.
    pub listener: Arc<ListenerShared>,
    /// Its address, where connections are counted by address.
    pub address: Option<IpAddr>,
    /// Where a panic is counted.
    pub series: Option<Arc<WorkerSeries>>,
}

impl Permit {
    /// Counts a connection on `worker`; its listener has let it in already.
    pub fn new(
        open: Arc<[AtomicI64]>,
        worker: usize,
        listener: Arc<ListenerShared>,
        address: Option<IpAddr>,
    ) -> Self {
        if let Some(open) = open.get(worker) {
            open.fetch_add(1, Relaxed);
        }
        let worker = u32::try_from(worker).unwrap_or(u32::MAX);
        Self { open, worker, listener, address, series: None }
    }
}

impl Permit {
    /// Counts the connection on another worker from here on.
    pub fn pass_to(&mut self, worker: usize) {
        if let Some(open) = self.open.get(worker) {
            open.fetch_add(1, Relaxed);
        }
        if let Some(open) = self.open.get(self.worker as usize) {
            open.fetch_sub(1, Relaxed);
        }
        self.worker = u32::try_from(worker).unwrap_or(u32::MAX);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(open) = self.open.get(self.worker as usize) {
            open.fetch_sub(1, Relaxed);
        }
        self.listener.leave(self.address);
        if let Some(series) = self.series.as_ref().filter(|_| std::thread::panicking()) {
            series.panics.add(1);
        }
    }
}
