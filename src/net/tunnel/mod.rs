//! Two streams joined, byte for byte, until both are done, one breaks, or both are silent for too long.
//!
//! Used for upgraded connections and CONNECT (`http::upgrade`), and for connections that are passed on without being
//! understood (`l4::tcp`).

mod direction;
mod pipe;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

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
/// reset. `deadline` is of this task, and `end` when it must be over.
pub fn join<'a, W: Watch>(
    one: Side<'a>,
    other: Side<'a>,
    deadline: &'a Deadline,
    silence: Silence,
    end: Option<Moment>,
    watch: &'a mut W,
) -> Join<'a, W> {
    Join {
        first: one.stream,
        second: other.stream,
        up: Direction::new(one.input),
        down: Direction::new(other.input),
        deadline,
        last: None,
        silence,
        end,
        watch,
    }
}

/// Two streams that are joined. By hand, since most tunnels are idle, and an `async fn` would keep what it was given
/// beside what it makes of it.
#[derive(Debug)]
#[must_use = "it does nothing until it is awaited"]
pub struct Join<'a, W> {
    first: &'a mut Stream,
    second: &'a mut Stream,
    up: Direction,
    down: Direction,
    deadline: &'a Deadline,
    /// How far it was, and which directions were done.
    last: Option<(u64, u64, bool, bool)>,
    silence: Silence,
    end: Option<Moment>,
    watch: &'a mut W,
}

impl<W: Watch> Future for Join<'_, W> {
    type Output = (Carried, End);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let ended = ready!(this.poll_end(cx));
        match &ended {
            End::Done | End::Idle | End::Over => {}
            End::FirstBroke(_) => this.second.reset(),
            End::SecondBroke(_) => this.first.reset(),
        }
        Poll::Ready((carried(&this.up, &this.down), ended))
    }
}

impl<W: Watch> Join<'_, W> {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let is_up_done = match self.up.poll(cx, self.first, self.second) {
            Poll::Ready(Err(Broken::Source(error))) => return Poll::Ready(End::FirstBroke(error)),
            Poll::Ready(Err(Broken::Sink(error))) => return Poll::Ready(End::SecondBroke(error)),
            result => result.is_ready(),
        };
        let is_down_done = match self.down.poll(cx, self.second, self.first) {
            Poll::Ready(Err(Broken::Source(error))) => return Poll::Ready(End::SecondBroke(error)),
            Poll::Ready(Err(Broken::Sink(error))) => return Poll::Ready(End::FirstBroke(error)),
            result => result.is_ready(),
        };
        let now_active = (self.up.bytes, self.down.bytes, is_up_done, is_down_done);
        if self.last != Some(now_active) {
            self.last = Some(now_active);
            let is_half = is_up_done || is_down_done;
            let silence = if is_half { self.silence.half_closed } else { self.silence.idle };
            let at = Moment::now().plus(silence);
            self.watch.carried(carried(&self.up, &self.down));
            self.deadline.at(self.end.map_or(at, |end| end.min(at)));
        }
        if is_up_done && is_down_done {
            return Poll::Ready(End::Done);
        }
        self.deadline.poll_elapsed(cx).map(|()| match self.end.is_some_and(|end| end <= Moment::now()) {
            true => End::Over,
            false => End::Idle,
        })
    }
}

fn carried(up: &Direction, down: &Direction) -> Carried {
    Carried { up: up.bytes, down: down.bytes, is_spliced: up.has_spliced || down.has_spliced }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
