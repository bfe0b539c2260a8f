//! The two ends of a WebSocket joined, whatever carries them; it can be closed between two of their frames.

use std::{
    io,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    endpoint::Endpoint,
    flow::Flow,
    pace::{Carried, End, Limits, Pace, Watch, done},
};
use crate::{
    net::{Buffer, Deadline, poll_at_once},
    websocket::{GOING_AWAY, close_frame},
};

/// How long the ends of a WebSocket that is closed may take for that, until they are reset.
pub const CLOSING: Duration = Duration::from_secs(1);

/// What is between the two ends of a WebSocket that are joined, of which the second is the server's: as
/// [`Joint`](super::Joint) is between two streams.
#[derive(Debug)]
pub struct FramedJoint {
    up: Flow,
    down: Flow,
    pace: Pace,
    stage: Stage,
}

/// How far its end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is open.
    Open,
    /// Both ends are told that it is over.
    Closing,
    /// They are told, and have until the deadline to end too.
    Closed,
    /// Who joined them knows the end.
    Over,
}

impl FramedJoint {
    /// Between two ends, of each of which this was read already.
    pub fn new(input: Buffer, other_input: Buffer) -> Self {
        Self { up: Flow::new(input), down: Flow::new(other_input), pace: Pace::default(), stage: Stage::Open }
    }

    /// What was carried so far.
    pub fn carried(&self) -> Carried {
        Carried { up: self.up.bytes, down: self.down.bytes, is_spliced: false }
    }

    /// Carries on; ready with the end, which is to be asked for once. Once `closing` is ready both ends are told that it is
    /// over ([`End::Over`]), by a close frame between two of theirs. The ends are the same each time, and `deadline` is of
    /// the task that asks.
    pub fn poll<A: Endpoint, B: Endpoint>(
        &mut self,
        cx: &mut Context<'_>,
        (first, second): (&mut A, &mut B),
        (deadline, limits): (&Deadline, &Limits),
        closing: impl FnOnce(&mut Context<'_>) -> Poll<()>,
        watch: &mut impl Watch,
    ) -> Poll<End> {
        let ended = ready!(self.poll_stages(cx, (first, second), (deadline, limits), closing, watch));
        self.stage = Stage::Over;
        Poll::Ready(ended)
    }

    /// Whether the end was asked for and came.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    fn poll_stages<A: Endpoint, B: Endpoint>(
        &mut self,
        cx: &mut Context<'_>,
        (first, second): (&mut A, &mut B),
        (deadline, limits): (&Deadline, &Limits),
        closing: impl FnOnce(&mut Context<'_>) -> Poll<()>,
        watch: &mut impl Watch,
    ) -> Poll<End> {
        if self.stage == Stage::Open {
            let ends = (&mut *first, &mut *second);
            let ended = ready!(self.poll_open(cx, ends, (deadline, limits), closing, watch));
            match &ended {
                End::Over => {}
                End::Done => return Poll::Ready(ended),
                End::Idle => {
                    // As far as that can be done at once: nothing was cut off.
                    let _ = poll_at_once(|cx| first.poll_end(cx));
                    let _ = poll_at_once(|cx| second.poll_end(cx));
                    return Poll::Ready(ended);
                }
                End::FirstStalled | End::SecondStalled => {
                    first.reset();
                    second.reset();
                    return Poll::Ready(ended);
                }
                End::FirstBroke(_) => {
                    second.reset();
                    return Poll::Ready(ended);
                }
                End::SecondBroke(_) => {
                    first.reset();
                    return Poll::Ready(ended);
                }
            }
            deadline.after(CLOSING);
            self.stage = Stage::Closing;
        }
        if self.stage == Stage::Closing {
            if !ready!(self.poll_close(cx, (&mut *first, &mut *second), deadline)) {
                first.reset();
                second.reset();
                return Poll::Ready(End::Over);
            }
            self.stage = Stage::Closed;
        }
        // What they still send is read and forgotten: closing with unread bytes makes the kernel send a reset, which can
        // take the close frame away from them.
        match (poll_rest(cx, first), poll_rest(cx, second)) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(End::Over),
            _ => deadline.poll_elapsed(cx).map(|()| End::Over),
        }
    }

    fn poll_open<A: Endpoint, B: Endpoint>(
        &mut self,
        cx: &mut Context<'_>,
        (first, second): (&mut A, &mut B),
        limits: (&Deadline, &Limits),
        closing: impl FnOnce(&mut Context<'_>) -> Poll<()>,
        watch: &mut impl Watch,
    ) -> Poll<End> {
        let is_up_done = match done(self.up.poll(cx, first, second), true) {
            Ok(is_done) => is_done,
            Err(end) => return Poll::Ready(end),
        };
        let is_down_done = match done(self.down.poll(cx, second, first), false) {
            Ok(is_done) => is_done,
            Err(end) => return Poll::Ready(end),
        };
        // Also while nothing is read of it, for the other side takes nothing.
        if first.poll_gone(cx).is_ready() {
            return Poll::Ready(End::FirstBroke(io::ErrorKind::ConnectionReset.into()));
        }
        if second.poll_gone(cx).is_ready() {
            return Poll::Ready(End::SecondBroke(io::ErrorKind::ConnectionReset.into()));
        }
        let carried = self.carried();
        if let Poll::Ready(end) = self.pace.poll(cx, limits, (carried, (is_up_done, is_down_done)), watch) {
            return Poll::Ready(match end {
                End::Idle if self.down.has_rest(first) => End::FirstStalled,
                End::Idle if self.up.has_rest(second) => End::SecondStalled,
                end => end,
            });
        }
        closing(cx).map(|()| End::Over)
    }

    /// Says to both ends that it is over: whether they were told.
    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        (first, second): (&mut impl Endpoint, &mut impl Endpoint),
        deadline: &Deadline,
    ) -> Poll<bool> {
        let (to_server, to_client) = (close_frame(GOING_AWAY, true), close_frame(GOING_AWAY, false));
        let up = self.up.poll_close(cx, (first, second), &to_server);
        let down = self.down.poll_close(cx, (second, first), &to_client);
        match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(true),
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(false),
            _ => deadline.poll_elapsed(cx).map(|()| false),
        }
    }
}

/// Reads an end to its end.
fn poll_rest(cx: &mut Context<'_>, endpoint: &mut impl Endpoint) -> Poll<()> {
    for _ in 0..16 {
        match ready!(endpoint.poll_read(cx)) {
            Ok(buffer) if !buffer.is_empty() => {}
            Ok(_) | Err(_) => return Poll::Ready(()),
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}
