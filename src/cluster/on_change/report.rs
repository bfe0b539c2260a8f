//! What the program is told.

use crate::cluster::role::Role;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The role from now on.
    pub role: Role,
    /// The number of the election.
    pub fence: u64,
    /// What this node is called.
    pub node: String,
    /// The group.
    pub router: String,
    /// Its addresses, without prefixes.
    pub addresses: Vec<String>,
    /// Why the role changed.
    pub reason: String,
}

impl Report {
    /// Whether it says the same of its group.
    pub(super) fn says_as(&self, other: &Self) -> bool {
        (self.role, self.fence) == (other.role, other.fence)
    }
}
