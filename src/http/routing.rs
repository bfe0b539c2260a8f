//! Which route takes a request, and which upstream of several.

use std::sync::Arc;

use super::misleading::remove_respelled_conditions;
use crate::{
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange, PathReadings},
    route::matcher::Facts,
    runtime::{Listener, Route},
};

/// The route that takes a request, by its index in the snapshot.
///
/// # Errors
///
/// [`Kind::NoRoute`], and [`Kind::Malformed`] for a path that another route would take, did it read it as some backends
/// do.
pub(super) fn find(listener: &Listener, exchange: &Exchange) -> Result<usize> {
    check(listener, exchange)?;
    listener.table.find(&facts(exchange)).ok_or_else(|| Kind::NoRoute.into())
}

/// The route of this name, which took a request before and has edited it since, where host and path still lead to it: what it
/// asked of anything else is not asked again, since it may no longer be known.
pub(super) fn find_again(
    listener: &Listener,
    routes: &[Arc<Route>],
    exchange: &Exchange,
    name: &str,
) -> Option<usize> {
    let is_it = |index: usize| routes.get(index).is_some_and(|route| *route.name == *name);
    listener.table.find_again(&facts(exchange), is_it)
}

/// Takes other spellings of the fields out of a request by which routes of its listener are chosen, before one is.
pub(crate) fn take_spellings(listener: &Listener, exchange: &mut Exchange) {
    let names = listener.table.headers.iter().map(|name| &**name);
    remove_respelled_conditions(&mut exchange.request.fields, names);
}

/// Refuses a request whose path leads to another route where encoded slashes are decoded or parameters dropped.
pub(crate) fn check(listener: &Listener, exchange: &Exchange) -> Result<()> {
    exchange.readings.as_ref().map_or(Ok(()), |readings| check_readings(listener, exchange, readings))
}

/// The client of a request must have been let in by what its listener asks of clients now: after a reload it may never have
/// been asked for that. It comes again over another connection, as this one ends; a session that it resumes then is bound to
/// the same (`tls::tickets`).
pub(super) fn check_login<D: Downstream>(
    listener: &Listener,
    exchange: &Exchange,
    client: &mut D,
) -> Result<()> {
    let (Some(tls), Some(facts)) = (listener.serves.tls(), &exchange.facts.peer.tls) else { return Ok(()) };
    // Nearly always the very same one.
    if facts.client_auth.as_ref().is_none_or(|asked| *asked == tls.client_auth) {
        return Ok(());
    }
    client.end_connection();
    Err(ProxyError::because(Kind::Misdirected, "its listener asks clients for something else by now"))
}

/// A request over TLS must be for a host that the connection's certificate is the one for: with
/// another certificate may go other client-authentication rules (RFC 9110 §7.4, RFC 9113 §9.1.2).
pub(crate) fn check_name(listener: &Listener, exchange: &Exchange) -> Result<()> {
    let Some(tls) = listener.serves.tls() else { return Ok(()) };
    let Some(server_name) = exchange.facts.peer.tls.as_ref().and_then(|facts| facts.server_name.as_deref())
    else {
        return Ok(());
    };
    if server_name == exchange.host
        || tls.certificate_for(Some(server_name)) == tls.certificate_for(Some(&exchange.host))
    {
        return Ok(());
    }
    Err(Kind::Misdirected.into())
}

/// The same of another path that a request names.
pub(super) fn check_readings(
    listener: &Listener,
    exchange: &Exchange,
    readings: &PathReadings,
) -> Result<()> {
    let mut others = [&readings.decoded, &readings.bare].into_iter().filter(|it| **it != readings.matched);
    let facts = Facts { path: &readings.matched, ..facts(exchange) };
    if others.all(|path| listener.table.find(&facts) == listener.table.find(&Facts { path, ..facts })) {
        return Ok(());
    }
    Err(Kind::Malformed("an encoded slash or a path parameter leads to another route").into())
}

/// What of a request decides its route.
pub(crate) fn facts(exchange: &Exchange) -> Facts<'_> {
    Facts {
        host: &exchange.host,
        path: exchange.readings.as_ref().map_or(exchange.path(), |readings| &readings.matched),
        method: exchange.request.method.as_str(),
        query: exchange.query(),
        headers: &exchange.request.fields,
        exchange: Some(exchange),
    }
}
