//! What the io threads have to do.
//!
//! Reading goes first, since a client waits for it; but every fourth job of a thread is one of writing, so that
//! neither starves. Nothing is written before the scan at start is through: until then nobody knows how much room
//! there is.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    index::{Gone, Id},
    read_stream::ReadStream,
    write_stream::WriteStream,
};

/// One step of work.
pub(super) enum Job {
    /// Fills the read-ahead of a body.
    Read(Arc<ReadStream>),
    /// Reads a head for somebody.
    Head(Id, oneshot::Sender<Option<Vec<u8>>>),
    /// Deletes files.
    Unlink(Vec<Gone>),
    /// Does in steps what another limit brings with it.
    Settle,
    /// Writes what has come of an object.
    Write(Arc<WriteStream>),
    /// Writes the head that waits for this object.
    Update(Id),
}

/// The jobs that wait.
#[derive(Default)]
pub(super) struct Queue {
    jobs: Mutex<Jobs>,
    wake: Condvar,
    /// For the thread that deletes old generations.
    wake_sweeper: Condvar,
    /// For who waits until no thread is left.
    ended: Condvar,
}

#[derive(Default)]
struct Jobs {
    quick: VecDeque<Job>,
    writes: VecDeque<Job>,
    /// Writing may begin.
    is_open: bool,
    /// A generation was left.
    to_sweep: bool,
    /// No more jobs come.
    is_closed: bool,
    /// The threads that run.
    threads: usize,
}

impl Queue {
    /// Adds a job; false when the store is closed.
    pub(super) fn push(&self, job: Job) -> bool {
        let mut jobs = self.lock();
        if jobs.is_closed {
            return false;
        }
        match job {
            Job::Read(_) | Job::Head(..) | Job::Unlink(_) | Job::Settle => jobs.quick.push_back(job),
            Job::Write(_) | Job::Update(_) => jobs.writes.push_back(job),
        }
        drop(jobs);
        self.wake.notify_one();
        true
    }

    /// The scan is through.
    pub(super) fn begin_writing(&self) {
        self.lock().is_open = true;
        self.wake.notify_all();
    }

    /// Nothing more is written until writing begins again.
    #[cfg(test)]
    pub(super) fn stop_writing(&self) {
        self.lock().is_open = false;
    }

    /// A generation of objects was left.
    pub(super) fn sweep(&self) {
        self.lock().to_sweep = true;
        self.wake_sweeper.notify_one();
    }

    /// Waits until a generation was left. False when the store is closed.
    pub(super) fn wait_to_sweep(&self) -> bool {
        let mut jobs = self.lock();
        while !jobs.to_sweep && !jobs.is_closed {
            jobs = self.wake_sweeper.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
        jobs.to_sweep = false;
        !jobs.is_closed
    }

    /// Takes no more. What is waiting is done, but for writing that has not begun.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.wake.notify_all();
        self.wake_sweeper.notify_all();
    }

    /// Waits until what was waiting is done and no thread is left, but no longer than this.
    pub(super) fn wait_for_end(&self, patience: Duration) {
        let jobs = self.lock();
        drop(self.ended.wait_timeout_while(jobs, patience, |jobs| jobs.threads > 0));
    }

    /// Whether no more is taken.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// The next job for a thread that has done `done`; waits for it. Nothing when the store is closed and all is done.
    pub(super) fn next(&self, done: u64) -> Option<Job> {
        let mut jobs = self.lock();
        loop {
            let writes_first = done % 4 == 3;
            let mut job = None;
            if writes_first && jobs.is_open {
                job = jobs.writes.pop_front();
            }
            job = job.or_else(|| jobs.quick.pop_front());
            if job.is_none() && jobs.is_open {
                job = jobs.writes.pop_front();
            }
            if job.is_some() || jobs.is_closed {
                return job;
            }
            jobs = self.wake.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A thread more runs.
    pub(super) fn begin_thread(&self) {
        self.lock().threads += 1;
    }

    /// A thread less runs; `last` is called when none is left, and none comes.
    pub(super) fn end_thread(&self, last: impl FnOnce()) {
        let mut jobs = self.lock();
        jobs.threads -= 1;
        if jobs.threads == 0 && jobs.is_closed {
            last();
        }
        self.ended.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
