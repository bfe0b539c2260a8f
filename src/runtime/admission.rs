//! Which clients a route is for, and how many of its requests are under way.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use ipnet::IpNet;

/// Whom a route lets in.
#[derive(Debug, Default)]
pub struct Admission {
    /// Networks of clients; empty = all.
    pub allow: Vec<IpNet>,
    /// Networks of clients that are not let in.
    pub deny: Vec<IpNet>,
    /// Requests that may be under way; 0 = any.
    pub max_in_flight: u32,
    /// How many are, of all generations and workers. Kept where they are bounded.
    pub in_flight: Arc<AtomicU32>,
}

/// A request under way; it is no more when this is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<AtomicU32>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A route has as many requests under way as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteFull;

impl Admission {
    /// Whether a client is let in; `deny` goes before `allow`.
    pub fn admits(&self, address: IpAddr) -> bool {
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }

    /// Takes a place for a request; `Ok(None)` where they are not counted.
    ///
    /// # Errors
    ///
    /// All places are taken.
    pub fn enter(&self) -> Result<Option<InFlight>, RouteFull> {
        if self.max_in_flight == 0 {
            return Ok(None);
        }
        let entered =
            self.in_flight.fetch_update(Relaxed, Relaxed, |is| (is < self.max_in_flight).then_some(is + 1));
        entered.map(|_| Some(InFlight(self.in_flight.clone()))).map_err(|_| RouteFull)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_goes_before_allow() {
        let admission = Admission {
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            deny: vec!["10.1.0.0/16".parse().unwrap()],
            ..Admission::default()
        };
        let admits = |address: &str| admission.admits(address.parse().unwrap());
        assert!(admits("10.0.0.1") && !admits("10.1.0.1") && !admits("192.0.2.1") && !admits("2001:db8::1"));
        assert!(Admission::default().admits("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn places_come_back_and_a_lower_bound_holds() {
        let admission = Admission { max_in_flight: 2, ..Admission::default() };
        let (one, two) = (admission.enter().unwrap(), admission.enter().unwrap());
        assert_eq!(admission.enter().unwrap_err(), RouteFull);
        drop(one);
        let lower = Admission { max_in_flight: 1, in_flight: admission.in_flight, ..Admission::default() };
        assert!(lower.enter().is_err(), "those of the generation before count");
        drop(two);
        assert!(lower.enter().unwrap().is_some());
        assert!(Admission::default().enter().unwrap().is_none());
    }
}
