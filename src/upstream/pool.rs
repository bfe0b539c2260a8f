//! Idle connections to one backend, of one worker.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use crate::{moment::Moment, net::Http1Stream};

/// Connections that wait for the next exchange; the one used last is used first, so that the surplus
/// ages and is closed.
#[derive(Debug)]
pub struct Pool {
    idle: RefCell<Vec<Idle>>,
    most: Cell<usize>,
    timeout: Cell<Duration>,
}

#[derive(Debug)]
struct Idle {
    stream: Http1Stream,
    since: Moment,
}

impl Pool {
    /// Keeps at most `most` connections for at most `timeout`.
    pub fn new(most: usize, timeout: Duration) -> Self {
        Self { idle: RefCell::default(), most: Cell::new(most), timeout: Cell::new(timeout) }
    }

    /// Takes the limits of another configuration.
    pub fn set(&self, most: usize, timeout: Duration) {
        self.most.set(most);
        self.timeout.set(timeout);
        let mut idle = self.idle.borrow_mut();
        let surplus = idle.len().saturating_sub(most);
        idle.drain(..surplus);
    }

    /// Keeps nothing any more, and closes what is idle: the backend is gone.
    pub fn close(&self) {
        self.set(0, Duration::ZERO);
    }

    /// A connection that is still whole as far as can be seen, and was used no longer ago than `most_idle`.
    pub fn take(&self, now: Moment, most_idle: Duration) -> Option<Http1Stream> {
        let mut idle = self.idle.borrow_mut();
        // The last one was used last: where it is too old, all are.
        while idle.last().is_some_and(|last| now.since(last.since) <= most_idle)
            && let Some(mut candidate) = idle.pop()
        {
            if now.since(candidate.since) < self.timeout.get() && candidate.stream.is_quiet() {
                return Some(candidate.stream);
            }
        }
        None
    }

    /// Keeps a connection whose exchange ended cleanly.
    pub fn put(&self, mut stream: Http1Stream, now: Moment) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.most.get() && !stream.has_rest() {
            stream.rest();
            idle.push(Idle { stream, since: now });
        }
    }

    /// Closes what is idle for too long, or was closed by the backend.
    pub fn sweep(&self, now: Moment) {
        self.idle
            .borrow_mut()
            .retain_mut(|idle| now.since(idle.since) < self.timeout.get() && idle.stream.is_quiet());
    }

    /// How many are idle.
    pub fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Whether none is idle.
    pub fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        net::UnixStream,
        runtime::{Builder, LocalOptions},
    };

    use super::*;
    use crate::net::{Buffer, Plain, Stream};

    /// More than what a task may do of what tokio counts before it has to wait.
    const MANY: usize = 200;

    /// A pool with so many connections, and their other ends.
    fn filled(now: Moment) -> (Pool, Vec<UnixStream>) {
        let pool = Pool::new(MANY, Duration::from_secs(60));
        let pairs = (0..MANY).map(|_| UnixStream::pair().unwrap());
        let far = pairs.map(|(near, far)| {
            pool.put(Http1Stream::new(Stream::Plain(Plain::Unix(near)), Buffer::default()), now);
            far
        });
        let far = far.collect();
        (pool, far)
    }

    /// Runs a test as a task, with what tokio grants to one.
    fn run(test: impl Future<Output = ()> + 'static) {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        runtime.unwrap().block_on(async { tokio::task::spawn_local(test).await.unwrap() });
    }

    /// The event loop has learned of all that happened before.
    async fn learned() {
        let (near, far) = UnixStream::pair().unwrap();
        drop(far);
        near.readable().await.unwrap();
    }

    #[test]
    fn no_dead_connection_is_taken_however_many_there_are() {
        run(async {
            let now = Moment::now();
            let (pool, far) = filled(now);
            drop(far);
            learned().await;
            assert!(pool.take(now, Duration::MAX).is_none());
            assert_eq!(pool.len(), 0);
        });
    }

    #[test]
    fn a_sweep_closes_the_dead_and_no_others() {
        run(async {
            let now = Moment::now();
            let (pool, mut far) = filled(now);
            // Those that are looked at last.
            far.truncate(MANY / 2);
            learned().await;
            pool.sweep(now);
            assert_eq!(pool.len(), MANY / 2);
            pool.sweep(now);
            assert_eq!(pool.len(), MANY / 2, "they are whole");
            drop(far);
        });
    }
}
