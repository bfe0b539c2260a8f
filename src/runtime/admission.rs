//! How many requests of a route are under way.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

/// How many requests a route lets in.
#[derive(Debug, Default)]
pub struct Admission {
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
    fn places_come_back_and_a_lower_bound_holds() {
        let admission = Admission { max_in_flight: 2, ..Admission::default() };
        let (one, two) = (admission.enter().unwrap(), admission.enter().unwrap());
        assert_eq!(admission.enter().unwrap_err(), RouteFull);
        drop(one);
        let lower = Admission { max_in_flight: 1, in_flight: admission.in_flight };
        assert!(lower.enter().is_err(), "those of the generation before count");
        drop(two);
        assert!(lower.enter().unwrap().is_some());
        assert!(Admission::default().enter().unwrap().is_none());
    }
}
