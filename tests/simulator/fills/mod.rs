//! Fills: fetches that many wait for, while they come and leave, the origin answers or fails, bodies outgrow what is
//! kept, and purges come. On one worker; where several meet, models in `cache::fill` try every order.

mod origin;
mod requests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;

use super::seeds::{World, run};
use crate::{
    cache::{
        date::Date,
        fill::{Answer, Bounds, Failure, FillOutcome, Fills, Joined, ReadError, Reader, Source, Want},
        freshness::Times,
        key::{Key, KeySettings},
        origin_id::OriginId,
        policy::Policy,
        purge::Rule,
        stored_head::StoredHead,
    },
    error::Kind,
    fields::Fields,
    h1::{RequestHead, ResponseHead},
};

/// With places among those who wait that are given out twice; with purges that a body on its way to disk does not hear.
const ONCE_FAILED: &[u64] = &[17, 7];

const BOUNDS: Bounds = Bounds { max_object: 1_000, held: 4_000 };
/// The room for those who bring a body that outgrew its bounds, before the fastest reader.
const RUN_AHEAD: u64 = 256 * 1024;
/// The longest piece of a body.
const LONGEST: usize = 100_000;
const KEYS: [&str; 2] = ["/a", "/b"];

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// A request that waits for a fetch, or reads what it brings.
struct Request {
    fetch: usize,
    reader: Reader,
    woken: Arc<Woken>,
    /// Whether it sleeps until it is woken.
    sleeps: bool,
    /// Whether it has heard what becomes of it.
    outcome: Option<&'static str>,
    /// How much of the body it has, and had when it asked for more.
    read: u64,
    asked: u64,
}

/// A fetch, and what must be true of it.
struct Fetch {
    key: usize,
    /// Who brings it; nobody once it is over, or until another takes the lead.
    source: Option<Source>,
    is_answered: bool,
    is_open: bool,
    is_kept: bool,
    is_outgrown: bool,
    /// Whether several read it since: the slower of them may lose what is far behind.
    was_shared: bool,
    brought: u64,
    /// Failures before a head.
    failures: u32,
    /// Purges that are about it since it began.
    purges: Vec<Rule>,
    /// The end, once there is one.
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    Broken,
    Released,
    Failed,
}

struct Stage<'a> {
    fills: Arc<Fills>,
    fixture: &'a Fixture,
    fetches: BTreeMap<usize, Fetch>,
    requests: Vec<Request>,
    number: usize,
}

/// What is made once for all seeds.
struct Fixture {
    /// What bodies are made of: each byte says its offset.
    bytes: Bytes,
    head: StoredHead,
    variant: Key,
    keys: [Key; 2],
}

impl Fixture {
    fn new() -> Self {
        let key = |target| Key::of("http", "a", None, target, &Fields::default(), &KeySettings::default());
        let mut fields = Fields::default();
        fields.push("Cache-Control", b"max-age=60");
        let response = ResponseHead { status: 200, fields, ..ResponseHead::default() };
        let at = Date(1_795_000_000);
        let times = Times { requested: at, received: at };
        let head = StoredHead::of(&RequestHead::default(), &response, &Policy::default(), times).unwrap();
        let variant = head.vary.key(&Fields::default()).unwrap();
        let bytes = (0..LONGEST + 256).map(|offset| offset as u8).collect();
        Self { bytes, head, variant, keys: KEYS.map(key) }
    }
}

impl<'a> Stage<'a> {
    fn new(fixture: &'a Fixture) -> Self {
        Self { fills: Fills::new(BOUNDS), fixture, fetches: BTreeMap::new(), requests: Vec::new(), number: 0 }
    }

    /// The fetch that somebody who asks now may wait for.
    fn joinable(&self, key: usize) -> Option<usize> {
        let is_joinable = |fetch: &&Fetch| {
            let is_coming = fetch.is_answered && fetch.end.is_none();
            let is_asking = !fetch.is_answered && fetch.end.is_none();
            fetch.key == key
                && fetch.purges.is_empty()
                && (is_asking || is_coming && fetch.is_open && !fetch.is_outgrown)
        };
        self.fetches.iter().rev().find(|(_, fetch)| is_joinable(fetch)).map(|(number, _)| *number)
    }

    fn begin(&mut self, key: usize, source: Source) -> usize {
        self.number += 1;
        let fetch = Fetch {
            key,
            source: Some(source),
            is_answered: false,
            is_open: false,
            is_kept: false,
            is_outgrown: false,
            was_shared: false,
            brought: 0,
            failures: 0,
            purges: Vec::new(),
            end: None,
        };
        self.fetches.insert(self.number, fetch);
        self.number
    }

    fn purge(&mut self, world: &mut World) {
        let key = world.rng.usize(0..KEYS.len());
        let rule = match world.rng.bool() {
            true => Rule::All,
            false => Rule::Uri(self.fixture.keys[key].clone()),
        };
        world.record(|| format!("a purge of {}", if rule == Rule::All { "everything" } else { KEYS[key] }));
        self.fills.purge(&rule);
        let about = self.fetches.values_mut().filter(|it| it.end.is_none());
        for fetch in about.filter(|it| rule == Rule::All || it.key == key) {
            if !fetch.purges.contains(&rule) {
                fetch.purges.push(rule.clone());
            }
        }
    }

    /// There is news of a fetch: everyone who sleeps for it was woken.
    fn hold_woken(&self, number: usize) {
        for request in self.requests.iter().filter(|it| it.fetch == number && it.sleeps) {
            assert!(request.woken.0.load(SeqCst), "one sleeps on");
        }
    }

    fn hold(&mut self) {
        let requests = &self.requests;
        self.fetches.retain(|number, it| it.end.is_none() || requests.iter().any(|it| it.fetch == *number));
        let stats = self.fills.stats();
        assert_eq!(stats.readers as usize, self.requests.len());
        assert_eq!(stats.under_way as usize, self.fetches.len());
    }
}

fn simulate(fixture: &Fixture, world: &mut World) {
    let mut stage = Stage::new(fixture);
    for _ in 0..world.rng.usize(10..100) {
        let at = (!stage.requests.is_empty()).then(|| world.rng.usize(0..stage.requests.len()));
        match (world.rng.u8(0..100), at) {
            (0..20, _) => stage.ask(world),
            // One that is woken need not come at once: its client may take nothing for a while.
            (20..55, Some(at)) if !stage.requests[at].sleeps || stage.requests[at].woken.0.load(SeqCst) => {
                stage.poll(at, world);
            }
            (55..60, Some(at)) => stage.poll(at, world),
            (60..67, Some(at)) => stage.leave(at, world),
            (67..70, _) => stage.purge(world),
            _ => {
                let brought: Vec<usize> = stage
                    .fetches
                    .iter()
                    .filter(|(_, it)| it.source.is_some())
                    .map(|(number, _)| *number)
                    .collect();
                if !brought.is_empty() {
                    let number = world.one_of(&brought);
                    stage.bring(number, world);
                }
            }
        }
        stage.hold();
    }
    let fills = stage.fills.clone();
    drop(stage);
    let stats = fills.stats();
    assert_eq!((stats.under_way, stats.readers, stats.held), (0, 0, 0), "nothing is left");
}

#[test]
fn fills() {
    let fixture = Fixture::new();
    run("fills", ONCE_FAILED, |world| simulate(&fixture, world));
}
