//! How long a tunnel may be silent, how far it is, and how it ended.

use std::{
    io,
    task::{Context, Poll},
    time::Duration,
};

use super::direction::Broken;
use crate::{
    error::{Kind, ProxyError},
    moment::Moment,
    net::Deadline,
};

/// How long a tunnel may be silent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silence {
    /// With both directions open.
    pub idle: Duration,
    /// With one side ended.
    pub half_closed: Duration,
}

/// How long a tunnel may last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// How long it may be silent.
    pub silence: Silence,
    /// When it must be over, whatever comes.
    pub end: Option<Moment>,
}

/// How a tunnel ended.
#[derive(Debug)]
pub enum End {
    /// Both sides ended, and everything was passed on.
    Done,
    /// Neither side sent anything for too long, and all that they had sent was passed on.
    Idle,
    /// The first side took nothing for too long of what there was for it; both were reset.
    FirstStalled,
    /// The second side took nothing for too long of what there was for it; both were reset.
    SecondStalled,
    /// Its time was over; unless both could be told so between two of their frames, they were reset.
    Over,
    /// The first side broke; the other one was reset.
    FirstBroke(io::Error),
    /// The second side broke; the other one was reset.
    SecondBroke(io::Error),
}

impl End {
    /// What it is to the log, unless it is a good one. The first side is the client's.
    pub fn into_error(self) -> Option<ProxyError> {
        match self {
            Self::Done => None,
            Self::Idle => Some(Kind::TunnelIdle.into()),
            Self::FirstStalled => Some(Kind::ClientStalled.into()),
            Self::SecondStalled => Some(ProxyError::because(
                Kind::TunnelIdle,
                "the backend took nothing of what there was for it",
            )),
            Self::Over => Some(Kind::RouteTimeout.into()),
            Self::FirstBroke(error) => Some(ProxyError::because(Kind::ClientGone, error)),
            Self::SecondBroke(error) => Some(ProxyError::because(Kind::TunnelBroken, error)),
        }
    }
}

/// What went through a tunnel, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// From the first side to the second.
    pub up: u64,
    /// From the second side to the first.
    pub down: u64,
    /// Whether some of it went from socket to socket within the kernel (splice(2)).
    pub is_spliced: bool,
}

/// What is told how far a tunnel is, whenever it goes on.
pub trait Watch {
    /// So much was carried altogether.
    fn carried(&mut self, carried: Carried);
}

impl<F: FnMut(Carried)> Watch for F {
    fn carried(&mut self, carried: Carried) {
        self(carried);
    }
}

/// How far a tunnel was when it was looked at last. What limits it is given with each look: who waits keeps no copy.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Bytes of both directions: neither ever has fewer.
    bytes: u64,
    are_done: (bool, bool),
    is_begun: bool,
}

impl Pace {
    /// Ready when both directions are done, or the tunnel's time is over.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (deadline, limits): (&Deadline, &Limits),
        (carried, are_done): (Carried, (bool, bool)),
        watch: &mut impl Watch,
    ) -> Poll<End> {
        let bytes = carried.up + carried.down;
        if !self.is_begun || (self.bytes, self.are_done) != (bytes, are_done) {
            *self = Self { bytes, are_done, is_begun: true };
            let is_half = are_done.0 || are_done.1;
            let silence = if is_half { limits.silence.half_closed } else { limits.silence.idle };
            let at = Moment::now().plus(silence);
            watch.carried(carried);
            deadline.at(limits.end.map_or(at, |end| end.min(at)));
        }
        if are_done == (true, true) {
            return Poll::Ready(End::Done);
        }
        let is_over = || limits.end.is_some_and(|end| end <= Moment::now());
        deadline.poll_elapsed(cx).map(|()| if is_over() { End::Over } else { End::Idle })
    }
}

/// Whether a direction is done; `Err` is the end of the tunnel, where it broke.
pub(super) fn done(result: Poll<Result<(), Broken>>, is_up: bool) -> Result<bool, End> {
    let (is_of_first, error) = match result {
        Poll::Pending => return Ok(false),
        Poll::Ready(Ok(())) => return Ok(true),
        Poll::Ready(Err(Broken::Source(error))) => (is_up, error),
        Poll::Ready(Err(Broken::Sink(error))) => (!is_up, error),
    };
    Err(if is_of_first { End::FirstBroke(error) } else { End::SecondBroke(error) })
}
