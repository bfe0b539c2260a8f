//! The name of an open connection, for the admin endpoint.

use std::{fmt, str::FromStr};

/// What a connection of a worker is called: its place, and which of those that had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId {
    /// The worker.
    pub worker: usize,
    /// Its place there.
    pub key: u32,
    /// Its number among those that were entered.
    pub serial: u32,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.worker, self.key, self.serial)
    }
}

impl FromStr for ConnectionId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let (worker, key, serial) = (parts.next(), parts.next(), parts.next());
        let number = |part: Option<&str>| part.and_then(|part| part.parse().ok()).ok_or(());
        let id = Self {
            worker: worker.and_then(|part| part.parse().ok()).ok_or(())?,
            key: number(key)?,
            serial: number(serial)?,
        };
        // In one way only: no sign, no zeros before it.
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}
