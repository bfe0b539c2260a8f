//! The task of a connection: it reads and writes, begins a task per request, and ends the connection.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{client::Client, notice};
use crate::{
    account::{self, Owner},
    boxed,
    config::listen::TimeoutsConf,
    exchange::{HttpVersion, Peer, WebSocketOpening},
    http::{
        active::ActiveExchange,
        h1::Connection,
        handle::{self, End},
        upgrade,
    },
    http2::{self, ConnectionError, Opened, spare},
    http2_transport::{Link, Pipe},
    moment::Moment,
    net::{Deadline, linger, tunnel::Endpoint},
    runtime::{ListenerId, Worker},
};

/// How often a connection that is to close is looked at.
const CLOSING: Duration = Duration::from_secs(2);
/// How long, and how much of, what a client still sends is read after an error, so that it sees why.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 1024 * 1024;

/// Serves an HTTP/2 connection to its end.
pub async fn serve(connection: Connection) {
    let Connection { mut stream, peer, worker, listener, permit: _permit, .. } = connection;
    let Some((timeouts, codec)) = settings(&worker, listener) else { return };
    let deadline = Deadline::new();
    deadline.after(timeouts.header);
    let input = stream.take_input();
    let mut driver = Driver {
        link: Rc::new(Link::new(codec)),
        pipe: Pipe::new(stream.stream, input),
        deadline,
        phase: Phase::Head,
        timeouts,
        held: 0,
        peer,
        worker,
        listener,
    };
    let is_client_wrong = poll_fn(|cx| driver.poll(cx)).await;
    if is_client_wrong {
        driver.linger().await;
    }
    driver.pipe.stream.say_goodbye();
}

fn settings(worker: &Worker, listener: ListenerId) -> Option<(TimeoutsConf, http2::Connection)> {
    let snapshot = worker.snapshot_for(listener);
    let listener = snapshot.shared.listener(listener)?;
    let (limits, conf) = (listener.limits, &listener.conf.http2);
    let own = conf.settings(u32::try_from(limits.bytes).unwrap_or(u32::MAX), listener.takes_websockets);
    let codec = http2::Connection::new(limits, own, conf.allowance(), Moment::now());
    Some((listener.conf.timeouts.clone(), codec))
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The preface, or the rest of a block of fields.
    Head,
    /// The next request.
    Open,
    /// Its streams to end.
    Closing,
}

/// A connection that is served.
struct Driver {
    link: Rc<Link>,
    pipe: Pipe,
    deadline: Deadline,
    phase: Phase,
    timeouts: TimeoutsConf,
    /// Bytes that are counted for the codec.
    held: usize,
    peer: Rc<Peer>,
    worker: Rc<Worker>,
    listener: ListenerId,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Also where the task is ended: its streams see that nobody is there.
        self.link.codec().close();
        account::give(Owner::Buffers, self.held);
    }
}

impl Driver {
    /// Ready at the end; with `true` the client was told what it did wrong.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.link.register(cx);
        loop {
            // Looked at on each turn, since a connection that is busy is never idle.
            if self.phase != Phase::Closing && self.worker.is_closing(self.listener) {
                self.begin_closing();
            }
            let has_read = match self.pipe.poll_read(cx, &self.link) {
                Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(false),
                Poll::Ready(Ok(true)) => true,
                Poll::Pending => false,
            };
            let wrong = self.take_input().err();
            let wrong = wrong.or_else(|| self.link.codec().take_error());
            if let Some(error) = wrong {
                self.fail(error);
            }
            let is_written = match self.pipe.poll_write(cx, &self.link) {
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            self.count();
            let (is_over, is_finished) = {
                let codec = self.link.codec();
                (codec.is_over(), codec.is_finished())
            };
            if is_over && is_written || is_finished {
                return Poll::Ready(is_over);
            }
            if has_read && !is_over {
                continue;
            }
            self.follow();
            ready!(self.deadline.poll_elapsed(cx));
            if is_over || self.elapsed() {
                return Poll::Ready(false);
            }
        }
    }

    /// Has the codec look at what came, and begins what was asked for.
    fn take_input(&mut self) -> Result<(), ConnectionError> {
        let Some(taken) = self.pipe.take_input(&self.link) else { return Ok(()) };
        let refused = self.link.codec().take_refused();
        notice::refused(refused, &self.peer, &self.worker.series);
        self.begin_opened();
        taken
    }

