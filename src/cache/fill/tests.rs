mod joining;
mod models;
mod unread;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;

use super::{source::RUN_AHEAD, *};
use crate::{
    cache::{
        date::Date,
        freshness::Times,
        key::{Key, KeySettings},
        origin_id::OriginId,
        policy::Policy,
        purge::Rule,
        stored_head::StoredHead,
        stored_response::{Body, StoredResponse},
    },
    error::Kind,
    fields::Fields,
    h1::{RequestHead, ResponseHead},
    moment::Moment,
};

const NOW: Date = Date(1_795_000_000);
const BOUNDS: Bounds = Bounds { max_object: 1 << 20, held: 8 << 20 };

#[derive(Default)]
struct Flag(AtomicUsize);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Flag {
    fn waker(self: &Arc<Self>) -> Waker {
        self.clone().into()
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn key(target: &str) -> Key {
    Key::of("http", "a", None, target, &Fields::default(), &KeySettings::default())
}

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    lines.iter().for_each(|(name, value)| fields.push(name, value.as_bytes()));
    fields
}

fn entry(request: &Fields, response: &[(&str, &str)]) -> StoredHead {
    let head = ResponseHead { status: 200, fields: fields(response), ..ResponseHead::default() };
    let times = Times { requested: NOW, received: NOW };
    let request = RequestHead { fields: request.clone(), ..RequestHead::default() };
    StoredHead::of(&request, &head, &Policy::default(), times).unwrap()
}

fn answer(request: &Fields, response: &[(&str, &str)], is_open: bool) -> Arc<Answer> {
    let entry = entry(request, response);
    let variant = entry.vary.key(request).unwrap();
    Arc::new(Answer { entry, variant, length: None, is_open, is_of_peer: false })
}

fn fresh(is_open: bool) -> Arc<Answer> {
    answer(&Fields::default(), &[("Cache-Control", "max-age=60")], is_open)
}

const PATIENCE: Duration = Duration::from_secs(10);

fn join_as(fills: &Arc<Fills>, target: &str, request: &Fields, expected: Option<Key>) -> Joined {
    let key = key(target);
    fills.join(
        &Want {
            key: &key,
            request,
            origin: OriginId::default(),
            expected,
            accepts: &|_| true,
            now: Moment::now(),
            patience: PATIENCE,
        },
        || false,
    )
}

fn join(fills: &Arc<Fills>, target: &str) -> Joined {
    join_as(fills, target, &Fields::default(), None)
}

fn lead(fills: &Arc<Fills>, target: &str) -> (Source, Reader) {
    match join(fills, target) {
        Joined::Lead(source, reader) => (source, reader),
        Joined::Wait(_) | Joined::Alone => panic!("somebody leads already"),
    }
}

fn wait(fills: &Arc<Fills>, target: &str) -> Reader {
    match join(fills, target) {
        Joined::Wait(reader) => reader,
        Joined::Lead(..) | Joined::Alone => panic!("nobody leads"),
    }
}

fn outcome(reader: &mut Reader) -> Option<FillOutcome> {
    match reader.poll_outcome(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

fn at(reader: &mut Reader, offset: u64) -> Option<Result<Option<Bytes>, ReadError>> {
    match reader.poll_at(offset, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

#[test]
fn a_leader_and_all_waiters_read_the_same_chunks() {
    let fills = Fills::new(BOUNDS);
    let (mut source, mut leader) = lead(&fills, "/a");
    let mut waiter = wait(&fills, "/a");
    let (other, _) = lead(&fills, "/b");
    let flag = Arc::new(Flag::default());
    assert!(waiter.poll_outcome(&mut Context::from_waker(&flag.waker())).is_pending());
    source.answer(fresh(true));
    assert_eq!(flag.count(), 1);
    for reader in [&mut leader, &mut waiter] {
        assert!(matches!(outcome(reader), Some(FillOutcome::Coming(_))));
        assert!(at(reader, 0).is_none());
    }
    let chunk = Bytes::from_static(b"hello");
    source.push(chunk.clone());
    let mut late = wait(&fills, "/a");
    for reader in [&mut leader, &mut waiter, &mut late] {
        assert_eq!(at(reader, 0).unwrap().unwrap().unwrap().as_ptr(), chunk.as_ptr(), "nothing is copied");
        assert_eq!(at(reader, 3), Some(Ok(Some(Bytes::from_static(b"lo")))));
        assert!(at(reader, 5).is_none());
    }
    let mut stored = None;
    source.finish(|body, rules| stored = body.map(|body| (body, rules.len())));
    let (body, rules) = stored.unwrap();
    assert_eq!((&body.at(0)[..], rules), (&b"hello"[..], 0));
    assert_eq!(at(&mut waiter, 5), Some(Ok(None)));
    drop((leader, waiter, late, other));
    let stats = fills.stats();
    assert_eq!((stats.begun, stats.under_way, stats.readers, stats.held), (2, 0, 0, 0));
    assert!(matches!(join(&fills, "/a"), Joined::Lead(..)), "it is over, and stored or not");
}

#[test]
fn waiters_on_other_threads_are_woken_once_for_many() {
    let fills = Fills::new(BOUNDS);
    let (mut source, _leader) = lead(&fills, "/a");
    let (ready, is_ready) = mpsc::channel();
    let worker = {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let turns = Arc::new(AtomicUsize::new(0));
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let driver = tokio::task::spawn_local(drive());
                let tasks: Vec<_> = (0..1000)
                    .map(|_| {
                        let mut reader = wait(&fills, "/a");
                        let turns = turns.clone();
                        tokio::task::spawn_local(std::future::poll_fn(move |cx| {
                            turns.fetch_add(1, Ordering::SeqCst);
                            reader.poll_outcome(cx).map(|outcome| matches!(outcome, FillOutcome::Coming(_)))
                        }))
                    })
                    .collect();
                // Each has looked once by the time that the last one has.
                while turns.load(Ordering::SeqCst) < 1000 {
                    tokio::task::yield_now().await;
                }
                ready.send(()).unwrap();
                for task in tasks {
                    assert!(task.await.unwrap());
                }
                driver.abort();
            });
            turns.load(Ordering::SeqCst)
        })
    };
    is_ready.recv().unwrap();
    source.answer(fresh(true));
    assert_eq!(worker.join().unwrap(), 2000, "nobody looks without having been woken");
}

#[test]
fn a_private_answer_releases_everyone_at_once() {
    let fills = Fills::new(BOUNDS);
    let (source, _leader) = lead(&fills, "/a");
    let mut waiter = wait(&fills, "/a");
    assert!(outcome(&mut waiter).is_none());
    source.release();
    assert!(matches!(outcome(&mut waiter), Some(FillOutcome::Released)));
    assert!(matches!(join(&fills, "/a"), Joined::Lead(..)));
    assert_eq!(fills.stats().released, 1);
}

#[test]
fn another_variant_is_not_joined() {
    let fills = Fills::new(BOUNDS);
    let german = fields(&[("Accept-Language", "de")]);
    let french = fields(&[("Accept-Language", "fr")]);
    let Joined::Lead(mut source, _reader) = join_as(&fills, "/a", &german, None) else { panic!("alone") };
    let vary = [("Cache-Control", "max-age=60"), ("Vary", "Accept-Language")];
    let answer = answer(&german, &vary, true);
    assert!(answer.matches(&german) && !answer.matches(&french));
    source.answer(answer.clone());
    assert!(matches!(join_as(&fills, "/a", &german, None), Joined::Wait(_)));
    // A fetch of its own; and where it is known that responses vary, nobody waits for another's.
    let expected = answer.entry.vary.key(&french);
    let second = join_as(&fills, "/a", &french, expected.clone());
    assert!(matches!(second, Joined::Lead(..)));
    assert!(matches!(join_as(&fills, "/a", &french, expected), Joined::Wait(_)));
    let third = answer.entry.vary.key(&Fields::default());
    assert!(matches!(join_as(&fills, "/a", &Fields::default(), third), Joined::Lead(..)));
}

#[test]
fn latecomers_join_only_what_is_open_and_accepted() {
    let fills = Fills::new(BOUNDS);
    let (mut source, _leader) = lead(&fills, "/a");
    source.answer(fresh(false));
    assert!(matches!(join(&fills, "/a"), Joined::Lead(..)), "shared only with those who asked before");
    let (mut source, _leader) = lead(&fills, "/b");
    source.answer(fresh(true));
    let key = key("/b");
    let want = Want {
        key: &key,
        request: &Fields::default(),
        origin: OriginId::default(),
        expected: None,
        accepts: &|_| false,
        now: Moment::now(),
        patience: PATIENCE,
    };
    let newer = fills.join(&want, || false);
    assert!(matches!(newer, Joined::Lead(..)));
    assert!(matches!(fills.join(&want, || false), Joined::Wait(_)), "the newer one is asked for still");
}

#[test]
fn a_possible_leader_may_be_refused() {
    let fills = Fills::new(BOUNDS);
    let key = key("/a");
    let want = Want {
        key: &key,
        request: &Fields::default(),
        origin: OriginId::default(),
        expected: None,
        accepts: &|_| true,
        now: Moment::now(),
        patience: PATIENCE,
    };
    assert!(matches!(fills.join(&want, || true), Joined::Alone));
    assert_eq!(fills.stats().begun, 0);
}

#[test]
fn a_failed_leader_is_replaced_once_then_all_fail() {
    let fills = Fills::new(BOUNDS);
    let failure = || Failure { kind: Kind::Connect, text: "refused".into() };
    let (source, leader) = lead(&fills, "/a");
    let (mut one, mut two) = (wait(&fills, "/a"), wait(&fills, "/a"));
    assert!(outcome(&mut one).is_none() && outcome(&mut two).is_none());
    source.fail(failure());
    drop(leader);
    let Some(FillOutcome::Lead(source)) = outcome(&mut two) else { panic!("nobody leads") };
    assert!(outcome(&mut one).is_none(), "only one does");
    let mut late = wait(&fills, "/a");
    source.fail(failure());
    for reader in [&mut one, &mut two, &mut late] {
        assert!(matches!(outcome(reader), Some(FillOutcome::Failed(other)) if other == failure()));
    }
    assert!(matches!(join(&fills, "/a"), Joined::Lead(..)));
    assert_eq!(fills.stats().taken_over, 1);
}

#[test]
fn who_asks_for_nobody_else_takes_no_turn_of_others() {
    let fills = Fills::new(BOUNDS);
    let failure = || Failure { kind: Kind::Connect, text: "refused".into() };
    let (source, leader) = lead(&fills, "/a");
    let (mut head, mut other) = (wait(&fills, "/a"), wait(&fills, "/a"));
    head.follow_only();
    assert!(outcome(&mut head).is_none() && outcome(&mut other).is_none());
    source.fail(failure());
    drop(leader);
    assert!(matches!(outcome(&mut head), Some(FillOutcome::Released)));
    drop(head);
    let Some(FillOutcome::Lead(source)) = outcome(&mut other) else { panic!("nobody leads") };
    source.release();
    assert!(matches!(outcome(&mut other), Some(FillOutcome::Released)));
    drop(other);
    // Where there is no other, nobody asks again, and nothing is left behind.
    let (source, leader) = lead(&fills, "/b");
    let mut head = wait(&fills, "/b");
    head.follow_only();
    source.fail(failure());
    drop(leader);
    assert!(matches!(outcome(&mut head), Some(FillOutcome::Released)));
    drop(head);
    assert_eq!(fills.stats().under_way, 0);
}

#[test]
fn a_source_that_is_dropped_leaves_nobody_waiting() {
    let fills = Fills::new(BOUNDS);
    let (source, leader) = lead(&fills, "/a");
    let mut waiter = wait(&fills, "/a");
    let flag = Arc::new(Flag::default());
    assert!(waiter.poll_outcome(&mut Context::from_waker(&flag.waker())).is_pending());
    drop(source);
    assert_eq!(flag.count(), 1);
    // The one who could ask again leaves too: another is called, and the last one takes the fill with it.
    let mut other = wait(&fills, "/a");
    drop(waiter);
    let Some(FillOutcome::Lead(mut source)) = outcome(&mut other) else { panic!("nobody leads") };
    source.answer(fresh(true));
    source.push(Bytes::from_static(b"half"));
    drop(source);
    assert_eq!(at(&mut other, 0), Some(Ok(Some(Bytes::from_static(b"half")))));
    assert_eq!(at(&mut other, 4), Some(Err(ReadError::Broken)));
    drop((leader, other));
    let (source, leader) = lead(&fills, "/a");
    let waiter = wait(&fills, "/a");
    drop(source);
    drop((leader, waiter));
    assert_eq!(fills.stats().under_way, 0);
}

#[test]
fn a_fetch_is_given_up_only_when_nobody_waits() {
    let fills = Fills::new(BOUNDS);
    let (source, leader) = lead(&fills, "/a");
    let waiter = wait(&fills, "/a");
    let flag = Arc::new(Flag::default());
    let waker = flag.waker();
    let mut cx = Context::from_waker(&waker);
    drop(leader);
    assert!(source.poll_abandoned(&mut cx).is_pending());
    drop(waiter);
    assert_eq!(flag.count(), 1);
    assert!(source.poll_abandoned(&mut cx).is_ready());
    assert!(matches!(join(&fills, "/a"), Joined::Lead(..)), "what is given up is joined by nobody");
}

#[test]
fn an_outgrown_body_follows_its_fastest_reader_unstored() {
    let bounds = Bounds { max_object: 1000, held: 1 << 20 };
    let fills = Fills::new(bounds);
    let (mut source, mut fast) = lead(&fills, "/a");
    let mut slow = wait(&fills, "/a");
    let mut cx = Context::from_waker(Waker::noop());
    source.answer(fresh(true));
    let chunk = Bytes::from(vec![1; 100]);
    let mut sent = 0;
    while source.poll_room(&mut cx) == Poll::Ready(true) {
        source.push(chunk.clone());
        sent += 100;
        assert!(sent < 1 << 20, "nobody reads");
    }
    assert!(sent > bounds.max_object && !source.is_whole_kept());
    assert!(matches!(join(&fills, "/a"), Joined::Lead(..)), "who comes now would miss the beginning");
    // The fast one goes on, the slow one is too far behind.
    let mut read = 0;
    for _ in 0..20_000 {
        match at(&mut fast, read) {
            Some(Ok(Some(bytes))) => read += bytes.len() as u64,
            Some(Err(ReadError::Behind)) => {
                assert!(read < sent - bounds.max_object);
                read = sent;
            }
            None => {
                assert_eq!(source.poll_room(&mut cx), Poll::Ready(true));
                source.push(chunk.clone());
                sent += 100;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(at(&mut slow, 0), Some(Err(ReadError::Behind)));
    assert!(fills.stats().held <= bounds.max_object + RUN_AHEAD + 200);
    drop(slow);
    // A single reader loses nothing, however slow.
    while source.poll_room(&mut cx) == Poll::Ready(true) {
        source.push(chunk.clone());
        sent += 100;
    }
    while let Some(Ok(Some(bytes))) = at(&mut fast, read) {
        read += bytes.len() as u64;
        let _ = source.poll_room(&mut cx);
    }
    assert_eq!(read, sent);
    let is_stored = AtomicBool::new(false);
    source.finish(|body, _| is_stored.store(body.is_some(), Ordering::SeqCst));
    assert!(!is_stored.load(Ordering::SeqCst));
    assert_eq!(at(&mut fast, read), Some(Ok(None)));
}

#[test]
fn what_outgrew_its_bounds_ends_when_nobody_reads_it() {
    let fills = Fills::new(Bounds { max_object: 10, held: 1 << 20 });
    let (mut source, reader) = lead(&fills, "/a");
    source.answer(fresh(true));
    source.push(Bytes::from(vec![1; 100]));
    drop(reader);
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(source.poll_room(&mut cx), Poll::Ready(false));
    // One that is stored goes on without readers.
    let (mut source, reader) = lead(&fills, "/b");
    source.answer(fresh(true));
    drop(reader);
    assert_eq!(source.poll_room(&mut cx), Poll::Ready(true));
}

#[test]
fn all_bodies_together_are_bounded_too() {
    let fills = Fills::new(Bounds { max_object: 1000, held: 1500 });
    let (mut one, _reader) = lead(&fills, "/a");
    let (mut two, _other) = lead(&fills, "/b");
    for source in [&mut one, &mut two] {
        source.answer(fresh(true));
        source.push(Bytes::from(vec![1; 900]));
    }
    assert!(one.is_whole_kept() && !two.is_whole_kept());
}

#[test]
fn a_purge_in_the_middle_is_known_at_the_end() {
    let fills = Fills::new(BOUNDS);
    let (mut source, _reader) = lead(&fills, "/a");
    source.answer(fresh(true));
    fills.purge(&Rule::Uri(key("/a")));
    let mut rules = Vec::new();
    source.finish(|_, given| rules = given.to_vec());
    assert_eq!(rules, [Rule::Uri(key("/a"))]);
    let (mut source, _reader) = lead(&fills, "/a");
    source.answer(fresh(true));
    source.finish(|_, given| assert!(given.is_empty(), "it began after the purge"));
}

#[test]
fn nobody_joins_what_was_purged_and_neighbours_go_on() {
    for rule in
        [Rule::All, Rule::Uri(key("/a")), Rule::Prefix(b"http://a/a".to_vec()), Rule::Tag(b"t".to_vec())]
    {
        let fills = Fills::new(BOUNDS);
        let (mut source, mut reader) = lead(&fills, "/a");
        let (_neighbour, _other) = lead(&fills, "/b");
        fills.purge(&rule);
        // A newcomer's own fetch, which the next one joins.
        let (mut newer, _newer_reader) = lead(&fills, "/a");
        let _joined = wait(&fills, "/a");
        // By its tags any answer may be meant; else only what the rule says.
        match rule {
            Rule::All | Rule::Tag(_) => drop(lead(&fills, "/b")),
            Rule::Uri(_) | Rule::Prefix(_) => drop(wait(&fills, "/b")),
        }
        source.answer(fresh(true));
        assert!(matches!(outcome(&mut reader), Some(FillOutcome::Coming(_))), "who waited is served");
        source.finish(|_, given| assert_eq!(given, std::slice::from_ref(&rule)));
        newer.answer(fresh(true));
        newer.finish(|_, given| assert!(given.is_empty()));
    }
}

#[test]
fn a_purge_reaches_a_lone_fetch_at_any_time() {
    let fills = Fills::new(BOUNDS);
    let begun = fills.mark();
    let (before, after) = (Rule::Uri(key("/a")), Rule::Prefix(b"http://a/".to_vec()));
    fills.purge(&Rule::Uri(key("/other")));
    fills.purge(&before);
    let (mut source, _reader) = fills.begin_alone(&key("/a"), begun);
    fills.purge(&after);
    fills.purge(&after);
    source.answer(fresh(true));
    source.finish(|_, given| assert_eq!(given, [before, after]));
    let (mut source, _reader) = fills.begin_alone(&key("/a"), fills.mark());
    source.answer(fresh(true));
    source.finish(|_, given| assert!(given.is_empty()));
    drop(lead(&fills, "/a"));
}

#[test]
fn what_was_validated_answers_everyone() {
    let fills = Fills::new(BOUNDS);
    let (source, _reader) = lead(&fills, "/a");
    let mut waiter = wait(&fills, "/a");
    let entry = entry(&Fields::default(), &[("Cache-Control", "max-age=60")]);
    let object = Arc::new(StoredResponse::new(key("/a"), &Fields::default(), entry, Body::of([])).unwrap());
    source.object(object.clone(), super::Origin::Validated, |_| {});
    assert!(
        matches!(outcome(&mut waiter), Some(FillOutcome::Stored(other, _)) if Arc::ptr_eq(&other, &object))
    );
}

/// A reader's place is its own: one that was woken and has not come back (its client takes nothing) does not take
/// that of another, though everybody else who was woken has left.
#[test]
fn one_that_comes_back_late_takes_nobodys_place() {
    let fills = Fills::new(BOUNDS);
    let (mut source, _leader) = lead(&fills, "/a");
    source.answer(fresh(true));
    let (mut gone, mut late) = (wait(&fills, "/a"), wait(&fills, "/a"));
    assert!(at(&mut gone, 0).is_none() && at(&mut late, 0).is_none());
    source.push(Bytes::from_static(b"a"));
    drop(gone);
    let mut others = [wait(&fills, "/a"), wait(&fills, "/a")];
    let flags = [Arc::new(Flag::default()), Arc::new(Flag::default())];
    for (reader, flag) in others.iter_mut().zip(&flags) {
        assert!(reader.poll_at(1, &mut Context::from_waker(&flag.waker())).is_pending());
    }
    assert!(at(&mut late, 1).is_none());
    source.push(Bytes::from_static(b"b"));
    assert_eq!(flags.map(|flag| flag.count()), [1, 1]);
}

/// What is too large for memory and goes to disk may be stored, so it has to hear of purges to its end, however
/// long that takes.
#[test]
fn an_outgrown_body_kept_elsewhere_hears_of_purges() {
    let fills = Fills::new(Bounds { max_object: 10, held: 1 << 20 });
    let (mut source, _reader) = lead(&fills, "/a");
    source.answer(fresh(true));
    source.set_kept(true);
    source.push(Bytes::from(vec![1; 100]));
    assert!(matches!(join(&fills, "/a"), Joined::Lead(..)), "who comes now would miss the beginning");
    fills.purge(&Rule::All);
    let mut rules = Vec::new();
    source.finish(|_, given| rules = given.to_vec());
    assert_eq!(rules, [Rule::All]);
}

/// The fastest leaves; the one that is left loses nothing of what is kept, and the pace is its own from then on.
#[test]
fn when_the_fastest_leaves_the_next_one_sets_the_pace() {
    let bounds = Bounds { max_object: 1000, held: 1 << 20 };
    let fills = Fills::new(bounds);
    let (mut source, mut fast) = lead(&fills, "/a");
    let mut slow = wait(&fills, "/a");
    let mut cx = Context::from_waker(Waker::noop());
    source.answer(fresh(true));
    source.push(Bytes::from(vec![1; 900]));
    assert!(matches!(at(&mut fast, 0), Some(Ok(Some(_)))));
    assert!(at(&mut fast, 900).is_none());
    source.push(Bytes::from(vec![1; 101]));
    drop(fast);
    let mut sent = 1001;
    while source.poll_room(&mut cx) == Poll::Ready(true) {
        source.push(Bytes::from(vec![1; 1000]));
        sent += 1000;
        assert!(sent < 1 << 20, "nobody reads");
    }
    let mut read = 0;
    while read < sent {
        let Some(Ok(Some(bytes))) = at(&mut slow, read) else { panic!("lost at {read} of {sent}") };
        read += bytes.len() as u64;
    }
    assert!(sent <= RUN_AHEAD + 1000, "{sent}");
}
