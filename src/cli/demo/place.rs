//! Where the demonstration is found.

use std::path::PathBuf;

/// Where everything listens, and where files are.
pub(super) struct Place {
    pub(super) http: u16,
    pub(super) https: u16,
    pub(super) admin: u16,
    /// Its port for connections that are passed on.
    pub(super) tcp: u16,
    /// Names, weights and ports of the backends.
    pub(super) backends: Vec<(&'static str, u32, u16)>,
    pub(super) folder: PathBuf,
    /// Of the admin endpoint.
    pub(super) token: String,
}