    fn begin_opened(&mut self) {
        loop {
            let opened = self.link.codec().next_opened();
            let Some(opened) = opened else { return };
            let client = Client::new(self.link.clone(), opened.id, opened.head.opens_websocket());
            let (peer, worker) = (self.peer.clone(), self.worker.clone());
            // The clock was read when its head was taken in.
            let started = Moment::recent();
            // Boxed: a task moves what it runs when it is made and each time that its stage changes.
            let stream = boxed::pin(|| serve_stream(opened, started, client, peer, worker, self.listener));
            tokio::task::spawn_local(stream);
            if self.phase == Phase::Open {
                self.deadline.after_recent(self.timeouts.idle);
            }
        }
    }

    /// Counts what the codec holds.
    fn count(&mut self) {
        let held = self.link.codec().memory();
        if held == self.held {
            return;
        }
        account::take(Owner::Buffers, held);
        account::give(Owner::Buffers, std::mem::replace(&mut self.held, held));
    }

    /// Sets the deadline of what is waited for, when that is something else than before.
    fn follow(&mut self) {
        let is_in_head = self.link.codec().is_in_head();
        match self.phase {
            Phase::Head if !is_in_head => {
                self.phase = Phase::Open;
                // Idle also while streams are open, so that the beginning of a drain is noticed.
                self.deadline.set_idle(Some(self.listener));
                self.deadline.after(self.timeouts.idle);
            }
            Phase::Open if is_in_head => {
                self.phase = Phase::Head;
                self.deadline.set_idle(None);
                self.deadline.after(self.timeouts.header);
            }
            Phase::Head | Phase::Open | Phase::Closing => {}
        }
    }

    /// The deadline has come; true at the end.
    fn elapsed(&mut self) -> bool {
        let is_idle = self.link.codec().is_idle();
        match self.phase {
            Phase::Head => {
                let has_begun = self.link.codec().has_begun();
                if !has_begun {
                    return true;
                }
                self.fail(ConnectionError::calm("a field block is not complete in time"));
            }
            Phase::Closing if is_idle => return true,
            Phase::Closing => self.deadline.after(CLOSING),
            Phase::Open if is_idle => self.begin_closing(),
            Phase::Open => self.deadline.after(self.timeouts.idle),
        }
        false
    }

    /// Ends the connection because of what the client did: it is told, and nothing more is read.
    fn fail(&mut self, error: ConnectionError) {
        notice::ended(error, &self.peer, &self.worker.series);
        self.link.codec().fail(error);
        self.phase = Phase::Closing;
        self.deadline.set_idle(None);
        self.deadline.after(CLOSING);
    }

    /// GOAWAY with the highest id, a round trip, GOAWAY with the last one (RFC 9113 §6.8).
    fn begin_closing(&mut self) {
        self.phase = Phase::Closing;
        self.link.codec().begin_closing();
        self.deadline.set_idle(None);
        self.deadline.after(CLOSING);
    }

    /// Reads and forgets what the client still sends, for a while, so that it reads GOAWAY.
    async fn linger(&mut self) {
        self.deadline.after(LINGER);
        linger(&mut self.pipe.stream, &self.deadline, LINGER_BYTES).await;
    }
}

/// Serves one request, whose head was whole when it `started`.
async fn serve_stream(
    opened: Opened,
    started: Moment,
    mut client: Client,
    peer: Rc<Peer>,
    worker: Rc<Worker>,
    listener: ListenerId,
) {
    let Opened { mut head, problem, .. } = opened;
    let mut exchange = worker.take_exchange();
    exchange.reset(&peer, started);
    exchange.version = HttpVersion::Http2;
    exchange.websocket = head.opens_websocket().then_some(WebSocketOpening::ExtendedConnect);
    std::mem::swap(&mut exchange.request, &mut head.request);
    std::mem::swap(&mut exchange.authority, &mut head.authority);
    spare::recycle_request(head);
    let running = ActiveExchange::new(&worker, listener, exchange);
    // However it ends, the stream ends when the client is dropped: cleanly where the response is whole.
    let end = match problem {
        None => handle::handle(running, &mut client).await,
        Some(kind) => handle::refuse(running, &mut client, kind).await,
    };
    if let End::Tunnel(tunnel) = end {
        Box::pin(upgrade::join_stream(&mut client, tunnel)).await;
        client.reset();
        return;
    }
    if client.is_answered_early() {
        Box::pin(client.linger(&worker, listener)).await;
    }
}
