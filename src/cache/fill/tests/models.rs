//! Fills where workers meet, in every order: who waits is woken, whoever else leaves, fails or purges meanwhile.

use std::{future::poll_fn, pin::pin, task::Poll};

use loom::{future::block_on, thread};

use super::*;
use crate::sync::{self, model};

/// A task of a worker: polled when it was woken, and not otherwise.
struct Task {
    is_woken: AtomicBool,
    worker: thread::Thread,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.worker.unpark();
    }
}

impl Task {
    fn new() -> Arc<Self> {
        Arc::new(Self { is_woken: AtomicBool::new(true), worker: thread::current() })
    }

    fn poll<T>(self: &Arc<Self>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        match self.is_woken.swap(false, Ordering::SeqCst) {
            true => poll(&mut Context::from_waker(&self.clone().into())),
            false => Poll::Pending,
        }
    }
}

/// Runs tasks as a worker does, beside the one that wakes its waiters, until each is ready. One that is woken by
/// nobody is parked for ever, which the checker finds.
fn worker<T, const N: usize>(polls: [impl FnMut(&mut Context<'_>) -> Poll<T>; N]) -> [T; N] {
    let mut drive = pin!(drive());
    let driver = Task::new();
    let mut tasks = polls.map(|poll| (poll, Task::new(), None));
    loop {
        let _ = driver.poll(|cx| drive.as_mut().poll(cx));
        for (poll, task, result) in &mut tasks {
            if let Poll::Ready(ready) = task.poll(poll) {
                *result = Some(ready);
            }
        }
        if tasks.iter().all(|(.., result)| result.is_some()) {
            return tasks.map(|(.., result)| result.unwrap());
        }
        let is_woken = |task: &Task| task.is_woken.load(Ordering::SeqCst);
        if !is_woken(&driver) && !tasks.iter().any(|(_, task, _)| is_woken(task)) {
            thread::park();
        }
    }
}

/// What becomes of a reader, on a worker.
fn outcome_of(reader: &mut Reader) -> FillOutcome {
    let [outcome] = worker([|cx: &mut Context<'_>| reader.poll_outcome(cx)]);
    outcome
}

/// All that a reader is given, and how it ended.
fn read_all(reader: &mut Reader) -> (u64, Result<(), ReadError>) {
    let mut read = 0;
    loop {
        let [bytes] = worker([|cx: &mut Context<'_>| reader.poll_at(read, cx)]);
        match bytes {
            Ok(Some(bytes)) => read += bytes.len() as u64,
            Ok(None) => return (read, Ok(())),
            Err(error) => return (read, Err(error)),
        }
    }
}

#[test]
fn a_waiter_elsewhere_hears_of_head_and_whole_body() {
    model(4, || {
        let fills = Fills::new(BOUNDS);
        let (mut source, _leader) = lead(&fills, "/a");
        let mut reader = wait(&fills, "/a");
        let other = thread::spawn(move || {
            assert!(matches!(outcome_of(&mut reader), FillOutcome::Coming(_)));
            assert_eq!(read_all(&mut reader), (5, Ok(())));
        });
        source.answer(fresh(true));
        source.push(Bytes::from_static(b"he"));
        source.push(Bytes::from_static(b"llo"));
        source.finish(|_, _| {});
        other.join().unwrap();
    });
}

#[test]
fn one_worker_hears_of_two_at_a_time() {
    model(4, || {
        let fills = Fills::new(BOUNDS);
        let sources = ["/a", "/b"].map(|target| lead(&fills, target));
        let mut readers = ["/a", "/b"].map(|target| wait(&fills, target));
        let others = sources.map(|(source, _)| thread::spawn(move || source.release()));
        worker(readers.each_mut().map(|reader| |cx: &mut Context<'_>| reader.poll_outcome(cx)));
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn a_waiter_asks_again_after_a_failure_whoever_leaves() {
    model(4, || {
        let fills = Fills::new(BOUNDS);
        let (source, leader) = lead(&fills, "/a");
        let (leaving, mut staying) = (wait(&fills, "/a"), wait(&fills, "/a"));
        drop(leader);
        let other = thread::spawn(move || {
            let mut leaving = leaving;
            // It may even have been given the lead, and drops that with it.
            let _ = leaving.poll_outcome(&mut Context::from_waker(Waker::noop()));
        });
        let third = thread::spawn(move || source.fail(Failure { kind: Kind::Connect, text: String::new() }));
        match outcome_of(&mut staying) {
            FillOutcome::Lead(source) => source.release(),
            FillOutcome::Failed(_) => {}
            other => panic!("{other:?}"),
        }
        assert!(!matches!(outcome(&mut staying), None | Some(FillOutcome::Lead(_))), "there is one outcome");
        drop(staying);
        other.join().unwrap();
        third.join().unwrap();
        assert_eq!(fills.stats().under_way, 0);
    });
}

#[test]
fn a_fetch_that_is_given_up_was_joined_by_nobody() {
    model(4, || {
        let fills = Fills::new(BOUNDS);
        let (source, leader) = lead(&fills, "/a");
        let newcomer = thread::spawn(move || match join(&fills, "/a") {
            Joined::Wait(mut reader) => Some(outcome_of(&mut reader)),
            Joined::Lead(..) | Joined::Alone => None,
        });
        let leaving = thread::spawn(move || drop(leader));
        // As the task that fetches: it looks whether anybody is left, and else has an answer.
        match source.poll_abandoned(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(()) => drop(source),
            Poll::Pending => source.release(),
        }
        leaving.join().unwrap();
        if let Some(outcome) = newcomer.join().unwrap() {
            assert!(matches!(outcome, FillOutcome::Released), "{outcome:?}");
        }
    });
}

#[test]
fn the_last_who_leaves_ends_a_fetch() {
    model(4, || {
        let fills = Fills::new(BOUNDS);
        let (source, leader) = lead(&fills, "/a");
        let waiter = wait(&fills, "/a");
        let others = [leader, waiter].map(|reader| thread::spawn(move || drop(reader)));
        block_on(poll_fn(|cx| source.poll_abandoned(cx)));
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn what_was_purged_while_it_came_is_not_there_afterwards() {
    model(4, || {
        let fills = Fills::new(BOUNDS);
        let store = Arc::new(sync::Mutex::new(false));
        let (mut source, _leader) = lead(&fills, "/a");
        source.answer(fresh(true));
        let purge = {
            let store = store.clone();
            thread::spawn(move || {
                fills.purge(&Rule::All);
                *store.lock().unwrap() = false;
            })
        };
        source.finish(|_, rules| {
            if rules.is_empty() {
                *store.lock().unwrap() = true;
            }
        });
        purge.join().unwrap();
        assert!(!*store.lock().unwrap());
    });
}

#[test]
fn a_lone_fetch_hears_of_purges_around_its_registration() {
    model(4, || {
        let fills = Fills::new(BOUNDS);
        let asked = fills.mark();
        let purge = {
            let fills = fills.clone();
            thread::spawn(move || fills.purge(&Rule::All))
        };
        let (mut source, _reader) = fills.begin_alone(&key("/a"), asked);
        source.answer(fresh(true));
        purge.join().unwrap();
        let mut given = Vec::new();
        source.finish(|_, rules| given = rules.to_vec());
        assert!(given.contains(&Rule::All));
    });
}

#[test]
fn a_paced_source_and_its_reader_wait_for_each_other() {
    model(4, || {
        let fills = Fills::new(Bounds { max_object: 1, held: 1 << 20 });
        let (mut source, mut reader) = lead(&fills, "/a");
        source.answer(fresh(true));
        let other = thread::spawn(move || read_all(&mut reader));
        // Each is as far as anybody may be ahead of the fastest reader.
        for _ in 0..2 {
            let is_wanted = block_on(poll_fn(|cx| source.poll_room(cx)));
            assert!(is_wanted);
            source.push(Bytes::from(vec![0; usize::try_from(super::RUN_AHEAD).unwrap()]));
        }
        source.finish(|body, _| assert!(body.is_none()));
        assert_eq!(other.join().unwrap(), (2 * super::RUN_AHEAD, Ok(())));
    });
}

#[test]
fn a_source_without_readers_is_notified() {
    model(4, || {
        let fills = Fills::new(Bounds { max_object: 1, held: 1 << 20 });
        let (mut source, reader) = lead(&fills, "/a");
        source.answer(fresh(true));
        source.push(Bytes::from(vec![0; 1 + usize::try_from(super::RUN_AHEAD).unwrap()]));
        let other = thread::spawn(move || drop(reader));
        assert!(!block_on(poll_fn(|cx| match source.poll_room(cx) {
            Poll::Ready(true) => Poll::Pending,
            ended => ended,
        })));
        other.join().unwrap();
    });
}
