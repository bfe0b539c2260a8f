//! An exchange that ended in an error of ours or of a backend's becomes a record in its worker's
//! [`RecentErrors`].
//!
//! Previous stop: [`Worker::finish`](super::Worker::finish). What clients did wrong is not kept: whoever scans for weak spots would
//! push out what matters.

use super::{Listener, Snapshot};
use crate::{
    error::Blame,
    exchange::{Facts, Subject},
    telemetry::{
        clock,
        recent_errors::{Failure, RecentErrors},
    },
};

/// Keeps a record of it, unless it is the client's affair.
pub(super) fn note(
    errors: &RecentErrors,
    facts: &Facts,
    subject: Subject<'_>,
    snapshot: &Snapshot,
    listener: Option<&Listener>,
) {
    let Some((kind, detail)) = &facts.error else { return };
    let (kind, detail) = (*kind, &**detail);
    match kind.blame() {
        Blame::Client => return,
        Blame::Upstream | Blame::Proxy => {}
    }
    let route = facts.route.and_then(|index| snapshot.routes.get(index));
    let upstream = facts.upstream.and_then(|index| snapshot.upstreams.get(index));
    let backend = upstream.zip(facts.backend).and_then(|(upstream, index)| upstream.backends.get(index));
    let (method, path, status) = match subject {
        Subject::Http(http) => (http.request.method.as_str(), http.path(), http.response.status),
        Subject::Tunnel(tunnel) => (tunnel.protocol, tunnel.server_name.as_deref().unwrap_or_default(), 0),
    };
    errors.note(&Failure {
        at: clock::unix_millis(),
        listener: listener.map_or("", |listener| &listener.conf.name),
        route: route.map(|route| &*route.name),
        upstream: upstream.map(|upstream| &*upstream.conf.name),
        backend: backend.map(|backend| &*backend.name),
        method,
        path,
        status,
        kind,
        detail,
        id: &facts.id,
    });
}
