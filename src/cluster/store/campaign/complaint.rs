//! What is wrong with an election whose store answers.

use std::{fmt, time::Duration};

/// What keeps a node from being primary, though the store answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// The key is of no lease, and so for ever: who wrote it was none of the nodes.
    Stray {
        /// What is at the key.
        by: String,
    },
    /// A lease would be over before it could be renewed.
    TooSlow {
        /// How long it lasts.
        ttl: Duration,
    },
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stray { by } => write!(
                f,
                "something else wrote {by:?} to the key, without a lease, so that no node can be primary: delete the key"
            ),
            Self::TooSlow { ttl } => write!(
                f,
                "two requests take almost as long as half of {ttl:?}, for which an election holds, so that this node is not \
                 primary: raise `lease` (`session_timeout`), or see why the store is slow"
            ),
        }
    }
}
