//! Which name a TLS client asks for, before its connection is passed on.

use std::time::Duration;

use super::{
    client::Client,
    hello::{ClientHello, HelloReader},
};
use crate::error::{Kind, ProxyError, Result};

/// How long a ClientHello may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads a ClientHello; all that was read stays in `client.input`, to be passed on. Fails with [`Kind::Malformed`],
/// [`Kind::HelloTimeout`] or [`Kind::ClientGone`].
pub(super) async fn hello(client: &mut Client) -> Result<ClientHello> {
    client.deadline.after(PATIENCE);
    let mut reader = HelloReader::default();
    loop {
        match reader.read(&client.input) {
            Ok(Some(hello)) => return Ok(hello),
            Ok(None) => {}
            Err(error) => return Err(Kind::Malformed(error.text()).into()),
        }
        match client.fill().await {
            Ok(true) => {}
            Ok(false) => return Err(Kind::HelloTimeout.into()),
            Err(error) => return Err(ProxyError::because(Kind::ClientGone, error)),
        }
    }
}

/// A fatal alert (RFC 8446 §6): what a client is told whose ClientHello leads nowhere.
pub(super) fn alert(kind: Kind) -> Option<[u8; 7]> {
    let description = match kind {
        // RFC 6066 §3.
        Kind::NoRoute => UNRECOGNIZED_NAME,
        Kind::Malformed(_) | Kind::HelloTimeout => DECODE_ERROR,
        _ => return None,
    };
    Some([21, 3, 3, 0, 2, 2, description])
}

const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;
