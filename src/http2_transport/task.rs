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
    moment::Moment,
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
    /// Before it asks whether the backend is still there, where something was asked and nothing comes.
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
    let phase = Phase::Begin;
    let mut task = Task { connection, pipe, deadline, phase, asked: None, times, held: 0, series };
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
    /// The answer to a PING, whether exchanges are under way or not.
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
    /// Since when something was asked and nothing has come. Exchanges that end unanswered leave it: those that follow each
    /// other without an overlap would else each begin the wait anew, on a connection that is dead.
    asked: Option<Moment>,
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
        let was_asked = self.asked.take().is_some();
        match self.phase {
            Phase::Begin if self.connection.link.codec().has_begun() => {
                self.connection.begin();
                self.become_idle();
            }
            // The clock was read when it was taken in.
            Phase::Busy => self.deadline.after_recent(self.times.ping_interval),
            Phase::Pinged if !self.connection.link.codec().is_pinged() => {
                self.phase = Phase::Busy;
                self.deadline.after(self.times.ping_interval);
            }
            // The end of the wait was that for a PING, which is not needed any more.
            Phase::Idle if was_asked => self.become_idle(),
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
                let asked = *self.asked.get_or_insert_with(Moment::now);
                self.deadline.at(asked.plus(self.times.ping_interval));
            }
            Phase::Busy if is_idle && takes_streams => self.become_idle(),
            // Nothing is under way, and nothing will be.
            Phase::Begin | Phase::Busy | Phase::Pinged | Phase::Idle if is_idle && !takes_streams => {
                self.close();
            }
            Phase::Begin | Phase::Busy | Phase::Pinged | Phase::Idle | Phase::Closing => {}
        }
    }

    /// Waits for the next exchange; and where the last ones were not answered, no longer than until it is to be asked
    /// whether the backend is still there.
    fn become_idle(&mut self) {
        self.phase = Phase::Idle;
        let end = Moment::now().plus(self.times.idle);
        let ping = self.asked.map(|asked| asked.plus(self.times.ping_interval));
        self.deadline.at(ping.map_or(end, |ping| ping.min(end)));
    }

    /// The deadline has come; gives why the connection is over, where it is.
    fn elapsed(&mut self) -> Option<Failure> {
        match self.phase {
            Phase::Begin => {
                let why = "the backend did not send HTTP/2 settings in time";
                return Some(Failure { kind: Kind::ConnectTimeout, why: why.into() });
            }
            Phase::Busy => self.ping(),
            Phase::Pinged => {
                return Some(Failure { kind: Kind::Reset, why: "PING was not answered".into() });
            }
            Phase::Idle => {
                let is_unanswered = |asked| Moment::now().since(asked) >= self.times.ping_interval;
                if self.asked.is_some_and(is_unanswered) { self.ping() } else { self.close() }
            }
            Phase::Closing => return Some(Failure { kind: Kind::Reset, why: String::new() }),
        }
        None
    }

    /// Asks whether the backend is still there.
    fn ping(&mut self) {
        self.phase = Phase::Pinged;
        self.connection.link.codec().ping();
        self.deadline.after(self.times.ping_timeout);
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
        runtime::{Builder, LocalOptions},
        task::spawn_local,
        time::{Instant, sleep},
    };

    use super::{super::RequestStream, *};
    use crate::{
        h1::HeadLimits,
        http2::RequestStart,
        net::{Plain, timer},
    };

    fn run_paused(test: impl AsyncFnOnce()) {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build_local(LocalOptions::default())
            .unwrap();
        let _none = crate::sync::children::none();
        runtime.block_on(async {
            spawn_local(timer::drive());
            test().await;
        });
    }

    const TIMES: Times = Times {
        begin: Duration::from_secs(1),
        idle: Duration::from_secs(60),
        ping_interval: Duration::from_secs(10),
        ping_timeout: Duration::from_secs(2),
    };

    /// A connection whose backend has said its settings, and the backend.
    async fn begun() -> (Rc<BackendConnection>, UnixStream) {
        let (mut backend, ours) = UnixStream::pair().unwrap();
        let connection = BackendConnection::new(HeadLimits::default());
        let stream = Stream::Plain(Plain::Unix(ours));
        spawn_local(run(connection.clone(), stream, TIMES, None));
        backend.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        poll_fn(|cx| connection.poll_begun(cx)).await.unwrap();
        (connection, backend)
    }

    /// Asks something, and gives up after three seconds.
    async fn ask_in_vain(connection: &Rc<BackendConnection>) {
        let start = RequestStart {
            method: "GET",
            is_tls: false,
            authority: "a",
            path: "/",
            protocol: None,
            is_end: true,
        };
        let asked = RequestStream::open(connection, &start, |_| {});
        sleep(Duration::from_secs(3)).await;
        drop(asked);
    }

    #[test]
    fn a_dead_connection_is_noticed_by_requests_without_overlap() {
        run_paused(async || {
            let (connection, _backend) = begun().await;
            for _ in 0..3 {
                ask_in_vain(&connection).await;
                sleep(Duration::from_secs(2)).await;
            }
            assert_eq!(connection.failure().map(|it| it.why).as_deref(), Some("PING was not answered"));
        });
    }

    #[test]
    fn a_request_given_up_has_the_backend_asked_once() {
        run_paused(async || {
            let (connection, mut backend) = begun().await;
            let asked = Instant::now();
            ask_in_vain(&connection).await;
            let mut came = Vec::new();
            while !came.ends_with(b"alive?\0\0") {
                backend.read_buf(&mut came).await.unwrap();
            }
            assert_eq!(asked.elapsed().as_secs(), 10);
            backend.write_all(b"\0\0\x08\x06\x01\0\0\0\0alive?\0\0").await.unwrap();
            sleep(Duration::from_secs(59)).await;
            assert!(connection.takes_streams(), "it waits for the next exchange");
            came.clear();
            backend.read_buf(&mut came).await.unwrap();
            // GOAWAY
            assert_eq!((came[3], asked.elapsed().as_secs()), (7, 70));
        });
    }

    /// What comes late is an answer all the same.
    #[test]
    fn a_late_answer_leaves_the_connection_its_idle_time() {
        run_paused(async || {
            let (connection, mut backend) = begun().await;
            ask_in_vain(&connection).await;
            // SETTINGS
            backend.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
            sleep(Duration::from_secs(40)).await;
            assert!(connection.takes_streams(), "it waits for the next exchange");
        });
    }

    /// Who waited for it has left, and so has its backend from the configuration.
    #[test]
    fn a_connection_retired_before_it_begins_ends_at_once() {
        run_paused(async || {
            let (_backend, ours) = UnixStream::pair().unwrap();
            let connection = BackendConnection::new(HeadLimits::default());
            connection.retire();
            run(connection.clone(), Stream::Plain(Plain::Unix(ours)), TIMES, None).await;
            // Not that there were no settings in time.
            assert_eq!(connection.failure().map(|it| it.kind), Some(Kind::Reset));
        });
    }
}
