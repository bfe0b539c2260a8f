//! The exporter of spans: gathers what workers hand over and posts it to the collector, batch by batch.
//!
//! Previous stop: `telemetry::trace::queue`; next stop: `control::collector`. The configuration is that of
//! the snapshot in force at each batch. A collector that is away or slow costs spans, which are counted,
//! and a bounded amount of memory; no request waits for it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    pin,
    sync::{mpsc::Receiver, watch},
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout, timeout_at},
};

use super::collector::{Answer, Collector};
use crate::{
    config::trace::TraceConf,
    runtime::{
        Snapshot,
        drain::{Stage, reached},
        worker::Shared,
    },
    telemetry::trace::{Batch, Traces, otlp},
};

/// Most spans of a request to the collector, as a rule: what a worker hands over is not divided.
const SPANS_MOST: u64 = 512;
/// How long spans wait for others.
const GATHER: Duration = Duration::from_secs(1);
/// Most bytes of spans that wait while the collector is away or slow.
const BYTES_MOST: usize = 4 * 1024 * 1024;
/// How often a batch is tried, and the time before the second; then twice as long each time.
const TRIES: u32 = 4;
const BACKOFF: Duration = Duration::from_millis(500);
/// The longest that a collector may ask for.
const BACKOFF_MOST: Duration = Duration::from_secs(10);
/// How long the last spans have when the program ends.
const FLUSH: Duration = Duration::from_secs(2);

/// Starts the exporter, on the control loop.
pub(super) fn start(shared: &Arc<Shared>) -> JoinHandle<()> {
    let shared = shared.clone();
    spawn_local(async move {
        let Some(receiver) = shared.registry.traces.receiver() else { return };
        let stage = shared.drain.subscribe();
        let (waiting, collector) = (Waiting::default(), Collector::default());
        Exporter { shared, receiver, stage, waiting, collector, is_open: true, is_failing: false }
            .run()
            .await;
    })
}

/// Lets the exporter send what workers hand over as they end; not for long.
pub(super) async fn finish(shared: &Shared, exporter: JoinHandle<()>) {
    shared.registry.traces.close();
    if timeout(FLUSH, exporter).await.is_err() {
        tracing::warn!("the last spans did not reach the collector in time");
    }
}

struct Exporter {
    shared: Arc<Shared>,
    receiver: Receiver<Batch>,
    stage: watch::Receiver<Stage>,
    waiting: Waiting,
    collector: Collector,
    /// Whether there may be more from workers.
    is_open: bool,
    /// Whether the last attempt failed; the log has a line per change.
    is_failing: bool,
}

impl Exporter {
    async fn run(mut self) {
        while self.is_open || !self.waiting.batches.is_empty() {
            self.gather().await;
            let (batches, count) = self.waiting.take();
            if count > 0 {
                self.send(&batches, count).await;
            }
        }
    }

    /// Waits for spans, and then for others to send along with them.
    async fn gather(&mut self) {
        if self.waiting.batches.is_empty() {
            let batch = self.receiver.recv().await;
            self.take_in(batch);
        }
        let end = tokio::time::Instant::now() + GATHER;
        while self.is_open && self.waiting.count < SPANS_MOST {
            let Ok(batch) = timeout_at(end, self.receiver.recv()).await else { return };
            self.take_in(batch);
        }
    }

    fn take_in(&mut self, batch: Option<Batch>) {
        match batch {
            Some(batch) => self.shared.registry.traces.dropped.add(self.waiting.push(batch)),
            None => self.is_open = false,
        }
    }

    /// Sends a batch, and takes in what workers hand over meanwhile.
    async fn send(&mut self, batches: &[Batch], count: u64) {
        let Self { shared, receiver, stage, waiting, collector, is_open, is_failing } = self;
        let traces = &shared.registry.traces;
        let snapshot = shared.snapshot.load_full();
        let conf = &snapshot.config.trace;
        if !conf.is_on() {
            // A reload turned it off with spans under way.
            return traces.dropped.add(count);
        }
        let body = body(conf, batches);
        let deliver = deliver(collector, &snapshot, &body, stage, is_failing);
        pin!(deliver);
        let is_delivered = loop {
            tokio::select! {
                biased;
                is_delivered = &mut deliver => break is_delivered,
                batch = receiver.recv(), if *is_open => match batch {
                    Some(batch) => traces.dropped.add(waiting.push(batch)),
                    None => *is_open = false,
                },
            }
        };
        count_delivered(traces, is_delivered, count);
    }
}

