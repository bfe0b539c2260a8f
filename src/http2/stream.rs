//! One stream, from its request to the end of what serves it (RFC 9113 §5.1).

use std::{collections::VecDeque, task::Waker};

use super::{
    flow::{ReceiveWindow, SendWindow},
    inbound::Inbound,
    reason::Reason,
};
use crate::{fields::Fields, h1::ResponseHead};

/// Why nothing more comes of a stream's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client ended it, or the connection is over.
    Gone(Reason),
    /// The client broke a rule, and the stream is reset.
    Broken(&'static str),
    /// The request is malformed; its stream is reset once that is answered.
    Malformed(&'static str),
}

/// Heads of responses that came on a stream of which we are the client.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Interim ones that were not taken.
    pub(super) interim: VecDeque<ResponseHead>,
    /// The final one, until it is taken.
    pub(super) last: Option<ResponseHead>,
    /// The final one came; what follows it are trailers.
    pub(super) is_final: bool,
    /// The length of the body that is to follow it, where that is known.
    pub(super) length: Option<u64>,
    /// Whether HEAD was asked, whose answer has no body whatever it says of its length.
    pub(super) is_to_head: bool,
    /// Whether a tunnel was asked for (RFC 8441).
    pub(super) is_to_connect: bool,
}

/// How often a stream's window may be opened for each piece that is sent on it: a library of gRPC does so once for every
/// message that it asks for, on thousands of streams at the same time.
pub(super) const UPDATES: u8 = 4;

/// A stream that is served.
#[derive(Debug)]
pub struct Stream {
    /// What the client takes.
    pub(super) send: SendWindow,
    /// What it may send.
    pub(super) receive: ReceiveWindow,
    /// The body, as far as it came and was not taken.
    pub(super) inbound: Inbound,
    /// Trailers that were not taken.
    pub(super) trailers: Option<Box<Fields>>,
    /// What is to come of the body, where its length was said.
    pub(super) left: Option<u64>,
    /// The client's half is ended.
    pub(super) is_peer_done: bool,
    /// The head of the response is sent.
    pub(super) is_head_sent: bool,
    /// Our half is ended.
    pub(super) is_own_done: bool,
    /// What is wrong.
    pub(super) fault: Option<Fault>,
    /// What came of its answer, where we are the client.
    pub(super) answer: Answer,
    /// Who serves it.
    pub(super) waker: Option<Waker>,
    /// Where in the output the flags are of the frame that may say its end: of the head of its response, or of the last
    /// DATA behind that.
    pub(super) last_flags: Option<u64>,
    /// It waits for room in the output or in the connection's window.
    pub(super) is_blocked: bool,
    /// How often its window may still be opened without that being a nuisance, until something is sent on it.
    pub(super) updates: u8,
    /// Whether it carries a WebSocket, which may be left unread for hours.
    pub(super) is_tunnel: bool,
    /// Bytes that came, and have not gone on, of which the connection's window was given back already.
    ahead: usize,
}

impl Stream {
    /// A stream whose request's head is whole.
    pub(super) fn new(send: SendWindow, receive: ReceiveWindow) -> Self {
        Self {
            send,
            receive,
            inbound: Inbound::default(),
            trailers: None,
            left: None,
            is_peer_done: false,
            is_head_sent: false,
            is_own_done: false,
            fault: None,
            answer: Answer::default(),
            waker: None,
            last_flags: None,
            is_blocked: false,
            updates: UPDATES,
            is_tunnel: false,
            ahead: 0,
        }
    }

    /// Notes that bytes which came are in its own window only: the connection's is given back now, and not when they go on.
    pub(super) fn run_ahead(&mut self, bytes: usize) {
        self.ahead = self.ahead.saturating_add(bytes);
    }

    /// Bytes that came have gone on, or are forgotten: how many of them the connection's window is owed.
    pub(super) fn owed(&mut self, bytes: usize) -> usize {
        let was_given = self.ahead.min(bytes);
        self.ahead -= was_given;
        bytes - was_given
    }

    /// Forgets what came and was not taken; gives how much of it the connection's window is owed.
    pub(super) fn forget(&mut self) -> usize {
        let unread = self.inbound.clear();
        self.owed(unread)
    }

    /// Wakes who serves it.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether nothing that is sent on it is wanted.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.fault, Some(Fault::Gone(_) | Fault::Broken(_)))
    }

    /// Notes what is wrong, unless something was before; what came and was not taken has no use then. Gives how much
    /// of it the connection's window is owed. A malformed request is answered, but on a stream that is reset nothing is sent any more (RFC 9113 §5.1).
    pub(super) fn fail(&mut self, fault: Fault) -> usize {
        if !self.is_gone() && (self.fault.is_none() || !matches!(fault, Fault::Malformed(_))) {
            self.fault = Some(fault);
        }
        self.trailers = None;
        self.wake();
        self.forget()
    }
}
