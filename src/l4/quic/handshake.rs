//! The beginning of a handshake: datagrams in, the ClientHello out. Pure.
//!
//! A ClientHello may come in several Initial packets and datagrams, cut anywhere and in any order, as browsers do on
//! purpose; one with a post-quantum key share takes two datagrams as a rule (RFC 9001 §4.3).

use super::{
    crypto::Pieces,
    initial::{InitialKeys, Sealed, skip},
    packet::{Kind, Long, Version, known},
};
use crate::{
    l4::hello::{self, ClientHello},
    runtime::flows::ConnectionId,
};

/// Least bytes of a datagram with a client's Initial packet (RFC 9000 §14.1): servers drop what is smaller.
pub(in crate::l4) const LEAST: usize = 1200;

/// One client's handshake, as far as it has come.
pub(super) struct Handshake {
    version: Version,
    /// The connection id that the client made up for its server.
    destination: ConnectionId,
    /// Made when the first Initial packet is there.
    keys: Option<InitialKeys>,
    pieces: Pieces,
}

/// A datagram is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Useless {
    /// It cannot be read, and others may be.
    Datagram,
    /// What it says makes all of the handshake one that leads nowhere.
    Handshake,
}

impl Handshake {
    /// A handshake in this version with a server of this connection id.
    pub(super) fn new(version: Version, destination: ConnectionId) -> Self {
        Self { version, destination, keys: None, pieces: Pieces::default() }
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.pieces.held()
    }

    /// Reads a datagram of it; the hello once it is whole.
    pub(super) fn read(&mut self, datagram: &[u8]) -> Result<Option<ClientHello>, Useless> {
        let (mut rest, mut is_read) = (datagram, false);
        // What is behind a packet that is not understood is left alone: the backend reads it.
        while let Some(long) = Long::read(rest).filter(|long| self.is_of(long)) {
            let after = match long.kind(self.version) {
                Kind::Initial => {
                    let Some((sealed, after)) = Sealed::split(rest, &long) else { break };
                    if !self.open(&sealed, datagram.len())? {
                        break;
                    }
                    is_read = true;
                    after
                }
                Kind::ZeroRtt => {
                    let Some(after) = skip(rest, &long) else { break };
                    is_read = true;
                    after
                }
                Kind::Handshake | Kind::Retry => break,
            };
            rest = after;
        }
        if !is_read {
            return Err(Useless::Datagram);
        }
        hello::read_message(self.pieces.whole()).map_err(|_| Useless::Handshake)
    }

    fn is_of(&self, long: &Long<'_>) -> bool {
        known(long.version) == Some(self.version)
            && long.destination == self.destination.as_bytes()
            && long.has_short_ids()
    }

    /// Takes what an Initial packet has; false where it does not open.
    fn open(&mut self, sealed: &Sealed<'_>, datagram: usize) -> Result<bool, Useless> {
        if datagram < LEAST || !sealed.may_be_read {
            return Ok(false);
        }
        if self.keys.is_none() {
            self.keys = InitialKeys::new(self.version, self.destination.as_bytes());
        }
        let Some(frames) = self.keys.as_ref().and_then(|keys| keys.open(sealed)) else { return Ok(false) };
        self.pieces.take(&frames).map_err(|_| Useless::Handshake)?;
        Ok(true)
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
pub(in crate::l4) mod tests;
