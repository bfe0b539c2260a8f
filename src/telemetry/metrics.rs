//! Counters with one writer each, summed when they are read.
//!
//! A worker writes its own series with a load and a store, never a read-modify-write, so that nothing
//! on the request path waits for another core. The admin endpoint reads them at any time; a sum over
//! workers may miss what was counted in the last microsecond, and is never torn.

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

pub use super::counter::Counter;
use super::datagrams::DatagramSeries;

/// Upper bounds of a histogram's buckets, in microseconds; above the last there is one more.
pub const BOUNDS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// How long things took; with one writer.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BOUNDS.len() + 1],
    sum: Counter,
}

impl Histogram {
    /// Counts one.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.add(1);
        }
        self.sum.add(micros);
    }

    /// Adds this histogram to a sum over workers.
    pub fn add_to(&self, total: &mut HistogramSum) {
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
        total.micros += self.sum.get();
    }
}

/// A histogram summed over workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSum {
    /// How many fell under each bound and above the one before; the last is above every bound.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// The sum of everything recorded, in microseconds.
    pub micros: u64,
}

/// A stable number for a name that is a label (a listener's, an upstream's); see `runtime::registry`.
pub type NameId = u32;

/// [`NameId`] of what does not apply, such as the upstream of a redirect.
pub const NO_NAME: NameId = NameId::MAX;

/// What a worker counts of one route.
#[derive(Debug, Default)]
pub struct RouteSeries {
    requests: OnceLock<Box<RequestNode>>,
    durations: OnceLock<Box<DurationNode>>,
    tunnels: OnceLock<Box<TunnelNode>>,
}

/// Labels of a connection that was passed on, beside its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelKey {
    /// The listener.
    pub listener: NameId,
    /// The upstream, or [`NO_NAME`].
    pub upstream: NameId,
    /// `ok`, or the label of the error that ended it.
    pub result: &'static str,
}

#[derive(Debug)]
struct TunnelNode {
    key: TunnelKey,
    durations: Histogram,
    next: OnceLock<Box<Self>>,
}

#[derive(Debug)]
struct RequestNode {
    key: RequestKey,
    count: Counter,
    next: OnceLock<Box<Self>>,
}

#[derive(Debug)]
struct DurationNode {
    upstream: NameId,
    histogram: Histogram,
    next: OnceLock<Box<Self>>,
}

/// Labels of a request beside its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey {
    /// The listener.
    pub listener: NameId,
    /// The upstream, or [`NO_NAME`].
    pub upstream: NameId,
    /// The status that the client got; 0 when it got none.
    pub status: u16,
}

impl RouteSeries {
    /// Counts a finished exchange; only by the worker that owns the series. The lists are short (a
    /// route has few statuses) and only grow at their end, so that a reader may walk them meanwhile.
    pub fn record(&self, key: RequestKey, took: Duration) {
        let mut place = &self.requests;
        loop {
            let node = place.get_or_init(|| {
                Box::new(RequestNode { key, count: Counter::default(), next: OnceLock::new() })
            });
            if node.key == key {
                node.count.add(1);
                break;
            }
            place = &node.next;
        }
        let mut place = &self.durations;
        loop {
            let node = place.get_or_init(|| {
                let histogram = Histogram::default();
                Box::new(DurationNode { upstream: key.upstream, histogram, next: OnceLock::new() })
            });
            if node.upstream == key.upstream {
                node.histogram.record(took);
                break;
            }
            place = &node.next;
        }
    }

    /// Counts a connection that was passed on and has ended; only by the worker that owns the series.
    pub fn record_tunnel(&self, key: TunnelKey, took: Duration) {
        let mut place = &self.tunnels;
        loop {
            let node = place.get_or_init(|| {
                Box::new(TunnelNode { key, durations: Histogram::default(), next: OnceLock::new() })
            });
            if node.key == key {
                return node.durations.record(took);
            }
            place = &node.next;
        }
    }

    /// How long connections were passed on, by how they ended.
    pub fn tunnels(&self) -> impl Iterator<Item = (TunnelKey, &Histogram)> {
        std::iter::successors(self.tunnels.get(), |node| node.next.get())
            .map(|node| (node.key, &node.durations))
    }

    /// Every count.
    pub fn requests(&self) -> impl Iterator<Item = (RequestKey, u64)> {
        std::iter::successors(self.requests.get(), |node| node.next.get())
            .map(|node| (node.key, node.count.get()))
    }

    /// Every histogram, by upstream.
    pub fn durations(&self) -> impl Iterator<Item = (NameId, &Histogram)> {
        std::iter::successors(self.durations.get(), |node| node.next.get())
            .map(|node| (node.upstream, &node.histogram))
    }
}

/// How an exchange with a backend ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the label of its name")]
pub enum Outcome {
    Status1xx,
    Status2xx,
    Status3xx,
    Status4xx,
    Status5xx,
    NoSocket,
    Connect,
    Reset,
    Timeout,
    Broken,
    ClientGone,
    Tunnel,
}

impl Outcome {
    /// Every outcome, in the order of its number.
    pub const ALL: [Self; 12] = [
        Self::Status1xx,
        Self::Status2xx,
        Self::Status3xx,
        Self::Status4xx,
        Self::Status5xx,
        Self::NoSocket,
        Self::Connect,
        Self::Reset,
        Self::Timeout,
        Self::Broken,
        Self::ClientGone,
        Self::Tunnel,
    ];

