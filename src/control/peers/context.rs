//! What both ways work with.

use std::sync::Arc;

use crate::{admin::Admin, cluster::role::Role, runtime::worker::Shared, tls::tickets::Tickets};

/// What is shared, and who is asked to take it over.
#[derive(Clone, Debug)]
pub(in crate::control) struct Peers {
    pub(in crate::control) shared: Arc<Shared>,
    pub(in crate::control) tickets: Arc<Tickets>,
    pub(in crate::control) admin: Arc<Admin>,
}

impl Peers {
    /// What this node is called.
    pub(super) fn own_name(&self) -> String {
        self.shared.registry.cluster.status().read().node.clone()
    }

    /// Whether this node has virtual addresses.
    pub(super) fn is_primary(&self) -> bool {
        self.shared.registry.cluster.status().role() == Role::Primary
    }
}
