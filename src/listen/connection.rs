//! A connection from its first byte to the protocol that it speaks: PROXY header, TLS, HTTP/1.1 or
//! HTTP/2. Previous stop: `listen::accept`; next stop: `http::h1` or `http::h2`.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    task::Poll,
    time::Duration,
};

use rustix::net::RecvFlags;
use rustls::ServerConnection;
use tokio::{
    io::Interest,
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{admission, mailbox::Accepted, plain_http};
use crate::{
    exchange::{Peer, TlsFacts},
    http::{
        h1::{Become, Connection},
        h2, upgrade,
    },
    l4::{
        passing::{Passing, Tunnel},
        tcp,
    },
    moment::Moment,
    net::{
        Buffer, Deadline, Http1Stream, Plain, Stream,
        proxy_protocol::{self, Header, Parsed},
        starttls,
    },
    runtime::{
        Listener, Permit, Serves, Snapshot, Worker,
        connections::{Place, Speaks},
    },
    telemetry::trace::Handshake,
    tls::{
        conf::Starttls,
        server::{ServerTls, cipher_name},
    },
};

/// A connection whose protocol begins: the bytes that came already are before its stream's.
struct Opened {
    stream: Stream,
    first: Buffer,
    peer: Rc<Peer>,
    /// Whether HTTP/2 was agreed on by ALPN.
    is_http2: bool,
}

/// Begins to serve a connection on this worker.
pub fn begin(worker: &Rc<Worker>, accepted: Accepted) {
    // Boxed, and what comes of it too, so that the task of an idle connection is small: a future has
    // room for all its locals for as long as it lives.
    let place = worker.connections.enter(accepted.listener);
    let key = place.key();
    let snapshot = worker.snapshot_for(accepted.listener);
    let Some(listener) = snapshot.shared.listener(accepted.listener) else { return };
    let task = match listener.serves {
        Serves::Http | Serves::Https(_) => {
            let connection = Box::pin(open_http(worker.clone(), accepted));
            tokio::task::spawn_local(serve_http(connection, place))
        }
        Serves::Tcp(_) | Serves::Tls => {
            let opening = Box::pin(open_tcp(worker.clone(), accepted, place));
            tokio::task::spawn_local(Passing::Opening(opening))
        }
        // Its sockets take no connections.
        Serves::Udp => return,
    };
    worker.connections.set_task(key, task.abort_handle());
}

/// What a connection begins with; it may come to nothing.
pub(super) type Opening = Pin<Box<dyn Future<Output = Option<(Box<Connection>, bool)>>>>;

/// Reads what has come already, and saves a turn of the event loop; `None` at the end of the connection.
pub(super) fn read_first(socket: &OwnedFd) -> Option<Buffer> {
    let mut buffer = Buffer::take();
    match rustix::net::recv(socket.as_fd(), buffer.room(), RecvFlags::DONTWAIT) {
        Ok((_, 0)) => None,
        Ok((_, length)) => {
            buffer.filled(length);
            Some(buffer)
        }
        // Where it failed, reading it in its turn will say so.
        Err(_) => Some(Buffer::default()),
    }
}

/// Serves HTTP on a connection, in whichever version it speaks, to its end.
pub(super) async fn serve_http(opening: Opening, place: Place) {
    // In one block: what is handed on to another future is kept twice.
    let Some((mut connection, is_http2)) = opening.await else { return };
    if is_http2 {
        place.set(&connection.peer, Speaks::Http2);
        return Box::pin(h2::serve(*connection)).await;
    }
    place.set(&connection.peer, Speaks::Http1);
    match connection.serve().await {
        Become::Closed => connection.stream.stream.say_goodbye(),
        // RFC 9112 §8: without that, a client of HTTP/1.0 takes what came for the whole response.
        Become::Reset => connection.stream.stream.reset(),
        Become::Tunnel(tunnel) => {
            place.set(&connection.peer, Speaks::Tunnel);
            let Connection { stream, deadline, .. } = &mut *connection;
            Box::pin(upgrade::join(stream, deadline, tunnel)).await;
        }
        Become::Idle(until) => {
            if let Some(parked) = connection.park() {
                place.park(parked, until);
            }
        }
        Become::Http2 => {
            place.set(&connection.peer, Speaks::Http2);
            Box::pin(h2::serve(*connection)).await;
        }
    }
}

/// Makes a tunnel of a connection that is passed on; `None` when it came to nothing.
async fn open_tcp(worker: Rc<Worker>, accepted: Accepted, place: Place) -> Option<Tunnel> {
    let Accepted { socket, source, listener: slot, mut permit, is_judged } = accepted;
    permit.series = Some(worker.series.clone());
    let snapshot = worker.snapshot_for(slot);
    let listener = snapshot.shared.listener(slot)?;
    let opened = open(&snapshot.shared, listener, (socket, source), is_judged, &mut permit).await?;
    drop(snapshot);
    let Opened { stream, first, peer, .. } = opened;
    place.set(&peer, Speaks::Tunnel);
    let connection = tcp::Connection { stream, input: first, peer, worker, listener: slot, permit };
    tcp::open(connection, place).await
}

/// Makes an HTTP connection of a socket, and says whether it speaks HTTP/2; `None` when it came to nothing.
async fn open_http(worker: Rc<Worker>, accepted: Accepted) -> Option<(Box<Connection>, bool)> {
    let Accepted { socket, source, listener: slot, mut permit, is_judged } = accepted;
    permit.series = Some(worker.series.clone());
    let snapshot = worker.snapshot_for(slot);
    let listener = snapshot.shared.listener(slot)?;
    let opened = open(&snapshot.shared, listener, (socket, source), is_judged, &mut permit).await?;
    let Opened { stream, first, peer, is_http2 } = opened;
    let stream = Http1Stream::new(stream, first);
    Some((Box::new(Connection::new(stream, peer, worker, slot, permit)), is_http2))
}

/// Brings a connection to where its protocol begins: PROXY header, TLS; `None` when it came to nothing.
async fn open(
    snapshot: &Snapshot,
    listener: &Listener,
    (socket, source): (OwnedFd, Option<SocketAddr>),
    is_judged: bool,
    permit: &mut Permit,
) -> Option<Opened> {
    let mut source = source.map(canonical);
    let is_behind_proxy = source.is_some_and(|source| listener.needs_proxy_header(source.ip()));
    let tls = listener.serves.tls();
    // What came with the connection, or right behind it, is here already: a read now saves a turn of
    // the event loop.
    let mut first = Buffer::default();
    if tls.is_none() && !is_behind_proxy && listener.serves.awaits_client() {
        first = read_first(&socket)?;
    }
    // Of the two kinds of sockets only those of TCP have an address at the other end.
    let plain = register(socket, source.is_none())?;
    // A system call for each connection, and none for a request: routes that look at its port may come while the
    // connection stands. What is passed on asks for it where backends are told.
    let mut destination = match &plain {
        Plain::Tcp(stream) if snapshot.tells_backends || listener.conf.protocol.is_http() => {
            stream.local_addr().ok().map(canonical)
        }
        Plain::Tcp(_) | Plain::Unix(_) => None,
    };
    let mut tlvs = Vec::new();
    if is_behind_proxy {
        let header = read_proxy_header(&plain).await?;
        if let Some(named) = header.addresses {
            source = Some(canonical(named.source));
            destination = Some(canonical(named.destination));
            tlvs = if snapshot.tells_backends { header.tlvs } else { Vec::new() };
        }
    }
    // Also when another generation asked for a header when the connection was accepted.
    if is_behind_proxy || !is_judged {
        let Ok(place) = admission::judge(listener, source.map(|source| source.ip())) else {
            listener.shared.refused.fetch_add(1, Relaxed);
            return None;
        };
        permit.address = place.map(Box::new).or_else(|| permit.address.take());
    }
    let ends = (source, destination, tlvs.into_boxed_slice());
    let Some(tls) = tls else {
        let peer = Rc::new(peer(listener, ends, None));
        return Some(Opened { stream: Stream::Plain(plain), first, peer, is_http2: false });
    };
    let begun = snapshot.config.trace.is_on().then(Moment::now);
    let stream = decrypt(plain, tls, listener).await?;
    let (_, session) = stream.get_ref();
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let peer = Rc::new(peer(listener, ends, Some(Box::new(facts(tls, session, begun)))));
    Some(Opened { stream: Stream::TlsServer(Box::new(stream)), first, peer, is_http2 })
}

/// The TLS handshake with a client, within its time.
async fn decrypt(mut plain: Plain, tls: &ServerTls, listener: &Listener) -> Option<TlsStream<Plain>> {
    let (deadline, conf) = (Deadline::new(), &listener.conf);
    deadline.after(conf.timeouts.tls_handshake);
    if conf.protocol.is_http() {
        let is_plain = poll_fn(|cx| match plain_http::poll_is_spoken(&plain, cx) {
            Poll::Ready(is_plain) => Poll::Ready(Some(is_plain)),
            Poll::Pending => deadline.poll_elapsed(cx).map(|()| None),
        });
        if is_plain.await? {
            listener.shared.plain_http.fetch_add(1, Relaxed);
            Box::pin(plain_http::refuse(plain)).await;
            return None;
        }
    }
    let acceptor = TlsAcceptor::from(tls.config.clone());
    let mut handshake = std::pin::pin!(async {
        if conf.starttls == Starttls::Postgres {
            starttls::answer(&mut plain).await?;
        }
        acceptor.accept(plain).await
    });
    let result = poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => deadline.poll_elapsed(cx).map(|()| None),
    });
    let result = result.await;
    let count = match &result {
        Some(Ok(_)) => &listener.shared.handshakes,
        Some(Err(_)) => &listener.shared.handshakes_failed,
        None => &listener.shared.handshakes_late,
    };
    count.fetch_add(1, Relaxed);
    result?.ok()
}

