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

    /// Promises a connection to one who is to open a stream of it, and waits where it has not begun.
    pub fn promise<'a>(&'a self, connection: &'a BackendConnection) -> Promise<'a> {
        connection.promise();
        Promise { pool: self, connection }
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
        self.end_unpromised();
    }

    /// Where the backend is gone, connections that nobody was promised take nothing more.
    fn end_unpromised(&self) {
        if self.is_closed.get() {
            let connections = self.connections.borrow();
            connections.iter().filter(|it| it.promised() == 0).for_each(|it| it.retire());
        }
    }
}

/// One who was promised a connection: dropped when it has opened its stream, has no use for it, or has left.
#[derive(Debug)]
pub struct Promise<'a> {
    pool: &'a Http2Pool,
    connection: &'a BackendConnection,
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.connection.take_promise_back();
        self.pool.end_unpromised();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::HeadLimits;

    fn added(pool: &Http2Pool) -> Rc<BackendConnection> {
        let connection = BackendConnection::new(HeadLimits::default());
        pool.add(connection.clone());
        connection
    }

    #[test]
    fn a_closed_pool_ends_what_its_last_waiter_has_left() {
        let pool = Http2Pool::default();
        let connection = added(&pool);
        let (one, other) = (pool.promise(&connection), pool.promise(&connection));
        pool.close();
        drop(one);
        assert!(connection.takes_streams(), "somebody waits for it");
        assert!(connection.is_beginning());
        drop(other);
        assert!(!connection.takes_streams());
    }

    #[test]
    fn a_closed_pool_ends_what_was_made_beside_another() {
        let pool = Http2Pool::default();
        pool.close();
        let (connection, beside) = (added(&pool), added(&pool));
        drop(pool.promise(&connection));
        assert!(!connection.takes_streams());
        assert!(!beside.takes_streams());
    }

    #[test]
    fn a_pool_keeps_what_its_last_waiter_has_left() {
        let pool = Http2Pool::default();
        let connection = added(&pool);
        drop(pool.promise(&connection));
        assert!(connection.takes_streams(), "it is for the next exchange");
    }
}
