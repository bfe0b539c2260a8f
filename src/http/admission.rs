//! Whether a route takes a request, by how many are under way.
//!
//! Previous stop: `http::routing`, which found the route; next stop: what the route does.

use crate::{
    error::{Kind, Result},
    runtime::{Route, admission::InFlight},
};

/// Lets a request in: its place among those of the route, where there is a limit.
///
/// # Errors
///
/// [`Kind::RouteFull`].
pub(super) fn admit(route: &Route) -> Result<Option<InFlight>> {
    route.admission.enter().map_err(|_| Kind::RouteFull.into())
}
