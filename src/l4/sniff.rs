//! Which name a TLS client asks for, before its connection is passed on.

use std::time::Duration;

use super::{
    client::Client,
    hello::{ClientHello, HelloReader},
};
use crate::{
    account::{self, Held, Owner},
    error::{Kind, ProxyError, Result},
    net::{
        Buffer,
        starttls::{self, Asked},
    },
    tls::conf::Starttls,
};

/// How long a ClientHello may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads a ClientHello; all that was read stays in `client.input`, to be passed on. Fails with [`Kind::Malformed`],
/// [`Kind::HelloTimeout`], [`Kind::MemoryFull`] or [`Kind::ClientGone`].
///
/// With `starttls` the client may ask for TLS first, and is told that it begins.
pub(super) async fn hello(client: &mut Client, starttls: Starttls) -> Result<ClientHello> {
    client.deadline.after(PATIENCE);
    match starttls {
        Starttls::Off => {}
        Starttls::Postgres => answer(client).await?,
    }
    let (mut reader, mut held) = (HelloReader::default(), Held::new(Owner::Requests, 0));
    loop {
        let before = reader.held();
        match reader.read(&client.input) {
            Ok(Some(hello)) => return Ok(hello),
            Ok(None) => {}
            Err(error) => return Err(Kind::Malformed(error.text()).into()),
        }
        held.grow(reader.held() - before);
        if account::is_full() {
            account::refuse();
            return Err(Kind::MemoryFull.into());
        }
        fill(client).await?;
    }
}

async fn fill(client: &mut Client) -> Result<()> {
    match client.fill().await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Kind::HelloTimeout.into()),
        Err(error) => Err(ProxyError::because(Kind::ClientGone, error)),
    }
}

/// Answers what a client of PostgreSQL asks before TLS begins.
async fn answer(client: &mut Client) -> Result<()> {
    let mut has_asked_for_gss = false;
    loop {
        let said = match starttls::asked(&client.input).map_err(Kind::Malformed)? {
            None => {
                fill(client).await?;
                continue;
            }
            Some(Asked::Tls) => return Ok(()),
            Some(Asked::ForTls) => starttls::YES,
            Some(Asked::ForGss) => starttls::NO,
        };
        client.input.advance(starttls::REQUEST.len());
        if !client.input.is_empty()
            || (said == starttls::NO && std::mem::replace(&mut has_asked_for_gss, true))
        {
            return Err(
                Kind::Malformed("the client sent more before the answer to its request for TLS").into()
            );
        }
        client.input = Buffer::default();
        client.say(said).await.map_err(|error| ProxyError::because(Kind::ClientGone, error))?;
        if said == starttls::YES {
            client.asked = Starttls::Postgres;
            return Ok(());
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
