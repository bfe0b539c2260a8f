//! What became of a route for a request, for people.

use std::fmt;

use crate::route::matcher::Refusal;

/// What became of one route for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The route's number.
    pub route: usize,
    /// What became of it.
    pub verdict: StepVerdict,
}

/// Why a route was taken or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepVerdict {
    /// It takes the request.
    Taken,
    /// It matches, and another one is before it.
    Outranked {
        /// The route that takes the request.
        by: usize,
    },
    /// Host and path match, another condition does not.
    Refused(Refusal),
    /// The host matches, the path does not.
    Path,
    /// The host does not match.
    Host,
}

impl fmt::Display for StepVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("matches"),
            Self::Outranked { .. } => f.write_str("matches, but a more specific route comes first"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Path => f.write_str("the path does not match"),
            Self::Host => f.write_str("the host does not match"),
        }
    }
}
