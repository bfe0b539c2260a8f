//! An exchange that ended in an error of ours or of a backend's becomes a record in its worker's
//! [`RecentErrors`].
//!
//! Previous stop: [`Worker::finish`](super::Worker::finish). What clients did wrong is not kept: whoever scans for weak spots would
//! push out what matters.

use super::{Listener, Snapshot};
use crate::{
    error::{Blame, Kind},
    exchange::Exchange,
    telemetry::{
        clock,
        recent_errors::{Failure, RecentErrors},
    },
};

/// Keeps a record of it, unless it is the client's affair.
pub(super) fn note(
    errors: &RecentErrors,
    exchange: &Exchange,
    snapshot: &Snapshot,
    listener: Option<&Listener>,
    (kind, detail): (Kind, &str),
) {
    match kind.blame() {
        Blame::Client => return,
        Blame::Upstream | Blame::Proxy => {}
    }
    let route = exchange.facts.route.and_then(|index| snapshot.routes.get(index));
    let upstream = exchange.facts.upstream.and_then(|index| snapshot.upstreams.get(index));
    let backend =
        upstream.zip(exchange.facts.backend).and_then(|(upstream, index)| upstream.backends.get(index));
    errors.note(&Failure {
        at: clock::unix_millis(),
        listener: listener.map_or("", |listener| &listener.conf.name),
        route: route.map(|route| &*route.name),
        upstream: upstream.map(|upstream| &*upstream.conf.name),
        backend: backend.map(|backend| &*backend.name),
        method: exchange.request.method.as_str(),
        path: exchange.path(),
        status: exchange.response.status,
        kind,
        detail,
        id: &exchange.facts.id,
    });
}
