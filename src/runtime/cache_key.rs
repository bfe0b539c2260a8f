//! What makes a cache the same one after a reload.

use std::sync::Arc;

/// What makes a cache the same one after a reload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CacheKey {
    /// A `[[cache]]`, by its name.
    Named(Arc<str>),
    /// A route that collapses requests without storing, by its name.
    Route(Arc<str>),
}

impl CacheKey {
    /// The name of a `[[cache]]`.
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Named(name) => Some(name),
            Self::Route(_) => None,
        }
    }
}
