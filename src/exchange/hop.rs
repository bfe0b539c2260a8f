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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access_line::NAMES;

    #[test]
    fn what_the_log_calls_it_is_taken() {
        let node = || Arc::<str>::from("lb2");
        let hops =
            [PeerHop::For { node: node(), own: node() }, PeerHop::By(node()), PeerHop::Through(node())];
        for hop in hops {
            let (name, of) = hop.field();
            assert!(NAMES.contains(&name) && of == "lb2", "`[log] fields` could have another `{name}`");
        }
    }
}
