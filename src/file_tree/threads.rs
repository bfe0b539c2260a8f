//! Threads that wait for the disk, so that no event loop does. They begin when there is something to do, and end when there
//! was nothing for a while, or nobody is left who could ask.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::account;

/// Most threads of a folder: one whose disk hangs holds no more, and others have their own.
const MOST: usize = 8;
/// Most jobs that wait for one of them.
const MOST_WAITING: usize = 4096;
/// A thread ends when it had nothing to do for so long.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// The threads; they end when the last of these is gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Threads(Arc<Handle>);

#[derive(Debug, Default)]
struct Handle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    is_closed: bool,
}

impl Threads {
    /// Has a thread do it; false when too much waits already, or no thread can be had.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let shared = &self.0.0;
        let mut state = shared.lock();
        if state.jobs.len() >= MOST_WAITING {
            return false;
        }
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() || state.threads >= MOST {
            shared.wake.notify_one();
            return true;
        }
        state.threads += 1;
        drop(state);
        let of = shared.clone();
        if std::thread::Builder::new().name("files".to_owned()).spawn(move || of.work()).is_ok() {
            return true;
        }
        let mut state = shared.lock();
        state.threads -= 1;
        // Another thread may do it, if there is one.
        state.threads > 0 || state.jobs.pop_back().is_none()
    }
}

impl Shared {
    fn work(&self) {
        while let Some(job) = self.next() {
            // A thread outlives whatever one job meets; who waits for it learns that nothing came.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job of a folder's threads panicked");
            }
            account::publish();
        }
    }

    /// The next job; nothing when this thread is to end.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.is_closed {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let (after, timeout) =
                self.wake.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.wake.notify_all();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn threads_are_few_and_do_every_job() {
        let threads = Threads::default();
        let (report, reports) = mpsc::channel();
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for _ in 0..100 {
            let (report, gate) = (report.clone(), gate.clone());
            assert!(threads.run(move || {
                let _ = gate.lock().unwrap().recv();
                report.send(std::thread::current().id()).unwrap();
            }));
        }
        assert_eq!(threads.0.0.lock().threads, MOST);
        drop(release);
        let mut by: Vec<_> =
            (0..100).map(|_| reports.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
        by.sort_by_key(|id| format!("{id:?}"));
        by.dedup();
        assert!(by.len() <= MOST, "{}", by.len());
    }

    #[test]
    fn a_job_that_panics_takes_no_thread_along() {
        let threads = Threads::default();
        let (report, reports) = mpsc::channel();
        for _ in 0..2 * MOST {
            assert!(threads.run(|| panic!("as this test wants it")));
        }
        assert!(threads.run(move || report.send(()).unwrap()));
        reports.recv_timeout(Duration::from_secs(20)).unwrap();
    }

    #[test]
    fn what_waits_is_bounded() {
        let threads = Threads::default();
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let wait = || {
            let gate = gate.clone();
            threads.run(move || {
                let _ = gate.lock().unwrap().recv();
            })
        };
        let taken = (0..2 * MOST_WAITING).filter(|_| wait()).count();
        assert!((MOST_WAITING..=MOST_WAITING + MOST).contains(&taken), "{taken}");
        drop(release);
    }
}