/// What a handshake agreed on; `begun` is when it began, where there are traces.
fn facts(tls: &ServerTls, session: &ServerConnection, begun: Option<Moment>) -> TlsFacts {
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let server_name = session.server_name().map(|name| name.to_ascii_lowercase().into_boxed_str());
    let handshake = begun.map(|begun| {
        let is_resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        Box::new(Handshake { begun, ended: Moment::now(), is_resumed })
    });
    TlsFacts {
        version,
        cipher: session.negotiated_cipher_suite().map_or("", |suite| cipher_name(suite.suite())),
        server_name,
        alpn: session.alpn_protocol().map(Box::from),
        has_certificate: session.peer_certificates().is_some(),
        certificate: session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|der| der.as_ref().into()),
        client_auth: Some(tls.client_auth.clone()),
        handshake: RefCell::new(handshake),
    }
}

pub(super) fn register(socket: OwnedFd, is_unix: bool) -> Option<Plain> {
    if is_unix {
        return UnixStream::from_std(socket.into()).ok().map(Plain::Unix);
    }
    TcpStream::from_std(socket.into()).ok().map(Plain::Tcp)
}

/// An address of IPv4 as one, also where a socket of both families has it in IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The other end of a connection, what it connected to, and what else a PROXY header said.
type Ends = (Option<SocketAddr>, Option<SocketAddr>, Box<[u8]>);

