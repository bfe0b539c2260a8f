//! Whether a route takes a request: by who asks, and by how many are under way.
//!
//! Previous stop: `http::routing`, which found the route; next stop: what the route does.

use crate::{
    error::{Kind, ProxyError, Result},
    exchange::Exchange,
    runtime::{Route, admission::InFlight},
};

/// Lets a request in: its place among those of the route, where there is a limit.
///
/// # Errors
///
/// [`Kind::ClientDenied`] and [`Kind::RouteFull`].
pub(crate) fn admit(route: &Route, exchange: &Exchange) -> Result<Option<InFlight>> {
    if !route.admission.admits(exchange.facts.client_address()) {
        let why = format!("by `allow` and `deny` of route `{}`", route.name);
        return Err(ProxyError::because(Kind::ClientDenied, why));
    }
    route.admission.enter().map_err(|_| Kind::RouteFull.into())
}
