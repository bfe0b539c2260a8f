//! What is said of connections that break off: a line a second and thread, however many there are; all are counted.

use std::{cell::Cell, time::Duration};

use crate::{exchange::Peer, http2, moment::Moment, telemetry::metrics::WorkerSeries};

thread_local! {
    /// When the last line was written, and how many were not since.
    static LAST: Cell<(Option<Moment>, u64)> = const { Cell::new((None, 0)) };
}

const BETWEEN: Duration = Duration::from_secs(1);

/// A connection ends because of what its client did.
pub(super) fn ended(error: http2::ConnectionError, peer: &Peer, series: &WorkerSeries) {
    let is_flood = error.reason == http2::Reason::ENHANCE_YOUR_CALM;
    if is_flood { &series.http2_floods } else { &series.http2_errors }.add(1);
    say(peer, &error.to_string(), "an HTTP/2 connection is closed");
}

/// Streams were refused, for their client had as many open as it may.
pub(super) fn refused(count: u64, peer: &Peer, series: &WorkerSeries) {
    if count > 0 {
        series.http2_refused.add(count);
        say(peer, "REFUSED_STREAM: more streams than it may have open", "an HTTP/2 stream is refused");
    }
}

fn say(peer: &Peer, error: &str, what: &str) {
    let (last, unsaid) = LAST.get();
    let now = Moment::now();
    if last.is_some_and(|last| now.since(last) < BETWEEN) {
        LAST.set((last, unsaid + 1));
        return;
    }
    LAST.set((Some(now), 0));
    tracing::warn!(client = &*peer.text, error, unsaid, "{what}");
}
