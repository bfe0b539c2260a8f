//! Whether a request asks for a tunnel, and for which protocols.

use super::own::Decision;
use crate::{
    error::{Kind, Result},
    exchange::{Exchange, HttpVersion, WebSocketOpening},
    fields::{Known, list},
    h1::{Framing, Method, RequestHead},
    runtime::Route,
};

/// Whether the client asks for a tunnel, by Upgrade or CONNECT, and may have it. Of the protocols that it names those stay
/// that the route lets through: any other may be declined by ignoring it (RFC 9110 §7.8).
///
/// # Errors
///
/// [`Kind::NotAllowed`] for a CONNECT that the route does not let through, [`Kind::NotImplemented`] for an extended one;
/// [`Kind::Malformed`] for what opens a WebSocket with a body, or without one key.
pub(crate) fn wants_tunnel(route: &Route, exchange: &mut Exchange) -> Result<bool> {
    let has_streams = exchange.version.has_streams();
    if exchange.request.method == Method::Connect {
        return if route.upgrades.connects && !has_streams { Ok(true) } else { Err(Kind::NotAllowed.into()) };
    }
    if exchange.websocket == Some(WebSocketOpening::ExtendedConnect) {
        // It cannot be ignored, as an Upgrade can: a success without a WebSocket is none for its client.
        let is_allowed = route.upgrades.allows(WEBSOCKET);
        return if is_allowed { Ok(true) } else { Err(Kind::NotImplemented.into()) };
    }
    if !asks(exchange) {
        return Ok(false);
    }
    let fields = &mut exchange.request.fields;
    let is_websocket = |protocol: &[u8]| protocol.eq_ignore_ascii_case(WEBSOCKET);
    // RFC 6455 §4.1: by GET, and in no other way, so that none is opened without a proof.
    let is_allowed = |protocol: &&[u8]| route.upgrades.allows(protocol) && !is_websocket(protocol);
    if exchange.request.method == Method::Get
        && route.upgrades.allows(WEBSOCKET)
        && list(fields.all_known(Known::Upgrade)).any(is_websocket)
    {
        exchange.websocket = Some(WebSocketOpening::Upgrade);
        // It alone goes on, so that the backend may switch to nothing else.
        fields.remove_known(Known::Upgrade);
        fields.push_known(Known::Upgrade, WEBSOCKET);
        return check_opening(&exchange.request).map(|()| true);
    }
    // One that names nothing asks for nothing.
    let names_any = list(fields.all_known(Known::Upgrade)).next().is_some();
    if names_any && list(fields.all_known(Known::Upgrade)).all(|protocol| is_allowed(&protocol)) {
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

/// Whether a request has an Upgrade field that counts.
fn asks(exchange: &Exchange) -> bool {
    let fields = &exchange.request.fields;
    // RFC 9110 §7.8: a server must ignore it in a request of HTTP/1.0.
    exchange.version == HttpVersion::Http11
        && fields.has(Known::Upgrade)
        && list(fields.all_known(Known::Connection)).any(|option| option.eq_ignore_ascii_case(b"upgrade"))
}

/// Whether the client asks for a protocol that the route lets through: such a request is for a backend, whatever files there
/// are. Others, such as `h2c`, only offer one.
pub(crate) fn is_for_backend(route: &Route, exchange: &Exchange) -> bool {
    let named = || list(exchange.request.fields.all_known(Known::Upgrade));
    exchange.websocket.is_some() || asks(exchange) && named().any(|protocol| route.upgrades.allows(protocol))
}

/// The protocol's name (RFC 6455 §11.2).
const WEBSOCKET: &[u8] = b"websocket";

/// What opens a WebSocket has one key, and no body: nothing of the client's but its head goes on before there is one.
fn check_opening(request: &RequestHead) -> Result<()> {
    if request.fields.all_known(Known::SecWebsocketKey).count() != 1 {
        return Err(Kind::Malformed("a WebSocket handshake has no Sec-WebSocket-Key, or two").into());
    }
    match Framing::of_request(request).map_err(Kind::Malformed)? {
        Framing::None => Ok(()),
        Framing::Length(_) | Framing::Chunked | Framing::UntilClose => {
            Err(Kind::Malformed("a WebSocket handshake has a body").into())
        }
    }
}

/// Refuses what Pointsman itself would answer with a success to a CONNECT, whose client would take what follows for a
/// tunnel, or for a WebSocket where it is an extended one.
///
/// # Errors
///
/// [`Kind::NotImplemented`] for an extended one, [`Kind::NotAllowed`] for another.
pub(super) fn check_own(decision: &Decision, exchange: &Exchange) -> Result<()> {
    let is_success = match decision {
        Decision::Answer(answer) => answer.status < 300,
        Decision::Files(_) => true,
        Decision::Upstream(_) | Decision::Elsewhere(_) => false,
    };
    if is_success && exchange.websocket == Some(WebSocketOpening::ExtendedConnect) {
        return Err(Kind::NotImplemented.into());
    }
    if is_success && exchange.request.method == Method::Connect {
        return Err(Kind::NotAllowed.into());
    }
    Ok(())
}
