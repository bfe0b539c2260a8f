//! What an administrator asks for, before it is decided.

use crate::upstream::conf::{BackendConf, BackendState};

/// What an administrator asks for. A backend is called by its name, or by its address.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Another share.
    Weight {
        /// The upstream's name.
        upstream: String,
        /// The backend.
        backend: String,
        /// Its share from now on.
        weight: u32,
    },
    /// It takes part, drains, or is out.
    State {
        /// The upstream's name.
        upstream: String,
        /// The backend.
        backend: String,
        /// Its state from now on.
        state: BackendState,
    },
    /// One more backend.
    Add {
        /// The upstream's name.
        upstream: String,
        /// The backend, as [`BackendConf::from_json`] reads it.
        backend: BackendConf,
    },
    /// One backend less.
    Remove {
        /// The upstream's name.
        upstream: String,
        /// The backend.
        backend: String,
    },
}

impl Change {
    /// The upstream that is meant.
    pub fn upstream(&self) -> &str {
        match self {
            Self::Weight { upstream, .. }
            | Self::State { upstream, .. }
            | Self::Add { upstream, .. }
            | Self::Remove { upstream, .. } => upstream,
        }
    }
}
