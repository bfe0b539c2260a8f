//! Connections to backends that are one client's alone.
//!
//! NTLM and Negotiate (RFC 4559) log a connection in, and not a request: whoever comes next over it is served as who
//! logged in. A PROXY header names the client of a connection, too. So such a connection is never pooled; it is the
//! client connection's as long as that is there.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use crate::{
    backend::Backend,
    fields::{Fields, Known, list},
    moment::Moment,
    net::Http1Stream,
};

/// The place of a client connection for the backend connection that is its alone, while no exchange has it.
#[derive(Debug, Default)]
pub struct BoundConnection(RefCell<Option<Bound>>);

#[derive(Debug)]
struct Bound {
    backend: Arc<Backend>,
    stream: Http1Stream,
    bond: Bond,
    since: Moment,
}

impl Bound {
    /// Where its backend is among these. One of another generation is the same when what outlives a reload is.
    fn position_in(&self, backends: &[Arc<Backend>]) -> Option<usize> {
        backends.iter().position(|backend| Arc::ptr_eq(&backend.shared, &self.backend.shared))
    }
}

/// What makes a connection one client's.
#[derive(Clone, Debug)]
pub struct Bond {
    /// How it was opened.
    pub way: Way,
    /// It was announced with this client by a PROXY header.
    pub announced: Option<SocketAddr>,
    /// It was logged in, or that was begun ([`logs_in`]).
    pub is_logged_in: bool,
}

/// How a backend is spoken to: the same for all connections to it that may stand in for each other, over reloads too.
/// One that changes the protocol or TLS makes another, for each backend.
#[derive(Clone, Debug, Default)]
pub struct Way(Rc<()>);

impl Way {
    fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

/// A connection that was taken.
#[derive(Debug)]
pub struct Taken {
    /// Its index among the backends.
    pub index: usize,
    /// The connection.
    pub stream: Http1Stream,
    /// As its bond says.
    pub is_logged_in: bool,
}

/// What is asked of the connection that is there.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// It is to one of these.
    pub backends: &'a [Arc<Backend>],
    /// It was announced with this client by a PROXY header: several clients can come over one connection of a proxy.
    pub announced: Option<SocketAddr>,
    /// It was used no longer ago than this.
    pub most_idle: Duration,
}

impl BoundConnection {
    /// Whether the connection that is there is logged in, and to one of these. What comes over it next is who logged in, and
    /// what it gets is for nobody else, though its fields need not say so; to all others it is who it was.
    pub fn is_logged_in(&self, to: &[Arc<Backend>]) -> bool {
        let is_to = |bound: &Bound| bound.bond.is_logged_in && bound.position_in(to).is_some();
        self.0.borrow().as_ref().is_some_and(is_to)
    }

    /// Takes the connection, if it is such a one. It stays where it is to another backend, and is closed where it is
    /// another client's, too old, or not quiet, as one of the pool would be, and where its backend is spoken to in
    /// another way by now: `way_to` says how, by its index.
    pub fn take<'w>(
        &self,
        wanted: &Wanted<'_>,
        way_to: impl FnOnce(usize) -> Option<&'w Way>,
        now: Moment,
    ) -> Option<Taken> {
        let mut place = self.0.borrow_mut();
        let index = place.as_ref()?.position_in(wanted.backends)?;
        let mut bound = place.take()?;
        let may = way_to(index).is_some_and(|way| way.is(&bound.bond.way))
            && bound.bond.announced == wanted.announced
            && now.since(bound.since) <= wanted.most_idle
            && bound.stream.is_quiet();
        let is_logged_in = bound.bond.is_logged_in;
        may.then_some(Taken { index, stream: bound.stream, is_logged_in })
    }

    /// Keeps a connection, unless more came over it than was asked for; one that was kept before is closed.
    pub fn put(&self, backend: Arc<Backend>, mut stream: Http1Stream, bond: Bond, now: Moment) {
        if stream.has_rest() {
            *self.0.borrow_mut() = None;
            return;
        }
        stream.rest();
        *self.0.borrow_mut() = Some(Bound { backend, stream, bond, since: now });
    }
}

/// Whether a response asks to log its connection in, or its request does it.
pub fn logs_connection_in(request: &Fields, status: u16, response: &Fields) -> bool {
    let asks = || list(response.all_known(Known::WwwAuthenticate)).any(is_of_connection);
    logs_in(request) || (status == 401 && asks())
}

/// Whether a request logs its connection in, or takes a step towards that.
pub fn logs_in(request: &Fields) -> bool {
    request.all_known(Known::Authorization).any(is_of_connection)
}

/// Whether a challenge or credentials begin with a scheme that is about the connection.
fn is_of_connection(value: &[u8]) -> bool {
    let scheme = value.split(|byte| b" \t=".contains(byte)).next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_that_log_a_connection_in_are_known() {
        let fields = |name: &str, value: &str| {
            let mut fields = Fields::default();
            fields.push(name, value.as_bytes());
            fields
        };
        let none = Fields::default();
        for (value, is) in [
            ("NTLM", true),
            ("Basic realm=\"a\", negotiate", true),
            ("Negotiate YII=, Basic", true),
            ("Basic realm=\"ntlm\"", false),
            ("NTLMv9", false),
            ("Bearer", false),
        ] {
            assert_eq!(logs_connection_in(&none, 401, &fields("www-authenticate", value)), is, "{value}");
            assert!(!logs_connection_in(&none, 200, &fields("www-authenticate", value)));
        }
        for (value, is) in [("NTLM TlRM", true), ("Negotiate YII=", true), ("Basic ntlm", false)] {
            assert_eq!(logs_connection_in(&fields("authorization", value), 200, &none), is, "{value}");
        }
    }
}