fn count_delivered(traces: &Traces, is_delivered: bool, count: u64) {
    let counter = if is_delivered { &traces.exported } else { &traces.failed };
    counter.add(count);
}

fn body(conf: &TraceConf, batches: &[Batch]) -> Bytes {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let sender = otlp::Sender { service: &conf.service_name, host: &host };
    otlp::request(sender, batches.iter().map(|batch| batch.spans.as_slice())).into()
}

/// Tries to have the collector take a batch; gives whether it did.
async fn deliver(
    collector: &mut Collector,
    snapshot: &Snapshot,
    body: &Bytes,
    stage: &mut watch::Receiver<Stage>,
    is_failing: &mut bool,
) -> bool {
    let mut backoff = BACKOFF;
    for number in 1..=TRIES {
        let (why, wait) = match timeout(snapshot.config.trace.timeout, collector.post(snapshot, body)).await {
            Ok(Ok(Answer::Taken)) => {
                log_change(is_failing, None);
                return true;
            }
            Ok(Ok(Answer::Refused(status))) => {
                log_change(is_failing, Some(&format!("it refused them with status {status}")));
                return false;
            }
            Ok(Ok(Answer::Later(status, wait))) => (format!("it answered with status {status}"), wait),
            Ok(Err(why)) => (why, None),
            Err(_) => ("it did not answer in time".to_owned(), None),
        };
        log_change(is_failing, Some(&why));
        if number == TRIES {
            return false;
        }
        let wait = wait.unwrap_or(backoff).min(BACKOFF_MOST);
        tokio::select! {
            () = sleep(wait) => {}
            // There is no time left to wait for it.
            () = reached(stage, Stage::Closing) => return false,
        }
        backoff *= 2;
    }
    false
}

/// Logs that the collector was lost or is there again, once each.
fn log_change(is_failing: &mut bool, failure: Option<&str>) {
    match failure {
        Some(why) if !*is_failing => tracing::warn!("spans do not reach the collector: {why}"),
        None if *is_failing => tracing::info!("spans reach the collector again"),
        Some(_) | None => {}
    }
    *is_failing = failure.is_some();
}

/// What waits to be sent.
#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Batch>,
    count: u64,
    bytes: usize,
}

impl Waiting {
    /// Adds a batch; gives how many spans were dropped for want of room.
    fn push(&mut self, batch: Batch) -> u64 {
        // What it takes up, which is more than what is in it.
        let bytes = batch.spans.capacity();
        if self.bytes + bytes > BYTES_MOST {
            return batch.count;
        }
        self.bytes += bytes;
        self.count += batch.count;
        self.batches.push_back(batch);
        0
    }

    /// The oldest, as many as go into one request; and how many spans they are.
    fn take(&mut self) -> (Vec<Batch>, u64) {
        let mut taken = Vec::new();
        let mut count = 0;
        while let Some(next) = self.batches.front()
            && (taken.is_empty() || count + next.count <= SPANS_MOST)
            && let Some(next) = self.batches.pop_front()
        {
            count += next.count;
            self.bytes -= next.spans.capacity();
            taken.push(next);
        }
        self.count -= count;
        (taken, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(count: u64, bytes: usize) -> Batch {
        Batch { spans: vec![0; bytes], count }
    }

    #[test]
    fn waiting_spans_are_bounded_and_the_rest_is_counted() {
        let mut waiting = Waiting::default();
        let dropped: u64 = (0..1000).map(|_| waiting.push(batch(10, 32 * 1024))).sum();
        assert_eq!(dropped, 10 * (1000 - 128));
        assert_eq!((waiting.count, waiting.bytes), (1280, BYTES_MOST));
    }

    #[test]
    fn requests_are_small_and_nothing_is_lost_or_reordered() {
        let mut waiting = Waiting::default();
        for count in [500, 12, 1, 600, 512, 3] {
            assert_eq!(waiting.push(batch(count, 1)), 0);
        }
        let mut taken = Vec::new();
        while !waiting.batches.is_empty() {
            let (batches, count) = waiting.take();
            assert_eq!(batches.iter().map(|batch| batch.count).sum::<u64>(), count);
            taken.push(count);
        }
        assert_eq!(taken, [512, 1, 600, 512, 3]);
        assert_eq!((waiting.count, waiting.bytes, waiting.take().1), (0, 0, 0));
    }
}
