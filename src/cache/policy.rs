//! What a cache's configuration decides where the standard leaves it open.

use super::{cache_control::ResponseControl, status_code::is_of_one_request};
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
        let of_all = || (status / 100 == 2 && self.default_ttl > 0).then_some(self.default_ttl);
        self.ttl_named(status).or_else(of_all)
    }

    /// The same where it is configured for this status, by itself or in a class. A class gives no lifetime to what is wrong
    /// with one request, which would answer all others; one that forbids (0) forbids that too.
    pub fn ttl_named(&self, status: u16) -> Option<u64> {
        let is_it = |(statuses, ttl): &&(Statuses, u64)| {
            statuses.has(status) && !(*ttl > 0 && statuses.is_class() && is_of_one_request(status))
        };
        self.ttl.iter().find(is_it).map(|(_, ttl)| *ttl)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Else a client sends one field too many, and all get the error that it got.
    #[test]
    fn class_has_no_lifetime_for_one_bad_request() {
        let policy = |named: &[&str]| {
            let ttl = named.iter().map(|text| (Statuses::parse(text).unwrap(), 10)).collect();
            Policy { ttl, ..Policy::default() }
        };
        let class = policy(&["4xx", "5xx"]);
        for status in [402, 403, 404, 405, 409, 410, 418, 423, 424, 451, 500, 502, 503] {
            assert_eq!((class.ttl_named(status), class.ttl_of(status)), (Some(10), Some(10)), "{status}");
        }
        for status in [400, 401, 406, 407, 408, 411, 412, 413, 414, 415, 417, 421, 422, 425, 426, 431] {
            assert_eq!((class.ttl_named(status), class.ttl_of(status)), (None, None), "{status}");
            assert_eq!(policy(&[&status.to_string(), "4xx"]).ttl_named(status), Some(10), "{status}");
        }
        // One that forbids forbids those too.
        let forbids = Policy { ttl: vec![(Statuses::parse("4xx").unwrap(), 0)], ..Policy::default() };
        assert_eq!((forbids.ttl_named(414), forbids.ttl_of(414)), (Some(0), Some(0)));
    }
}
