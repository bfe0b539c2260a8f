//! Parts of a connection's state.

use super::{budget::Budget, head::Head};
use crate::error::Kind;

/// A request whose head is whole.
#[derive(Debug)]
pub struct Opened {
    /// Its stream.
    pub id: u32,
    /// Its head, as far as it is one.
    pub head: Box<Head>,
    /// Why it is not one that is served.
    pub problem: Option<Kind>,
}

/// A block of fields that comes in more than one frame.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) is_end: bool,
    pub(super) bytes: Vec<u8>,
}

/// What a client may make us do for nothing.
#[derive(Debug)]
pub(super) struct Budgets {
    /// Frames that ask for nothing: CVE-2019-9512 and its like.
    pub(super) nuisance: Budget,
    /// Requests that are ended before they are answered, by the client (CVE-2023-44487), or by us because of it
    /// (CVE-2025-8671).
    pub(super) resets: Budget,
    /// Answers to SETTINGS and PING that wait to be written.
    pub(super) acks: Acks,
}

/// Answers that wait to be written, by where in the output they begin. What streams add behind them is no part of it: an
/// output that is never empty is that of a long download.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// How many there are; at most as many more are counted as were written meanwhile.
    waiting: u32,
    /// Where the last of them begins.
    last: u64,
    /// So many of them begin no later than there: once that is written, they are.
    first: (u32, u64),
}

impl Acks {
    /// One more begins there; gives how many wait.
    pub(super) fn add(&mut self, at: u64) -> u32 {
        self.waiting += 1;
        self.last = at;
        if self.first.0 == 0 {
            self.first = (1, at);
        }
        self.waiting
    }

    /// The output is written up to there.
    pub(super) fn written(&mut self, to: u64) {
        if to > self.last {
            *self = Self::default();
        } else if to > self.first.1 {
            self.waiting -= self.first.0;
            self.first = (self.waiting, self.last);
        }
    }
}

/// Which end of a connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It opens streams, and we answer.
    Server,
    /// We open streams, and it answers.
    Client,
}

/// What a client knows of its server.
#[derive(Debug, Default)]
pub(super) struct ServerState {
    /// The highest stream that it looks at, once it said so by GOAWAY.
    pub(super) last: Option<u32>,
    /// No stream is to be opened any more: we end the connection, or what came cannot be trusted.
    pub(super) is_retired: bool,
    /// A PING of ours is not answered yet.
    pub(super) is_pinged: bool,
    /// Streams that it reset.
    pub(super) resets: u64,
}

/// How far the end of a connection is (RFC 9113 §6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// It is not.
    No,
    /// GOAWAY with the highest number is sent, and a PING behind it.
    Begun,
    /// The client has answered, and knows the last stream.
    Told,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_until_they_are_written() {
        let mut acks = Acks::default();
        assert_eq!([acks.add(0), acks.add(17), acks.add(34)], [1, 2, 3]);
        acks.written(0);
        assert_eq!(acks.add(100), 4);
        acks.written(20);
        assert_eq!(acks.waiting, 3, "one is known to be written");
        acks.written(100);
        assert_eq!(acks.waiting, 3);
        assert_eq!(acks.add(200), 4);
        acks.written(101);
        assert_eq!(acks.waiting, 1);
        acks.written(201);
        assert_eq!((acks.waiting, acks.add(300)), (0, 1));
    }
}