    /// The outcome that a response's status is counted as.
    pub fn of_status(status: u16) -> Self {
        match status {
            0..200 => Self::Status1xx,
            200..300 => Self::Status2xx,
            300..400 => Self::Status3xx,
            400..500 => Self::Status4xx,
            500.. => Self::Status5xx,
        }
    }

    /// The label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Status1xx => "1xx",
            Self::Status2xx => "2xx",
            Self::Status3xx => "3xx",
            Self::Status4xx => "4xx",
            Self::Status5xx => "5xx",
            Self::NoSocket => "no_socket",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::ClientGone => "client_gone",
            Self::Tunnel => "tunnel",
        }
    }
}

/// What a worker counts of one backend.
#[derive(Debug, Default)]
pub struct BackendSeries {
    outcomes: [Counter; Outcome::ALL.len()],
    /// Bytes sent to and received from it.
    pub bytes: Counter,
    /// From the pick to the response head.
    pub response: Histogram,
    /// Connections of HTTP/2 that were made.
    pub http2_opened: Counter,
    /// Those of them that are over.
    pub http2_closed: Counter,
    /// Those that were ended because of what the backend did.
    pub http2_errors: Counter,
    /// Streams that were opened on them.
    pub http2_streams: Counter,
    /// Streams that the backend reset.
    pub http2_resets: Counter,
}

impl BackendSeries {
    /// Counts an attempt; only by the worker that owns the series.
    pub fn record(&self, outcome: Outcome) {
        if let Some(count) = self.outcomes.get(outcome as usize) {
            count.add(1);
        }
    }

    /// The count of each outcome.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.into_iter().zip(self.outcomes.iter().map(Counter::get))
    }
}

/// What a worker counts of itself.
#[derive(Debug, Default)]
pub struct WorkerSeries {
    /// Calls of gRPC by their status.
    pub grpc: [Counter; 17],
    /// Bytes of request bodies that clients sent.
    pub bytes_in: Counter,
    /// Bytes of response bodies that clients were sent.
    pub bytes_out: Counter,
    /// Attempts beyond the first.
    pub retries: Counter,
    /// Retries that the budget refused.
    pub retries_refused: Counter,
    /// Requests that went to a backend through a peer.
    pub relayed: Counter,
    /// Requests for which no peer had a way either.
    pub relays_failed: Counter,
    /// Connections that ended in a panic.
    pub panics: Counter,
    /// Access log lines dropped because the writer was behind.
    pub log_dropped: Counter,
    /// Spans dropped because the exporter was behind.
    pub spans_dropped: Counter,
    /// Connections that an administrator ended.
    pub ended: Counter,
    /// Idle backend connections reused.
    pub pool_reused: Counter,
    /// Backend connections made.
    pub pool_dialled: Counter,
    /// Streams of HTTP/2 that were refused: their clients had as many open as they may.
    pub http2_refused: Counter,
    /// Connections of HTTP/2 that were ended because the client broke the protocol.
    pub http2_errors: Counter,
    /// Connections of HTTP/2 that were ended because of floods.
    pub http2_floods: Counter,
    /// Datagrams that were passed on, and that were not.
    pub datagrams: DatagramSeries,
    /// Exchanges that ended in an error, or were answered with one.
    pub errors: ErrorCounts,
}

/// Counts of errors by kind. Written where something went wrong, and so behind a lock that is nearly always free.
#[derive(Debug, Default)]
pub struct ErrorCounts(Mutex<BTreeMap<&'static str, u64>>);

impl ErrorCounts {
    /// Counts one.
    pub fn count(&self, label: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(label).or_default() += 1;
    }

    /// Adds them to these.
    pub fn add_to(&self, sums: &mut BTreeMap<&'static str, u64>) {
        for (label, count) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            *sums.entry(label).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_counts_by_listener_upstream_and_status() {
        let series = RouteSeries::default();
        let key = |status, upstream| RequestKey { listener: 1, upstream, status };
        for (status, upstream) in [(200, 2), (404, 2), (200, 2), (200, NO_NAME)] {
            series.record(key(status, upstream), Duration::from_millis(3));
        }
        let counts: Vec<_> = series.requests().collect();
        assert_eq!(counts, [(key(200, 2), 2), (key(404, 2), 1), (key(200, NO_NAME), 1)]);
        let mut total = HistogramSum::default();
        series.durations().for_each(|(_, histogram)| histogram.add_to(&mut total));
        assert_eq!((total.buckets[3], total.micros), (4, 12_000));
        assert_eq!(series.durations().count(), 2);
    }

    #[test]
    fn outcomes_are_in_the_order_of_their_numbers() {
        for (number, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, number);
        }
    }

    #[test]
    fn a_histogram_has_a_bucket_for_everything() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 10_000_000, 10_000_001, u64::MAX / 4] {
            histogram.record(Duration::from_micros(micros));
        }
        let mut total = HistogramSum::default();
        histogram.add_to(&mut total);
        assert_eq!((total.buckets[0], total.buckets[1], total.buckets[13], total.buckets[14]), (2, 1, 1, 2));
    }
}
