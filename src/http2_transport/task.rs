//! The task of a connection to a backend: it reads and writes, asks whether the backend is still there, and ends the
//! connection.

use std::{
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    backend::{BackendConnection, Failure},
    pipe::Pipe,
};
use crate::{
    account::{self, Owner},
    error::Kind,
    http2::ConnectionError,
    net::{Buffer, Deadline, Stream},
    telemetry::metrics::BackendSeries,
};

/// How long a connection waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For the backend's settings.
    pub begin: Duration,
    /// For the next exchange.
    pub idle: Duration,
    /// Before it asks whether the backend is still there, while exchanges are under way and nothing comes.
    pub ping_interval: Duration,
    /// For the answer to that.
    pub ping_timeout: Duration,
}

/// Runs a connection that is made to its end.
pub async fn run(
    connection: Rc<BackendConnection>,
    stream: Stream,
    times: Times,
    series: Option<Arc<BackendSeries>>,
) {
    let deadline = Deadline::new();
    deadline.after(times.begin);
    if let Some(series) = &series {
        series.http2_opened.add(1);
    }
    let pipe = Pipe::new(stream, Buffer::default());
    let mut task = Task { connection, pipe, deadline, phase: Phase::Begin, times, held: 0, series };
    let failure = poll_fn(|cx| task.poll(cx)).await;
    task.connection.end(failure);
    task.pipe.stream.say_goodbye();
}

/// What the deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The backend's settings.
    Begin,
    /// Something to come, while exchanges are under way.
    Busy,
    /// The answer to a PING.
    Pinged,
    /// The next exchange.
    Idle,
    /// GOAWAY to be written.
    Closing,
}

struct Task {
    connection: Rc<BackendConnection>,
    pipe: Pipe,
    deadline: Deadline,
    phase: Phase,
    times: Times,
    /// Bytes that are counted for the codec.
    held: usize,
    series: Option<Arc<BackendSeries>>,
}

impl Drop for Task {
    fn drop(&mut self) {
        // Also where the task is ended: its streams see that nobody is there.
        self.connection.end(Failure { kind: Kind::Reset, why: String::new() });
        account::give(Owner::Buffers, self.held);
        if let Some(series) = &self.series {
            series.http2_closed.add(1);
        }
    }
}

/// How long GOAWAY may take to be written.
const CLOSING: Duration = Duration::from_secs(1);

