//! What a backend answers to the opening of a WebSocket, and what its client is told of it.
//!
//! Backend and client need not speak the same version, and each has a key of its own: what goes on is the head of an
//! HTTP/1.1 response with the proof for the client's key, of which `http::h2` makes that of an extended CONNECT.

use crate::{
    error::{Kind, Result},
    exchange::Exchange,
    fields::Known,
    h1::ResponseHead,
    websocket::{Key, accept},
};

/// Checks the proof that the backend has read our key (RFC 6455 §4.1), without which anybody may have answered: a server
/// that does not know WebSockets, or a cache.
///
/// # Errors
///
/// [`Kind::BadResponse`]
pub(super) fn check(key: &Key, response: &ResponseHead) -> Result<()> {
    let mut proofs = response.fields.all_known(Known::SecWebsocketAccept);
    let expected = accept(key.as_bytes());
    if proofs.next() == Some(expected.as_bytes()) && proofs.next().is_none() {
        return Ok(());
    }
    Err(Kind::BadResponse("Sec-WebSocket-Accept is not the one for the key that was sent").into())
}

/// Makes the head of a response that opened a WebSocket that for the client.
pub(super) fn answer(exchange: &mut Exchange) {
    let Exchange { request, response, .. } = exchange;
    response.status = 101;
    let of_backend = [Known::SecWebsocketAccept, Known::Upgrade, Known::ContentLength];
    response.fields.retain_known(|known| !of_backend.contains(&known));
    response.fields.push_known(Known::Upgrade, b"websocket");
    // One that came by extended CONNECT has none.
    if let Some(key) = request.fields.known(Known::SecWebsocketKey) {
        response.fields.push_known(Known::SecWebsocketAccept, accept(key).as_bytes());
    }
}
