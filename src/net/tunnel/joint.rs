//! Two streams joined, byte for byte.

use std::task::{Context, Poll, ready};

use super::{
    direction::Direction,
    pace::{Carried, End, Limits, Pace, Watch, done},
};
use crate::net::{Buffer, Deadline, Stream};

/// What is between two streams that are joined: what was read of each and is not written yet, and how far they are.
///
/// An end of one is passed on, and the other direction goes on; a reset of one is passed on as a reset. What is cut off,
/// by its time or because a side takes nothing, is reset on both sides: neither shall take what came for all. At the end
/// the streams are to be dropped: one without TLS is told its end by that.
///
/// No future, and without the streams, deadline and limits, which who polls it has: most tunnels are idle, and would keep
/// them twice.
#[derive(Debug)]
pub struct Joint {
    up: Direction,
    down: Direction,
    pace: Pace,
}

impl Joint {
    /// Between two streams, of each of which this was read already.
    pub fn new(input: Buffer, other_input: Buffer) -> Self {
        Self { up: Direction::new(input), down: Direction::new(other_input), pace: Pace::default() }
    }

    /// What was carried so far.
    pub fn carried(&self) -> Carried {
        let (up, down) = (&self.up, &self.down);
        Carried { up: up.bytes, down: down.bytes, is_spliced: up.has_spliced || down.has_spliced }
    }

    /// Carries on; ready with the end, which is to be asked for once. The streams are the same each time, and `deadline` is
    /// of the task that asks.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (first, second): (&mut Stream, &mut Stream),
        limits: (&Deadline, &Limits),
        watch: &mut impl Watch,
    ) -> Poll<End> {
        let ended = ready!(self.poll_end(cx, (&mut *first, &mut *second), limits, watch));
        match &ended {
            End::Done => {}
            End::Idle => {
                first.say_goodbye();
                second.say_goodbye();
            }
            End::FirstStalled | End::SecondStalled | End::Over => {
                first.reset();
                second.reset();
            }
            End::FirstBroke(_) => second.reset(),
            End::SecondBroke(_) => first.reset(),
        }
        Poll::Ready(ended)
    }

    fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        (first, second): (&mut Stream, &mut Stream),
        limits: (&Deadline, &Limits),
        watch: &mut impl Watch,
    ) -> Poll<End> {
        let is_up_done = match done(self.up.poll(cx, first, second, self.down.is_done()), true) {
            Ok(is_done) => is_done,
            Err(end) => return Poll::Ready(end),
        };
        let is_down_done = match done(self.down.poll(cx, second, first, is_up_done), false) {
            Ok(is_done) => is_done,
            Err(end) => return Poll::Ready(end),
        };
        let carried = self.carried();
        let end = ready!(self.pace.poll(cx, limits, (carried, (is_up_done, is_down_done)), watch));
        Poll::Ready(match end {
            End::Idle if self.down.has_rest(first) => End::FirstStalled,
            End::Idle if self.up.has_rest(second) => End::SecondStalled,
            end => end,
        })
    }
}
