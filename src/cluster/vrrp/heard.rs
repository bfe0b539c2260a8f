//! What becomes of advertisements besides: status, counts, and a word in the log.

use std::net::IpAddr;

use super::{engine::Task, packet::Refused, router::Heard};
use crate::{cluster::status::PeerStatus, moment::Moment, telemetry::repeated::Repeated};

/// Peers that are remembered.
const PEERS: usize = 16;

impl Task {
    pub(super) fn note(&self, heard: Heard) {
        let peer = PeerStatus { priority: heard.priority, seen: std::time::SystemTime::now() };
        self.outlet.write(|group| {
            if group.peers.len() >= PEERS && !group.peers.contains_key(&heard.source.to_string()) {
                let oldest =
                    group.peers.iter().min_by_key(|(_, peer)| peer.seen).map(|(name, _)| name.clone());
                oldest.and_then(|oldest| group.peers.remove(&oldest));
            }
            group.peers.insert(heard.source.to_string(), peer);
        });
    }

    /// A peer that makes its checksums in another way may refuse ours: both would be primary.
    pub(super) fn note_checksum(&mut self, source: IpAddr) {
        if self.link.as_ref().is_some_and(|(socket, _)| socket.differs.get()) {
            self.outlet.count("advertisements_differ", "checksum");
            if !std::mem::replace(&mut self.has_warned, true) {
                let (group, ours) = (&self.outlet.name, self.conf.checksum.name());
                tracing::warn!(
                    %group, %source,
                    "a peer computes checksums differently from `{ours}`, and may refuse this node's: set \
                     `cluster.vrrp.checksum`"
                );
            }
        }
    }

    pub(super) fn refuse(&self, source: IpAddr, refused: Refused) {
        static REFUSED: Repeated = Repeated::new();
        self.outlet.count("advertisements_refused", refused.name());
        // Other virtual routers of the network are nobody's mistake.
        if refused != Refused::RouterId
            && let Some(times) = REFUSED.count(Moment::now())
        {
            let (group, reason) = (&self.outlet.name, refused.name());
            tracing::warn!(%group, %source, reason, times, "an advertisement was refused");
        }
    }
}
