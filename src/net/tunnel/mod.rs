//! Two streams joined, byte for byte, until both are done, one breaks, or both are silent for too long.
//!
//! Used for upgraded connections and CONNECT (`http::upgrade`), and for connections that are passed on without being
//! understood (`l4::tcp`).

mod direction;
mod pipe;

use std::{future::poll_fn, io, task::Poll, time::Duration};

use self::direction::{Broken, Direction};
use super::{Buffer, Deadline, Stream};
use crate::moment::Moment;

/// One end of a tunnel: a stream, and what was read of it already.
#[derive(Debug)]
pub struct Side<'a> {
    /// The stream.
    pub stream: &'a mut Stream,
    /// What came of it, and was not used.
    pub input: Buffer,
}

/// How long a tunnel may be silent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silence {
    /// With both directions open.
    pub idle: Duration,
    /// With one side ended.
    pub half_closed: Duration,
}

/// How a tunnel ended.
#[derive(Debug)]
pub enum End {
    /// Both sides ended, and everything was passed on.
    Done,
    /// Neither side sent anything for too long.
    Idle,
    /// Its time was over.
    Over,
    /// The first side broke; the other one was reset.
    FirstBroke(io::Error),
    /// The second side broke; the other one was reset.
    SecondBroke(io::Error),
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

/// Joins two streams. An end of one is passed on, and the other direction goes on; a reset of one is passed on as a
/// reset. `end` is when it must be over.
pub async fn join(
    one: Side<'_>,
    other: Side<'_>,
    silence: Silence,
    end: Option<Moment>,
    watch: &mut impl Watch,
) -> (Carried, End) {
    let deadline = Deadline::new();
    let (first, second) = (one.stream, other.stream);
    let (mut up, mut down) = (Direction::new(one.input), Direction::new(other.input));
    let mut last = None;
    let ended = poll_fn(|cx| {
        let is_up_done = match up.poll(cx, first, second) {
            Poll::Ready(Err(Broken::Source(error))) => return Poll::Ready(End::FirstBroke(error)),
            Poll::Ready(Err(Broken::Sink(error))) => return Poll::Ready(End::SecondBroke(error)),
            result => result.is_ready(),
        };
        let is_down_done = match down.poll(cx, second, first) {
            Poll::Ready(Err(Broken::Source(error))) => return Poll::Ready(End::SecondBroke(error)),
            Poll::Ready(Err(Broken::Sink(error))) => return Poll::Ready(End::FirstBroke(error)),
            result => result.is_ready(),
        };
        let now_active = (up.bytes, down.bytes, is_up_done, is_down_done);
        if last != Some(now_active) {
            last = Some(now_active);
            let silence = if is_up_done || is_down_done { silence.half_closed } else { silence.idle };
            let at = Moment::now().plus(silence);
            watch.carried(carried(&up, &down));
            deadline.at(end.map_or(at, |end| end.min(at)));
        }
        if is_up_done && is_down_done {
            return Poll::Ready(End::Done);
        }
        deadline.poll_elapsed(cx).map(|()| match end.is_some_and(|end| end <= Moment::now()) {
            true => End::Over,
            false => End::Idle,
        })
    })
    .await;
    match &ended {
        End::Done | End::Idle | End::Over => {}
        End::FirstBroke(_) => second.reset(),
        End::SecondBroke(_) => first.reset(),
    }
    (carried(&up, &down), ended)
}

fn carried(up: &Direction, down: &Direction) -> Carried {
    Carried { up: up.bytes, down: down.bytes, is_spliced: up.has_spliced || down.has_spliced }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
