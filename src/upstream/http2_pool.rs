//! Connections of HTTP/2 to one backend, of one worker: few, and each carries many exchanges.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use crate::http2_transport::BackendConnection;

/// Connections to a backend that exchanges share.
#[derive(Debug, Default)]
pub struct Http2Pool {
    connections: RefCell<Vec<Rc<BackendConnection>>>,
    /// The backend said by ALPN that it speaks HTTP/1.1 (`protocol = "auto"`).
    speaks_http1: Cell<bool>,
    /// Streams that a connection carries at once, as the backend said last; 0 before it has.
    most_streams: Cell<usize>,
    /// Its backend is gone: connections end with their streams.
    is_closed: Cell<bool>,
}

/// The connection that the next exchange is to use.
#[derive(Debug)]
pub enum Next {
    /// This one, which is made or being made.
    There(Rc<BackendConnection>),
    /// This one; another is to be made beside it, since it is nearly full.
    NearlyFull(Rc<BackendConnection>),
    /// One that is to be made.
    New,
}

/// Exchanges that may wait for a connection that is being made, before another is; fewer where the backend is known to
/// take fewer, so that nobody waits for a place that there will not be.
const MOST_PROMISED: usize = 80;

impl Http2Pool {
    /// Chooses a connection: the first that has room, so that those behind it become idle and end.
    pub fn next(&self) -> Next {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| !connection.is_over());
        let mut nearly_full = None;
        let mut beginning = None;
        for connection in connections.iter().filter(|connection| connection.takes_streams()) {
            if connection.is_beginning() {
                let has_room = connection.promised() < self.most_promised();
                beginning = beginning.or_else(|| has_room.then_some(connection));
                continue;
            }
            let (open, most) = connection.streams();
            self.most_streams.set(most);
            if open * 5 < most * 4 {
                return Next::There(connection.clone());
            }
            if open < most {
                nearly_full = nearly_full.or(Some(connection));
            }
        }
        match (nearly_full, beginning) {
            (Some(connection), None) => Next::NearlyFull(connection.clone()),
            (Some(connection), Some(_)) | (None, Some(connection)) => Next::There(connection.clone()),
            (None, None) => Next::New,
        }
    }

    /// Adds a connection that is being made: also where the backend is gone, for an exchange that began before.
    pub fn add(&self, connection: Rc<BackendConnection>) {
        self.speaks_http1.set(false);
        self.connections.borrow_mut().push(connection);
    }

    /// One who waited for a connection has opened its stream, or has no use for it: where the backend is gone and nobody
    /// else was promised it, it takes nothing more.
    pub fn let_go(&self, connection: &BackendConnection) {
        if self.is_closed.get() && connection.promised() == 0 {
            connection.retire();
        }
    }

    /// Whether the backend said last that it speaks HTTP/1.1.
    pub fn speaks_http1(&self) -> bool {
        self.speaks_http1.get()
    }

    /// Notes that it said so.
    pub fn set_http1(&self) {
        self.speaks_http1.set(true);
    }

    fn most_promised(&self) -> usize {
        match self.most_streams.get() {
            0 => MOST_PROMISED,
            most => most.min(MOST_PROMISED),
        }
    }

    /// Forgets connections that are over.
    pub fn sweep(&self) {
        self.connections.borrow_mut().retain(|connection| !connection.is_over());
    }

    /// The backend is gone: connections take nothing new, and end with what is under way. Those that exchanges of before
    /// wait for take these yet.
    pub fn close(&self) {
        self.is_closed.set(true);
        self.connections.borrow().iter().for_each(|connection| self.let_go(connection));
    }
}
