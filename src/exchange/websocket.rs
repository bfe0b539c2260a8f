//! How a request opens a WebSocket.

/// How a request opens a WebSocket. Either reads as a GET with `Upgrade: websocket`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketOpening {
    /// By Upgrade and a key (RFC 6455 §4).
    Upgrade,
    /// By a CONNECT with `:protocol` (RFC 8441), of which every success is a WebSocket for its client.
    ExtendedConnect,
}
