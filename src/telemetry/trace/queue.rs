//! The way of finished spans from workers to the exporter.
//!
//! A worker writes spans into a buffer of its own and hands whole buffers over; it never waits. When the
//! exporter is behind and the channel is full, the buffer is dropped and its spans are counted.

use std::{
    cell::RefCell,
    sync::{Mutex, PoisonError},
};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::telemetry::metrics::Counter;

/// A worker hands its buffer over when it is this full.
const FULL: usize = 32 * 1024;
/// Buffers that may wait in the channel. The exporter takes them out while it sends, so it is short.
const QUEUE: usize = 64;

/// Finished spans, encoded one behind the other.
#[derive(Debug, Default)]
pub struct Batch {
    /// The spans.
    pub spans: Vec<u8>,
    /// How many they are.
    pub count: u64,
}

/// The queue of spans: both of its ends, and counts of what became of spans; a part of the registry.
#[derive(Debug)]
pub struct Traces {
    sender: Mutex<Option<Sender<Batch>>>,
    receiver: Mutex<Option<Receiver<Batch>>>,
    /// Spans that the collector took. This and the next two are written by the exporter alone.
    pub exported: Counter,
    /// Spans that the collector refused, or that did not reach it in time.
    pub failed: Counter,
    /// Spans for which the exporter had no room.
    pub dropped: Counter,
}

impl Default for Traces {
    fn default() -> Self {
        let (sender, receiver) = channel(QUEUE);
        Self {
            sender: Mutex::new(Some(sender)),
            receiver: Mutex::new(Some(receiver)),
            exported: Counter::default(),
            failed: Counter::default(),
            dropped: Counter::default(),
        }
    }
}

impl Traces {
    /// A worker's end.
    pub fn for_worker(&self) -> WorkerTraces {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone();
        WorkerTraces { sender, buffer: RefCell::default() }
    }

    /// The exporter's end; once.
    pub fn receiver(&self) -> Option<Receiver<Batch>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Closes the queue to further workers: the channel ends with the last that is there.
    pub fn close(&self) {
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A worker's buffer and its way to the exporter.
#[derive(Debug)]
pub struct WorkerTraces {
    sender: Option<Sender<Batch>>,
    buffer: RefCell<Batch>,
}

impl WorkerTraces {
    /// Adds spans; `write` gives how many it wrote. Gives how many were dropped because the exporter is
    /// behind.
    pub fn add(&self, write: impl FnOnce(&mut Vec<u8>) -> u64) -> u64 {
        let mut buffer = self.buffer.borrow_mut();
        buffer.count += write(&mut buffer.spans);
        if buffer.spans.len() < FULL { 0 } else { self.hand_over(&mut buffer) }
    }

    /// Hands over what there is; called now and then so that spans of a quiet worker are not late.
    pub fn flush(&self) -> u64 {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.count == 0 { 0 } else { self.hand_over(&mut buffer) }
    }

    fn hand_over(&self, buffer: &mut Batch) -> u64 {
        let batch = std::mem::take(buffer);
        let count = batch.count;
        match self.sender.as_ref().map(|sender| sender.try_send(batch)) {
            Some(Ok(())) => 0,
            Some(Err(_)) | None => count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(out: &mut Vec<u8>) -> u64 {
        out.extend_from_slice(&[0; 1024]);
        1
    }

    #[test]
    fn full_buffers_are_handed_over_the_rest_at_the_end() {
        let traces = Traces::default();
        let (worker, mut receiver) = (traces.for_worker(), traces.receiver().unwrap());
        assert!(traces.receiver().is_none());
        for _ in 0..FULL / 1024 - 1 {
            assert_eq!(worker.add(one), 0);
        }
        assert!(receiver.try_recv().is_err());
        worker.add(one);
        worker.add(one);
        assert_eq!(receiver.try_recv().unwrap().count, 32);
        traces.close();
        assert_eq!(worker.flush(), 0);
        drop(worker);
        let last = receiver.try_recv().unwrap();
        assert_eq!((last.count, last.spans.len()), (1, 1024));
        assert!(matches!(receiver.try_recv(), Err(tokio::sync::mpsc::error::TryRecvError::Disconnected)));
        // Whoever comes late loses spans and learns how many.
        let late = traces.for_worker();
        late.add(one);
        assert_eq!(late.flush(), 1);
    }

    #[test]
    fn a_slow_exporter_costs_spans_never_memory_or_a_wait() {
        let traces = Traces::default();
        let worker = traces.for_worker();
        let dropped: u64 = (0..100_000).map(|_| worker.add(one)).sum();
        assert_eq!(dropped, 100_000 - (QUEUE * FULL / 1024) as u64);
        assert!(worker.buffer.borrow().spans.capacity() < 2 * FULL);
        assert_eq!(worker.flush(), 0);
    }
}