impl Task {
    /// Ready at the end of the connection, with why it is that.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        self.connection.link.register(cx);
        loop {
            let has_read = match self.pipe.poll_read(cx, &self.connection.link) {
                Poll::Ready(Ok(true)) => true,
                Poll::Ready(Ok(false)) => return Poll::Ready(self.lost(String::new())),
                Poll::Ready(Err(error)) => return Poll::Ready(self.lost(error.to_string())),
                Poll::Pending => false,
            };
            let wrong = self.pipe.take_input(&self.connection.link).and_then(Result::err);
            let wrong = wrong.or_else(|| self.connection.link.codec().take_error());
            let is_written = self.connection.link.codec().output().waiting().is_empty();
            if let Some(error) = wrong {
                self.fail(error);
            }
            let is_written = match self.pipe.poll_write(cx, &self.connection.link) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(error)) => return Poll::Ready(self.lost(error.to_string())),
                Poll::Pending => is_written && self.connection.link.codec().output().waiting().is_empty(),
            };
            self.count();
            if self.phase == Phase::Closing && is_written {
                return Poll::Ready(Failure { kind: Kind::Reset, why: String::new() });
            }
            if has_read {
                self.follow_read();
                continue;
            }
            self.follow();
            if self.phase == Phase::Closing && is_written {
                // GOAWAY was made just now.
                continue;
            }
            if self.deadline.poll_elapsed(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(failure) = self.elapsed() {
                return Poll::Ready(failure);
            }
        }
    }

    /// The backend ended the connection, or it broke.
    fn lost(&self, why: String) -> Failure {
        match self.phase {
            Phase::Begin => {
                let said = if why.is_empty() { "it was closed".into() } else { why };
                Failure { kind: Kind::Connect, why: format!("no HTTP/2 on the connection: {said}") }
            }
            Phase::Busy | Phase::Pinged | Phase::Idle | Phase::Closing => Failure { kind: Kind::Reset, why },
        }
    }

    /// Something came: the backend is there.
    fn follow_read(&mut self) {
        match self.phase {
            Phase::Begin if self.connection.link.codec().has_begun() => {
                self.connection.begin();
                self.phase = Phase::Idle;
                self.deadline.after(self.times.idle);
            }
            // The clock was read when it was taken in.
            Phase::Busy => self.deadline.after_recent(self.times.ping_interval),
            Phase::Pinged if !self.connection.link.codec().is_pinged() => {
                self.phase = Phase::Busy;
                self.deadline.after(self.times.ping_interval);
            }
            Phase::Begin | Phase::Pinged | Phase::Idle | Phase::Closing => {}
        }
    }

    /// Exchanges have begun or ended.
    fn follow(&mut self) {
        let (is_idle, takes_streams) = {
            let codec = self.connection.link.codec();
            (codec.is_idle(), codec.takes_streams())
        };
        match self.phase {
            Phase::Idle if !is_idle => {
                self.phase = Phase::Busy;
                self.deadline.after(self.times.ping_interval);
            }
            Phase::Busy | Phase::Pinged if is_idle && takes_streams => {
                self.phase = Phase::Idle;
                self.deadline.after(self.times.idle);
            }
            // Nothing is under way, and nothing will be.
            Phase::Busy | Phase::Pinged | Phase::Idle if is_idle && !takes_streams => self.close(),
            Phase::Begin | Phase::Busy | Phase::Pinged | Phase::Idle | Phase::Closing => {}
        }
    }

    /// The deadline has come; gives why the connection is over, where it is.
    fn elapsed(&mut self) -> Option<Failure> {
        match self.phase {
            Phase::Begin => {
                let why = "the backend did not send HTTP/2 settings in time";
                return Some(Failure { kind: Kind::ConnectTimeout, why: why.into() });
            }
            Phase::Busy => {
                self.phase = Phase::Pinged;
                self.connection.link.codec().ping();
                self.deadline.after(self.times.ping_timeout);
            }
            Phase::Pinged => {
                return Some(Failure { kind: Kind::Reset, why: "PING was not answered".into() });
            }
            Phase::Idle => self.close(),
            Phase::Closing => return Some(Failure { kind: Kind::Reset, why: String::new() }),
        }
        None
    }

    /// Ends the connection, on which nothing is under way.
    fn close(&mut self) {
        let mut codec = self.connection.link.codec();
        codec.retire();
        codec.say_goaway();
        drop(codec);
        self.phase = Phase::Closing;
        self.deadline.after(CLOSING);
    }

    /// Ends the connection because of what the backend did: its streams are told what that was.
    fn fail(&mut self, error: ConnectionError) {
        tracing::warn!(error = %error, "an HTTP/2 connection to a backend is closed");
        if let Some(series) = &self.series {
            series.http2_errors.add(1);
        }
        self.connection.link.codec().fail(error);
        if self.phase == Phase::Begin {
            let why = format!("no HTTP/2 on the connection: {}", error.what);
            self.connection.end(Failure { kind: Kind::Connect, why });
        }
        self.phase = Phase::Closing;
        self.deadline.after(CLOSING);
    }

    /// Counts what the codec holds, and what came of its streams.
    fn count(&mut self) {
        let mut codec = self.connection.link.codec();
        let held = codec.memory();
        let resets = codec.take_resets();
        drop(codec);
        if held != self.held {
            account::take(Owner::Buffers, held);
            account::give(Owner::Buffers, std::mem::replace(&mut self.held, held));
        }
        if let Some(series) = self.series.as_ref().filter(|_| resets > 0) {
            series.http2_resets.add(resets);
        }
    }
}
