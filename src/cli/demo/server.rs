//! What is known of a demonstration backend before it runs.

use std::time::Duration;

/// How long a backend that was asked to die stays away.
pub(super) const AWAY: Duration = Duration::from_secs(10);

/// A backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    /// Its name.
    pub(super) name: &'static str,
    /// How long each answer takes.
    pub(super) delay: Duration,
    /// Where it listens.
    pub(super) port: u16,
}
