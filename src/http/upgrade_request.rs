//! Whether a request asks for a tunnel, and for which protocols.

use crate::{
    error::{Kind, Result},
    exchange::{Exchange, HttpVersion},
    fields::{Known, list},
    h1::Method,
    runtime::Route,
};

/// Whether the client asks for a tunnel, by Upgrade or CONNECT, and may have it. Of the protocols that it names those stay
/// that the route lets through: any other may be declined by ignoring it (RFC 9110 §7.8).
///
/// # Errors
///
/// [`Kind::NotAllowed`] for a CONNECT that the route does not let through.
pub(crate) fn wants_tunnel(route: &Route, exchange: &mut Exchange) -> Result<bool> {
    let has_streams = exchange.version.has_streams();
    if exchange.request.method == Method::Connect {
        return if route.upgrades.connects && !has_streams { Ok(true) } else { Err(Kind::NotAllowed.into()) };
    }
    let fields = &mut exchange.request.fields;
    let asks = fields.has(Known::Upgrade)
        && list(fields.all_known(Known::Connection)).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    // RFC 9110 §7.8: a server must ignore Upgrade in a request of HTTP/1.0.
    if !asks || exchange.version != HttpVersion::Http11 {
        return Ok(false);
    }
    let is_allowed = |protocol: &&[u8]| route.upgrades.allows(protocol);
    if list(fields.all_known(Known::Upgrade)).all(|protocol| is_allowed(&protocol)) {
        return Ok(true);
    }
    let allowed: Vec<&[u8]> = list(fields.all_known(Known::Upgrade)).filter(is_allowed).collect();
    let allowed = allowed.join(&b", "[..]);
    fields.remove_known(Known::Upgrade);
    if allowed.is_empty() {
        return Ok(false);
    }
    fields.push_known(Known::Upgrade, &allowed);
    Ok(true)
}
