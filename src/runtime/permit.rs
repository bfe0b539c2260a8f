//! A connection's place: on its worker, its listener, and among those of its client's address.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use super::{registry::ListenerShared, snapshot::Listener};
use crate::telemetry::metrics::WorkerSeries;

/// One of the places that a listener has for one client's address, given back when it is dropped.
#[derive(Debug)]
pub struct AddressPlace {
    listener: Arc<ListenerShared>,
    address: IpAddr,
}

impl AddressPlace {
    /// Takes a place for a client; `Ok(None)` where the listener does not count them.
    ///
    /// # Errors
    ///
    /// The client has `max_connections_per_address` places already.
    pub fn take(listener: &Listener, address: Option<IpAddr>) -> Result<Option<Self>, AddressFull> {
        let most = listener.conf.max_connections_per_address;
        let Some(address) = address.filter(|_| most > 0) else { return Ok(None) };
        if !listener.shared.enter_address(address, most) {
            return Err(AddressFull);
        }
        Ok(Some(Self { listener: listener.shared.clone(), address }))
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        self.listener.leave_address(self.address);
    }
}

/// A client has all the places that there are for its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressFull;

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub struct Permit {
    /// Open connections by worker.
    pub open: Arc<[AtomicI64]>,
    /// The worker that has the connection.
    pub worker: u32,
    /// The listener that it came over.
    pub listener: Arc<ListenerShared>,
    /// Its place among those of its client's address, where they are counted. Boxed, since on most listeners they are not.
    pub address: Option<Box<AddressPlace>>,
    /// Where a panic is counted.
    pub series: Option<Arc<WorkerSeries>>,
}

impl Permit {
    /// Counts a connection on `worker`; its listener has let it in already.
    pub fn new(
        open: Arc<[AtomicI64]>,
        worker: usize,
        listener: Arc<ListenerShared>,
        address: Option<AddressPlace>,
    ) -> Self {
        if let Some(open) = open.get(worker) {
            open.fetch_add(1, Relaxed);
        }
        let worker = u32::try_from(worker).unwrap_or(u32::MAX);
        Self { open, worker, listener, address: address.map(Box::new), series: None }
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
        self.listener.leave();
        if let Some(series) = self.series.as_ref().filter(|_| std::thread::panicking()) {
            series.panics.add(1);
        }
    }
}
