//! Two streams joined, byte for byte, until both are done, one breaks, or both are silent for too long.
//!
//! Used for upgraded connections and CONNECT (`http::upgrade`), and for connections that are passed on without being
//! understood (`l4::tcp`). WebSockets are carried between ends of any kind ([`join_frames`]).

mod direction;
mod endpoint;
mod flow;
mod pipe;

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

pub use self::endpoint::Endpoint;
use self::{
    direction::{Broken, Direction},
    flow::Flow,
};
use super::{Buffer, Deadline, Stream};
use crate::{
    moment::Moment,
    websocket::{GOING_AWAY, close_frame},
};

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
/// reset. When both have ended the streams are to be dropped: one without TLS is told its end by that. `deadline` is of this task, and `end` when it must be over.
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
        pace: Pace { deadline, silence, end, last: None },
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
    pace: Pace<'a>,
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
        let is_up_done = match done(self.up.poll(cx, self.first, self.second, self.down.is_done()), true) {
            Ok(is_done) => is_done,
            Err(end) => return Poll::Ready(end),
        };
        let is_down_done = match done(self.down.poll(cx, self.second, self.first, is_up_done), false) {
            Ok(is_done) => is_done,
            Err(end) => return Poll::Ready(end),
        };
        self.pace.poll(cx, carried(&self.up, &self.down), (is_up_done, is_down_done), self.watch)
    }
}

/// Joins the two ends of a WebSocket, of which the second is the server's; of each, what came already is given. Once
/// `closing` is ready both are told that it is over ([`End::Over`]), by a close frame between two of theirs. `deadline`
/// is of this task.
pub fn join_frames<'a, A: Endpoint, B: Endpoint>(
    (first, input): (&'a mut A, Buffer),
    (second, other_input): (&'a mut B, Buffer),
    deadline: &'a Deadline,
    silence: Silence,
    closing: impl Future<Output = ()> + 'a,
    watch: &'a mut impl Watch,
) -> impl Future<Output = (Carried, End)> + 'a {
    // Made before the future, as those of `Join` are.
    let (mut up, mut down) = (Flow::new(input), Flow::new(other_input));
    let mut pace = Pace { deadline, silence, end: None, last: None };
    let carried = |up: &Flow, down: &Flow| Carried { up: up.bytes, down: down.bytes, is_spliced: false };
    async move {
        let mut closing = pin!(closing);
        let ended = poll_fn(|cx| {
            let is_up_done = match done(up.poll(cx, first, second), true) {
                Ok(is_done) => is_done,
                Err(end) => return Poll::Ready(end),
            };
            let is_down_done = match done(down.poll(cx, second, first), false) {
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
            if let Poll::Ready(end) = pace.poll(cx, carried(&up, &down), (is_up_done, is_down_done), watch) {
                return Poll::Ready(end);
            }
            closing.as_mut().poll(cx).map(|()| End::Over)
        })
        .await;
        match &ended {
            End::Done | End::Idle => {}
            End::Over => Box::pin(close((&mut up, first), (&mut down, second), deadline)).await,
            End::FirstBroke(_) => second.reset(),
            End::SecondBroke(_) => first.reset(),
        }
        (carried(&up, &down), ended)
    }
}

/// How long the ends of a WebSocket that is closed may take for that, until they are reset.
pub const CLOSING: Duration = Duration::from_secs(1);

/// Says to both ends of a WebSocket that it is over, and waits until they have ended too.
async fn close(
    (up, first): (&mut Flow, &mut impl Endpoint),
    (down, second): (&mut Flow, &mut impl Endpoint),
    deadline: &Deadline,
) {
    deadline.after(CLOSING);
    let (to_server, to_client) = (close_frame(GOING_AWAY, true), close_frame(GOING_AWAY, false));
    let is_said = poll_fn(|cx| {
        let up = up.poll_close(cx, (first, second), &to_server);
        let down = down.poll_close(cx, (second, first), &to_client);
        match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(true),
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(false),
            _ => deadline.poll_elapsed(cx).map(|()| false),
        }
    });
    if !is_said.await {
        first.reset();
        second.reset();
        return;
    }
    // What they still send is read and forgotten: closing with unread bytes makes the kernel send a reset, which can take
    // the close frame away from them.
    poll_fn(|cx| {
        let are_done = (poll_rest(cx, first), poll_rest(cx, second));
        match are_done {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(()),
            _ => deadline.poll_elapsed(cx),
        }
    })
    .await;
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

/// Whether a direction is done; `Err` is the end of the tunnel, where it broke.
fn done(result: Poll<Result<(), Broken>>, is_up: bool) -> Result<bool, End> {
    let (is_of_first, error) = match result {
        Poll::Pending => return Ok(false),
        Poll::Ready(Ok(())) => return Ok(true),
        Poll::Ready(Err(Broken::Source(error))) => (is_up, error),
        Poll::Ready(Err(Broken::Sink(error))) => (!is_up, error),
    };
    Err(if is_of_first { End::FirstBroke(error) } else { End::SecondBroke(error) })
}

/// How long a tunnel may be silent, and how far it was when it was looked at last.
#[derive(Debug)]
struct Pace<'a> {
    deadline: &'a Deadline,
    silence: Silence,
    end: Option<Moment>,
    last: Option<(u64, u64, (bool, bool))>,
}

impl Pace<'_> {
    /// Ready when both directions are done, or the tunnel's time is over.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        carried: Carried,
        are_done: (bool, bool),
        watch: &mut impl Watch,
    ) -> Poll<End> {
        let now_active = (carried.up, carried.down, are_done);
        if self.last != Some(now_active) {
            self.last = Some(now_active);
            let is_half = are_done.0 || are_done.1;
            let silence = if is_half { self.silence.half_closed } else { self.silence.idle };
            let at = Moment::now().plus(silence);
            watch.carried(carried);
            self.deadline.at(self.end.map_or(at, |end| end.min(at)));
        }
        if are_done == (true, true) {
            return Poll::Ready(End::Done);
        }
        let is_over = || self.end.is_some_and(|end| end <= Moment::now());
        self.deadline.poll_elapsed(cx).map(|()| if is_over() { End::Over } else { End::Idle })
    }
}

fn carried(up: &Direction, down: &Direction) -> Carried {
    Carried { up: up.bytes, down: down.bytes, is_spliced: up.has_spliced || down.has_spliced }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
