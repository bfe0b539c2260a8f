//! Connections with clients, and what of TLS there is to them.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    super::{Admin, certificates},
    text::{Kind, Labels, Text},
};
use crate::runtime::{Snapshot, registry::ListenerShared};

/// By listener: its connections.
pub(super) fn listeners(snapshot: &Snapshot, text: &mut Text) {
    let mut family = |name, kind, help, value: fn(&ListenerShared) -> u64| {
        text.family(name, kind, help);
        for listener in &snapshot.listeners {
            text.sample(&Labels::of(&[("listener", &listener.conf.name)]), value(&listener.shared));
        }
    };
    family("connections", Kind::Gauge, "Open client connections, and sessions of datagrams.", |it| {
        // A count of workers' own, which may be seen between a close and an open.
        it.open.load(Relaxed).max(0).unsigned_abs()
    });
    family(
        "connections_accepted_total",
        Kind::Counter,
        "Client connections accepted, and sessions of datagrams begun.",
        |it| it.accepted.load(Relaxed),
    );
    let help = "Client connections refused: over a limit, or by `allow` and `deny`.";
    family("connections_refused_total", Kind::Counter, help, |it| it.refused.load(Relaxed));
    let help = "Connections with plain HTTP to an HTTPS listener; they got 400.";
    family("plain_http_total", Kind::Counter, help, |it| it.plain_http.load(Relaxed));
}

/// Handshakes of TLS by listener and result.
pub(super) fn handshakes(snapshot: &Snapshot, text: &mut Text) {
    text.family("tls_handshakes_total", Kind::Counter, "TLS handshakes with clients by result.");
    for listener in snapshot.listeners.iter().filter(|listener| listener.serves.tls().is_some()) {
        let (name, shared) = (&*listener.conf.name, &listener.shared);
        for (result, count) in [
            ("ok", &shared.handshakes),
            ("failed", &shared.handshakes_failed),
            ("timeout", &shared.handshakes_late),
        ] {
            text.sample(&Labels::of(&[("listener", name), ("result", result)]), count.load(Relaxed));
        }
    }
}

/// When certificates that are served end.
pub(super) fn certificates(admin: &Admin, snapshot: &Snapshot, text: &mut Text) {
    let help = "Unix time at which a certificate of the listener expires.";
    text.family("certificate_not_after_seconds", Kind::Gauge, help);
    for certificate in &*certificates::certificates(admin, snapshot) {
        if let Some(facts) = &certificate.facts {
            let chain = certificate.chain.display().to_string();
            let labels = Labels::of(&[("listener", &certificate.listener), ("chain", &chain)]);
            text.sample(&labels, facts.not_after);
        }
    }
}
