//! The other node that has a part in an exchange.

use std::sync::Arc;

/// The other node that has a part in an exchange: there is one at most, since a request goes over one hop between peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerHop {
    /// That node asks for it, in the place of a client of its own.
    For {
        /// What it is called.
        node: Arc<str>,
        /// What this node is called.
        own: Arc<str>,
    },
    /// That node has answered, in the place of a backend.
    By(Arc<str>),
    /// That node has passed it on to a backend, to which this one has no way.
    Through(Arc<str>),
}

impl PeerHop {
    /// What the access log calls it, and the node.
    pub fn field(&self) -> (&'static str, &str) {
        match self {
            Self::For { node, .. } => ("for_peer", node),
            Self::By(node) => ("peer", node),
            Self::Through(node) => ("relay", node),
        }
    }
}
