//! What those do who wait for a fetch and read what it brings: they ask, are polled, read and leave.

use std::time::Duration;

use super::*;
use crate::moment::Moment;

impl Stage<'_> {
    pub(super) fn ask(&mut self, world: &mut World) {
        let key = world.rng.usize(0..KEYS.len());
        let expected = self.joinable(key);
        let fields = Fields::default();
        let want = Want {
            key: &self.fixture.keys[key],
            request: &fields,
            origin: OriginId::default(),
            expected: None,
            accepts: &|_| true,
            now: Moment::now(),
            patience: Duration::from_secs(3600),
        };
        let (fetch, reader) = match self.fills.join(&want, || false) {
            Joined::Wait(reader) => (expected.expect("nothing could be joined"), reader),
            Joined::Lead(source, reader) => {
                assert_eq!(expected, None, "two fetches of one thing");
                (self.begin(key, source), reader)
            }
            Joined::Alone => panic!("nobody said so"),
        };
        world.record(|| format!("a request for {} waits for fetch {fetch}", KEYS[key]));
        self.requests.push(Request {
            fetch,
            reader,
            woken: Arc::default(),
            sleeps: false,
            outcome: None,
            read: 0,
            asked: 0,
        });
    }

    /// A request is polled: because it was woken, or for a reason of its own.
    pub(super) fn poll(&mut self, at: usize, world: &mut World) {
        let request = &mut self.requests[at];
        request.woken.0.store(false, SeqCst);
        let waker: Waker = request.woken.clone().into();
        let mut cx = Context::from_waker(&waker);
        let number = request.fetch;
        let fetch = self.fetches.get_mut(&number).unwrap();
        if request.outcome.is_some() {
            return self.read(at, world);
        }
        let outcome = request.reader.poll_outcome(&mut cx);
        request.sleeps = outcome.is_pending();
        let is_orphaned = !fetch.is_answered && fetch.end.is_none() && fetch.source.is_none();
        let name = match outcome {
            Poll::Pending => {
                let is_asking = !fetch.is_answered && fetch.end.is_none() && fetch.source.is_some();
                assert!(is_asking, "one sleeps though there is news");
                "sleeps"
            }
            Poll::Ready(FillOutcome::Lead(source)) => {
                assert!(is_orphaned, "a second one leads");
                fetch.source = Some(source);
                "leads now"
            }
            Poll::Ready(FillOutcome::Coming(_)) => {
                assert!(fetch.is_answered);
                "has the head"
            }
            Poll::Ready(FillOutcome::Released) => {
                assert_eq!(fetch.end, Some(End::Released));
                "is released"
            }
            Poll::Ready(FillOutcome::Failed(_)) => {
                assert_eq!(fetch.end, Some(End::Failed));
                "has the error"
            }
            Poll::Ready(FillOutcome::Stored(..)) => panic!("nothing is stored"),
        };
        if !matches!(name, "sleeps" | "leads now") {
            request.outcome = Some(name);
        }
        world.record(|| format!("a request of fetch {number} {name}"));
    }

    /// Reads on, as far as it goes or only a piece.
    fn read(&mut self, at: usize, world: &mut World) {
        let request = &mut self.requests[at];
        if request.outcome != Some("has the head") {
            return;
        }
        let (number, fetch) = (request.fetch, &self.fetches[&request.fetch]);
        let waker: Waker = request.woken.clone().into();
        let polled = request.reader.poll_at(request.read, &mut Context::from_waker(&waker));
        (request.sleeps, request.asked) = (polled.is_pending(), request.read);
        let left = fetch.brought - request.read;
        let what = match polled {
            Poll::Pending => {
                assert!(left == 0 && fetch.end.is_none(), "one sleeps though there is more");
                "sleeps".to_owned()
            }
            Poll::Ready(Ok(Some(bytes))) => {
                let (first, last) = (request.read, request.read + bytes.len() as u64 - 1);
                let ends = (bytes.first().copied(), bytes.last().copied());
                assert_eq!(ends, (Some(first as u8), Some(last as u8)), "other bytes than were brought");
                // A client takes as much as it takes.
                let taken = world.rng.usize(1..=bytes.len());
                request.read += taken as u64;
                format!("reads {taken}, to {}", request.read)
            }
            Poll::Ready(Ok(None)) => {
                assert!(left == 0 && fetch.end == Some(End::Whole), "the end comes too early");
                request.outcome = Some("has all");
                "has all".to_owned()
            }
            Poll::Ready(Err(ReadError::Broken)) => {
                assert!(left == 0 && fetch.end == Some(End::Broken), "it did not break off here");
                request.outcome = Some("has a part");
                "has a part".to_owned()
            }
            Poll::Ready(Err(ReadError::Behind)) => {
                assert!(fetch.was_shared && left > BOUNDS.max_object, "not so far behind");
                request.outcome = Some("is behind");
                "is behind".to_owned()
            }
        };
        world.record(|| format!("a request of fetch {number} {what}"));
    }

    pub(super) fn leave(&mut self, at: usize, world: &mut World) {
        let request = self.requests.remove(at);
        let number = request.fetch;
        world.record(|| format!("a request of fetch {number} leaves"));
        drop(request);
        let is_last = !self.requests.iter().any(|it| it.fetch == number);
        let fetch = self.fetches.get_mut(&number).unwrap();
        let is_orphaned = !fetch.is_answered && fetch.source.is_none() && fetch.end.is_none();
        if is_last && is_orphaned {
            fetch.end = Some(End::Failed);
        }
    }
}
