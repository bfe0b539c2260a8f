//! A connection to a backend, as the exchanges see it that are its streams.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use super::link::Link;
use crate::{
    error::{Kind, ProxyError},
    h1::HeadLimits,
    http2::{
        self,
        budget::{Allowance, Rate},
        settings::OwnSettings,
    },
    moment::Moment,
};

/// A connection on which exchanges of one worker with a backend are streams, from when it is begun to be made.
#[derive(Debug)]
pub struct BackendConnection {
    pub(super) link: Link,
    state: RefCell<State>,
    /// Who waits for it to begin.
    waiting: RefCell<Vec<Waker>>,
    /// How many were promised it, and have not opened their streams.
    promised: Cell<usize>,
}

#[derive(Clone, Debug)]
enum State {
    /// It is being made, or the backend has not said yet that it speaks HTTP/2.
    Beginning,
    /// Streams can be opened.
    Open,
    /// It was not made, or is over.
    Over(Failure),
}

/// Why a connection was not made, or is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it is for an exchange that waited for it.
    pub kind: Kind,
    /// What was wrong; may be empty.
    pub why: String,
}

impl Failure {
    /// Of what happened to an attempt to connect.
    pub fn of(error: &ProxyError) -> Self {
        let cause = std::error::Error::source(error);
        Self { kind: error.kind(), why: cause.map(ToString::to_string).unwrap_or_default() }
    }

    /// The error of an exchange that waited.
    pub fn error(self) -> ProxyError {
        if self.why.is_empty() { self.kind.into() } else { ProxyError::because(self.kind, self.why) }
    }
}

/// Streams of ours at once on one connection, whatever the backend takes.
const MOST_STREAMS: u32 = 256;
/// Bytes that a backend may send ahead on a stream: what a client that does not read has us hold.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What a backend may send us that asks for nothing. It is more than a client may: gRPC servers answer each message with
/// PING and WINDOW_UPDATE.
const ALLOWED: Allowance = Allowance {
    nuisance: Rate { most: 10_000, per_second: 1_000 },
    resets: Rate { most: 500, per_second: 50 },
};

impl BackendConnection {
    /// A connection that is about to be made; `limits` are those of response heads.
    pub fn new(limits: HeadLimits) -> Rc<Self> {
        let own = OwnSettings {
            max_streams: MOST_STREAMS,
            stream_window: STREAM_WINDOW,
            connection_window: 0,
            header_list: u32::try_from(limits.bytes).unwrap_or(u32::MAX),
            takes_websockets: false,
        };
        let codec = http2::Connection::client(limits, own, ALLOWED, Moment::now());
        Rc::new(Self {
            link: Link::new(codec),
            state: RefCell::new(State::Beginning),
            waiting: RefCell::default(),
            promised: Cell::new(0),
        })
    }

    /// Ready once streams can be opened, or never will be.
    pub fn poll_begun(&self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match &*self.state.borrow() {
            State::Open => Poll::Ready(Ok(())),
            State::Over(failure) => Poll::Ready(Err(failure.clone())),
            State::Beginning => {
                let mut waiting = self.waiting.borrow_mut();
                if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Counts one who is to open a stream of it, and waits where it has not begun.
    pub fn promise(&self) {
        self.promised.set(self.promised.get() + 1);
    }

    /// One who was counted has opened its stream, or has left.
    pub fn take_promise_back(&self) {
        self.promised.set(self.promised.get().saturating_sub(1));
    }

    /// How many were promised it, and have not opened their streams.
    pub fn promised(&self) -> usize {
        self.promised.get()
    }

    /// Whether it is being made.
    pub fn is_beginning(&self) -> bool {
        matches!(&*self.state.borrow(), State::Beginning)
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        matches!(&*self.state.borrow(), State::Over(_))
    }

    /// Why it is over, where it is.
    pub fn failure(&self) -> Option<Failure> {
        match &*self.state.borrow() {
            State::Over(failure) => Some(failure.clone()),
            State::Beginning | State::Open => None,
        }
    }

    /// Whether it takes streams, now or when others have ended.
    pub fn takes_streams(&self) -> bool {
        self.link.codec().takes_streams()
    }

    /// Whether WebSockets may be opened on it by extended CONNECT (RFC 8441), as the backend says.
    pub fn takes_websockets(&self) -> bool {
        self.link.codec().takes_websockets()
    }

    /// How many streams are open, and how many may be as the backend says now.
    pub fn streams(&self) -> (usize, usize) {
        let codec = self.link.codec();
        (codec.open_streams(), codec.most_streams())
    }

    /// Opens no stream any more; it ends when those that are open have.
    pub fn retire(&self) {
        self.link.codec().retire();
        self.link.wake();
    }

    /// Streams can be opened from now on.
    pub(super) fn begin(&self) {
        *self.state.borrow_mut() = State::Open;
        self.wake_waiting();
    }

    /// It was not made, or is over; what is said of it first stays.
    pub fn end(&self, failure: Failure) {
        if self.is_over() {
            return;
        }
        *self.state.borrow_mut() = State::Over(failure);
        self.link.codec().close();
        self.wake_waiting();
    }

    fn wake_waiting(&self) {
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}
