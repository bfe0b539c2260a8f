//! What this program is called in Via (RFC 9110 §7.6.3).

use std::sync::Arc;

use super::node;

/// Whether Via is added to messages, and under which name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// It is, under a name of this process towards backends, and the program's towards clients.
    #[default]
    Own,
    /// It is not.
    Off,
    /// It is, under this name on both sides. Each connection of the listener has it.
    Named(Arc<String>),
}

impl Via {
    /// The name towards backends.
    pub fn towards_backends(&self) -> Option<&str> {
        match self {
            Self::Own => Some(node::name()),
            Self::Off => None,
            Self::Named(name) => Some(name),
        }
    }

    /// Whether a member of Via of a request says that it has been here already.
    pub fn has_been_here(&self, member: &[u8]) -> bool {
        match self {
            Self::Named(name) => node::is_of(member, name) || node::is_own(member),
            // Another listener of this program may have written it.
            Self::Own | Self::Off => node::is_own(member),
        }
    }
}
