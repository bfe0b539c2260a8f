//! A stored response, wherever its body is.

use std::sync::Arc;

use super::{
    disk_tier::DiskObject, freshness::Freshness, stored_head::StoredHead, stored_response::StoredResponse,
};

/// A stored response, wherever its body is: small ones in memory, large ones that were found on disk stay there.
#[derive(Clone, Debug)]
pub enum Stored {
    /// All of it in memory.
    Memory(Arc<StoredResponse>),
    /// The head in memory, and the body on disk.
    Disk(Box<DiskObject>),
}

impl Stored {
    /// The head, and what is known of it.
    pub fn head(&self) -> &StoredHead {
        match self {
            Self::Memory(response) => &response.entry,
            Self::Disk(object) => &object.record.entry,
        }
    }

    /// The freshness, with the marks that purges and writes left.
    pub fn freshness(&self) -> Freshness {
        match self {
            Self::Memory(response) => response.freshness(),
            Self::Disk(object) => object.record.entry.freshness.clone(),
        }
    }

    /// The bytes of its body.
    pub fn length(&self) -> u64 {
        match self {
            Self::Memory(response) => response.body.length,
            Self::Disk(object) => object.length,
        }
    }

    /// The same where it is in memory.
    pub fn into_memory(self) -> Option<Arc<StoredResponse>> {
        match self {
            Self::Memory(response) => Some(response),
            Self::Disk(_) => None,
        }
    }

    /// What others may be given who wait for the same; those who wait for what stays on disk look there themselves.
    pub fn in_memory(&self) -> Option<&Arc<StoredResponse>> {
        match self {
            Self::Memory(response) => Some(response),
            Self::Disk(_) => None,
        }
    }
}