fn peer(listener: &Listener, (source, destination, proxy_tlvs): Ends, tls: Option<Box<TlsFacts>>) -> Peer {
    let Some(source) = source else {
        // The other end of a unix socket is on this machine, and has no address.
        return Peer { text: "unix".into(), tls, terms: listener.terms.clone(), ..Peer::default() };
    };
    let (address, port) = (source.ip(), source.port());
    let (text, is_trusted) = (address.to_string().into(), listener.trusts(address));
    let terms = listener.terms.clone();
    Peer { address, port, destination, proxy_tlvs, text, is_trusted, tls, terms, seen: None }
}

/// Reads a PROXY header, which must be there; `None` when there is none in time. Exactly the header is taken, so that what follows, be it TLS, is whole.
async fn read_proxy_header(plain: &Plain) -> Option<Header> {
    let Plain::Tcp(stream) = plain else { return Some(Header::default()) };
    let deadline = Deadline::new();
    deadline.after(PROXY_DEADLINE);
    let mut buffer = Buffer::take();
    let mut header = std::pin::pin!(async {
        loop {
            let ready = stream.ready(Interest::READABLE).await?;
            let result = stream.try_io(Interest::READABLE, || {
                let room = buffer.room();
                let most = room.len();
                let (_, length) = rustix::net::recv(stream.as_fd(), &mut *room, RecvFlags::PEEK)?;
                match proxy_protocol::parse(room.get(..length).unwrap_or_default()) {
                    Ok(Parsed::Done(header)) => {
                        let taken = room.get_mut(..header.length).unwrap_or_default();
                        rustix::net::recv(stream.as_fd(), taken, RecvFlags::empty())?;
                        Ok(header)
                    }
                    // Waits for more bytes than are there.
                    Ok(Parsed::Partial) if (1..most).contains(&length) => {
                        Err(io::ErrorKind::WouldBlock.into())
                    }
                    Ok(Parsed::Partial) => Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(what) => Err(io::Error::other(what)),
                }
            });
            match result {
                // A socket whose other end is shut stays ready: waiting for more would be a turn without
                // end.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ready.is_read_closed() => {}
                result => return result,
            }
        }
    });
    poll_fn(|cx| match header.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result.ok()),
        Poll::Pending => deadline.poll_elapsed(cx).map(|()| None),
    })
    .await
}

/// How long a proxy may take to send its header.
const PROXY_DEADLINE: Duration = Duration::from_secs(3);
