//! What is noted of a sampled exchange on its way, and becomes spans at its end.

use crate::{error::Kind, moment::Moment};

use super::SpanId;

/// The notes. An exchange that is not sampled has none.
#[derive(Debug, Default)]
pub struct Recording {
    /// The connection's TLS handshake, in the first request over it.
    pub handshake: Option<Box<Handshake>>,
    /// Each attempt to have a backend answer, in order.
    pub attempts: Vec<Attempt>,
}

/// When a TLS handshake with a client was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Its beginning: the connection was accepted.
    pub begun: Moment,
    /// Its end.
    pub ended: Moment,
    /// Whether a session was resumed.
    pub is_resumed: bool,
}

/// One attempt to have a backend answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its span.
    pub id: SpanId,
    /// Index of the backend in the upstream.
    pub backend: usize,
    /// When the backend was picked.
    pub begun: Moment,
    /// When its response head came or it failed, and what it came to; `None` while it is under way.
    pub ended: Option<(Moment, Result<u16, Kind>)>,
}

impl Recording {
    /// An attempt begins.
    pub fn begin_attempt(&mut self, id: SpanId, backend: usize, now: Moment) {
        self.attempts.push(Attempt { id, backend, begun: now, ended: None });
    }

    /// The attempt under way has come to a response of this status, or to this failure.
    pub fn end_attempt(&mut self, outcome: Result<u16, Kind>, now: Moment) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.ended = Some((now, outcome));
        }
    }

    /// Ends the last attempt by how the whole exchange ended: an attempt under way
    /// ended with it, and a response that broke off in its body is a failure of its attempt.
    pub fn end(&mut self, error: Option<Kind>, now: Moment) {
        let Some(attempt) = self.attempts.last_mut() else { return };
        match (&attempt.ended, error) {
            (None, error) => attempt.ended = Some((now, Err(error.unwrap_or(Kind::ClientGone)))),
            (Some((_, Ok(_))), Some(Kind::BodyBroken)) => {
                attempt.ended = Some((now, Err(Kind::BodyBroken)));
            }
            (Some(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording() -> Recording {
        let mut recording = Recording::default();
        recording.begin_attempt(SpanId(1), 0, Moment(10));
        recording.end_attempt(Err(Kind::Connect), Moment(20));
        recording.begin_attempt(SpanId(2), 1, Moment(30));
        recording
    }

    #[test]
    fn an_attempt_under_way_ends_with_the_exchange() {
        let mut recording = recording();
        recording.end(None, Moment(50));
        let ended: Vec<_> = recording.attempts.iter().map(|attempt| attempt.ended).collect();
        assert_eq!(
            ended,
            [Some((Moment(20), Err(Kind::Connect))), Some((Moment(50), Err(Kind::ClientGone)))]
        );
    }

    #[test]
    fn a_broken_body_fails_only_the_attempt_that_brought_it() {
        for (error, expected) in [
            (None, (Moment(40), Ok(200))),
            (Some(Kind::ClientGone), (Moment(40), Ok(200))),
            (Some(Kind::BodyBroken), (Moment(50), Err(Kind::BodyBroken))),
        ] {
            let mut recording = recording();
            recording.end_attempt(Ok(200), Moment(40));
            recording.end(error, Moment(50));
            assert_eq!(recording.attempts[1].ended, Some(expected));
            assert_eq!(recording.attempts[0].ended, Some((Moment(20), Err(Kind::Connect))));
        }
    }
}
