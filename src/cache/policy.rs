//! What a cache's configuration decides where the standard leaves it open.

use super::cache_control::ResponseControl;
use crate::{fields::Fields, schema::status::Statuses};

/// The rules of one cache, as its decisions need them.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The fraction of the time since Last-Modified that a response without a lifetime of its own is fresh
    /// for (RFC 9111 §4.2.2); 0 turns it off.
    pub heuristic: f64,
    /// How long a response that says nothing at all is fresh, in seconds; 0 means that it is not stored.
    pub default_ttl: u64,
    /// Seconds of `stale-while-revalidate` for responses that do not say.
    pub stale_while_revalidate: u64,
    /// Seconds of `stale-if-error` for responses that do not say.
    pub stale_if_error: u64,
    /// Whether responses with Set-Cookie are stored, and the field with them.
    pub store_set_cookie: bool,
    /// How long responses of these statuses are fresh that say nothing, in seconds; 0 means that they are not stored.
    pub ttl: Vec<(Statuses, u64)>,
    /// Statuses of which alone responses are stored; none = as the standard has it.
    pub statuses: Vec<Statuses>,
    /// Whether Cache-Control, and targeted fields, of responses are not looked at.
    pub ignores_control: bool,
    /// Whether Expires is not.
    pub ignores_expires: bool,
}

impl Policy {
    /// The directives of a response that count.
    pub fn control(&self, response: &Fields) -> ResponseControl {
        match self.ignores_control {
            true => ResponseControl::default(),
            false => ResponseControl::of(response),
        }
    }

    /// How long a response of this status is fresh that says nothing, in seconds, where that is configured. What holds for
    /// all (`default_ttl`) is for what was found: an error or a redirect that is kept for a week has to be asked for.
    pub fn ttl_of(&self, status: u16) -> Option<u64> {
        let own = self.ttl.iter().find(|(statuses, _)| statuses.has(status)).map(|(_, ttl)| *ttl);
        own.or_else(|| (status / 100 == 2 && self.default_ttl > 0).then_some(self.default_ttl))
    }

    /// Whether responses of this status may be stored.
    pub fn stores(&self, status: u16) -> bool {
        self.statuses.is_empty() || self.statuses.iter().any(|statuses| statuses.has(status))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            heuristic: 0.1,
            default_ttl: 0,
            stale_while_revalidate: 0,
            stale_if_error: 0,
            store_set_cookie: false,
            ttl: Vec::new(),
            statuses: Vec::new(),
            ignores_control: false,
            ignores_expires: false,
        }
    }
}
