//! What a snapshot is built with.

use std::sync::Arc;

use crate::{
    runtime::{registry::Registry, snapshot::Snapshot},
    tls::tickets::Tickets,
};

/// What a snapshot is built with.
#[derive(Debug)]
pub struct Builder<'a> {
    /// The number of the generation.
    pub generation: u64,
    /// What outlives it.
    pub registry: &'a Registry,
    /// Keys of TLS session tickets.
    pub tickets: &'a Arc<Tickets>,
    /// The generation before.
    pub before: Option<&'a Snapshot>,
}
