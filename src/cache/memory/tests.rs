use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    cache::{
        conf::CacheConf,
        date::Date,
        freshness::Times,
        key::KeySettings,
        policy::Policy,
        store::{Cache, Store},
        stored_head::StoredHead,
        stored_response::Body,
    },
    h1::{RequestHead, ResponseHead},
    linear::{Recorder, check},
    schema::Size,
};

const NOW: Date = Date(1_795_000_000);

fn shape(limit: u64, eviction: Eviction) -> Shape {
    Shape { limit, max_object: 16 << 20, eviction, admission: Admission::Always }
}

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    lines.iter().for_each(|(name, value)| fields.push(name, value.as_bytes()));
    fields
}

fn key(target: &str, request: &Fields, settings: &KeySettings) -> Key {
    Key::of("http", "a", None, target, request, settings)
}

fn plain(target: &str) -> Key {
    key(target, &Fields::default(), &KeySettings::default())
}

fn object(
    key: Key,
    request: &Fields,
    response: &[(&str, &str)],
    length: usize,
    after: u64,
) -> Arc<StoredResponse> {
    let head = ResponseHead { status: 200, fields: fields(response), ..ResponseHead::default() };
    let at = Date(NOW.0 + after);
    let times = Times { requested: at, received: at };
    let request = RequestHead { fields: request.clone(), ..RequestHead::default() };
    let entry = StoredHead::of(&request, &head, &Policy::default(), times).unwrap();
    let body = Body::of([Bytes::from(vec![after as u8; length])]);
    Arc::new(StoredResponse::new(key, &request.fields, entry, body).unwrap())
}

fn simple(target: &str, length: usize, after: u64) -> Arc<StoredResponse> {
    object(plain(target), &Fields::default(), &[("Cache-Control", "max-age=60")], length, after)
}

fn is(found: &Found, object: &Arc<StoredResponse>) -> bool {
    matches!(found, Found::Stored(other) if Arc::ptr_eq(other, object))
}

#[test]
fn a_peek_finds_the_same_and_touches_nothing() {
    let none = Fields::default();
    for is_asked in [false, true] {
        let (first, second) = (simple("/a", 400_000, 0), simple("/b", 400_000, 1));
        let memory = Memory::new(shape(1 << 20, Eviction::Lru));
        memory.put(first.clone(), 10).unwrap();
        memory.put(second.clone(), 10).unwrap();
        let found =
            if is_asked { memory.find(&plain("/a"), &none) } else { memory.peek(&plain("/a"), &none) };
        assert!(is(&found, &first));
        assert!(matches!(memory.peek(&plain("/c"), &none), Found::Nothing));
        memory.put(simple("/c", 400_000, 2), 10).unwrap();
        // The least recently asked for leaves: a look has not changed which one that is.
        assert_eq!(is(&memory.peek(&plain("/a"), &none), &first), is_asked);
        assert_eq!(is(&memory.peek(&plain("/b"), &none), &second), !is_asked);
    }
}

#[test]
fn a_later_object_replaces_an_earlier_one() {
    let memory = Memory::new(shape(1 << 20, Eviction::Lru));
    let none = Fields::default();
    assert!(matches!(memory.find(&plain("/a"), &none), Found::Nothing));
    let (first, second) = (simple("/a", 10, 0), simple("/a", 20, 1));
    memory.put(first.clone(), 10).unwrap();
    assert!(is(&memory.find(&plain("/a"), &none), &first));
    memory.put(second.clone(), 10).unwrap();
    assert!(is(&memory.find(&plain("/a"), &none), &second));
    assert_eq!((memory.stats().objects, memory.stats().bytes), (1, second.size()));
    assert!(!memory.remove(&first), "it is not there any more");
    assert!(memory.remove(&second));
    assert!(matches!(memory.find(&plain("/a"), &none), Found::Nothing));
    assert_eq!(memory.stats().bytes, 0);
}

#[test]
fn a_replacement_only_takes_the_place_of_what_it_replaces() {
    let memory = Memory::new(shape(1 << 20, Eviction::Lru));
    let (first, second, third) = (simple("/a", 10, 0), simple("/a", 20, 1), simple("/a", 30, 2));
    memory.put(second.clone(), 10).unwrap();
    assert!(!memory.replace(&first, third.clone(), 10));
    assert!(is(&memory.find(&plain("/a"), &Fields::default()), &second));
    assert!(memory.replace(&second, third.clone(), 10));
    assert!(is(&memory.find(&plain("/a"), &Fields::default()), &third));
}

#[test]
fn variants_match_the_request_and_the_oldest_makes_room() {
    let memory = Memory::new(shape(1 << 20, Eviction::Lru));
    let vary = [("Cache-Control", "max-age=60"), ("Vary", "x")];
    let asks = |value: &str| fields(&[("X", value)]);
    let stored: Vec<_> = ["1", "2", "3"]
        .iter()
        .enumerate()
        .map(|(at, value)| object(plain("/a"), &asks(value), &vary, 10, at as u64))
        .collect();
    for object in &stored {
        memory.put(object.clone(), 2).unwrap();
    }
    assert!(matches!(memory.find(&plain("/a"), &asks("1")), Found::Vary(_)), "the oldest has left");
    assert!(is(&memory.find(&plain("/a"), &asks("2")), &stored[1]));
    assert!(is(&memory.find(&plain("/a"), &asks("3")), &stored[2]));
    assert!(matches!(memory.find(&plain("/a"), &Fields::default()), Found::Vary(_)));
    assert_eq!((memory.variants(&plain("/a")).len(), memory.stats().superfluous), (2, 1));
    memory.remove(&stored[1]);
    assert!(matches!(memory.find(&plain("/a"), &asks("2")), Found::Vary(_)));
    memory.remove(&stored[2]);
    assert!(matches!(memory.find(&plain("/a"), &asks("3")), Found::Nothing));
}

#[test]
fn a_uri_finds_all_its_keys_and_no_others() {
    let memory = Memory::new(shape(1 << 20, Eviction::Lru));
    let settings = KeySettings { headers: vec!["x".into()], ..KeySettings::default() };
    for (target, value) in [("/a", "1"), ("/a", "2"), ("/b", "1")] {
        let request = fields(&[("X", value)]);
        let key = key(target, &request, &settings);
        memory.put(object(key, &request, &[("Cache-Control", "max-age=60")], 10, 0), 10).unwrap();
    }
    memory.put(simple("/a", 10, 0), 10).unwrap();
    assert_eq!(memory.of_uri(&plain("/a")).len(), 3);
    assert_eq!(memory.of_uri(&plain("/b")).len(), 1);
    assert_eq!(memory.of_uri(&plain("/c")).len(), 0);
    assert_eq!(memory.remove_uri(&plain("/a")), 3);
    assert_eq!(memory.of_uri(&plain("/a")).len(), 0);
    assert_eq!((memory.stats().objects, memory.remove_uri(&plain("/c"))), (1, 0));
    let left = memory.of_uri(&plain("/b"));
    memory.remove(&left[0]);
    assert_eq!((memory.of_uri(&plain("/b")).len(), memory.stats().objects), (0, 0));
}

/// A client makes them by the values of a field, and has all of them forgotten by one write, on an event loop.
#[test]
fn many_keys_of_a_uri_are_linear() {
    let Some(grown) = check("cache::memory::tests::counted") else { return };
    assert!(grown.is_empty(), "cost more than twice as much for twice as many:\n{}", grown.join("\n"));
}

#[test]
#[ignore = "is run by the test above, under callgrind"]
fn counted() {
    let Some(mut recorder) = Recorder::of_environment() else { return };
    let settings = KeySettings { headers: vec!["x".into()], ..KeySettings::default() };
    for count in [3000, 6000] {
        let conf =
            CacheConf { memory: Size(1 << 30), max_object: Size(1 << 20), ..CacheConf::collapsing("c") };
        let store = Arc::new(Store::new(Some(Cache::shape(&conf)), 1, Arc::default()));
        let cache = Cache::new(&conf, store);
        let with = |value: usize| {
            let request = fields(&[("X", &value.to_string())]);
            let key = key("/a", &request, &settings);
            object(key, &request, &[("Cache-Control", "max-age=60")], 10, 0)
        };
        let mut objects: Vec<_> = (0..count).map(with).collect();
        let mut come = || objects.drain(..).for_each(|object| assert!(cache.put(object).is_ok()));
        if !recorder.is_own("they come") {
            come();
        }
        recorder.count("they come", come);
        recorder.count("they are forgotten", || {
            cache.forget(&plain("/a"));
        });
    }
}

#[test]
fn an_oversized_object_is_refused_and_leaves_nothing_older() {
    let memory = Memory::new(shape(10_000, Eviction::Lru));
    let small = simple("/a", 10, 0);
    memory.put(small, 10).unwrap();
    memory.put(simple("/b", 10, 0), 10).unwrap();
    assert_eq!(memory.put(simple("/a", 20_000, 1), 10), Err(Rejected::TooLarge));
    assert!(matches!(memory.find(&plain("/a"), &Fields::default()), Found::Nothing));
    assert_eq!((memory.stats().objects, memory.stats().too_large), (1, 1));
}

#[test]
fn admission_needs_a_second_request_where_configured() {
    let memory = Memory::new(Shape { admission: Admission::SecondRequest, ..shape(1 << 20, Eviction::Lru) });
    assert_eq!(memory.put(simple("/a", 10, 0), 10), Err(Rejected::NotAdmitted));
    assert_eq!(memory.put(simple("/a", 10, 0), 10), Ok(()));
    assert_eq!(memory.put(simple("/a", 10, 0), 10), Ok(()), "what is there may always be renewed");
    assert_eq!(memory.stats().not_admitted, 1);
}

/// It was asked for before; however long ago that is, it is there.
#[test]
fn what_is_validated_stays_whatever_else_came_meanwhile() {
    let memory = Memory::new(Shape { admission: Admission::SecondRequest, ..shape(1 << 20, Eviction::Lru) });
    let (first, second) = (simple("/a", 10, 0), simple("/a", 10, 1));
    let _ = memory.put(first.clone(), 10);
    memory.put(first.clone(), 10).unwrap();
    for number in 0..3000 {
        let _ = memory.put(simple(&format!("/{number}"), 10, 0), 10);
    }
    assert!(memory.replace(&first, second.clone(), 10));
    assert!(is(&memory.find(&plain("/a"), &Fields::default()), &second));
    // As a variant too, by its newer head.
    let varying =
        object(plain("/a"), &Fields::default(), &[("Cache-Control", "max-age=60"), ("Vary", "x")], 10, 2);
    assert!(memory.replace(&second, varying.clone(), 10));
    assert!(is(&memory.find(&plain("/a"), &Fields::default()), &varying));
    assert_eq!(memory.variants(&plain("/a")).len(), 1);
}

/// Else each validation, and each fetch of a newer body, would make a newcomer of what everyone asks for.
#[test]
fn what_is_asked_for_most_stays_so_when_renewed() {
    for is_validated in [true, false] {
        let memory = Memory::new(shape(1 << 20, Eviction::Lfu));
        let (first, second) = (simple("/a", 400_000, 0), simple("/a", 400_000, 1));
        memory.put(first.clone(), 10).unwrap();
        (0..9).for_each(|_| assert!(is(&memory.find(&plain("/a"), &Fields::default()), &first)));
        memory.put(simple("/b", 400_000, 0), 10).unwrap();
        (0..4).for_each(|_| {
            memory.find(&plain("/b"), &Fields::default());
        });
        match is_validated {
            true => assert!(memory.replace(&first, second.clone(), 10)),
            false => memory.put(second.clone(), 10).unwrap(),
        }
        memory.put(simple("/c", 400_000, 0), 10).unwrap();
        assert!(is(&memory.find(&plain("/a"), &Fields::default()), &second));
        assert!(matches!(memory.find(&plain("/b"), &Fields::default()), Found::Nothing));
    }
}

#[test]
fn a_purge_or_a_write_marks_what_is_stored() {
    let object = simple("/a", 10, 0);
    let at = |after| Date(NOW.0 + after);
    assert!(object.freshness().is_fresh(at(5)));
    object.expire(at(5));
    assert!(!object.freshness().is_fresh(at(5)));
    let stale = object.freshness().verdict(&crate::cache::cache_control::RequestControl::default(), at(5));
    object.invalidate();
    let invalid = object.freshness().verdict(
        &crate::cache::cache_control::RequestControl { max_stale: Some(99), ..Default::default() },
        at(5),
    );
    use crate::cache::freshness::{Reason, Verdict};
    assert_eq!((stale, invalid), (Verdict::Validate(Reason::Stale), Verdict::Validate(Reason::Stale)));
}

#[test]
fn another_limit_and_policy_keep_what_has_room() {
    let memory = Memory::new(shape(1 << 20, Eviction::Lru));
    (0..100).for_each(|number| memory.put(simple(&format!("/{number}"), 1000, 0), 10).unwrap());
    let one = simple("/0", 1000, 0).size();
    memory.reshape(shape(one * 10 + one / 2, Eviction::Fifo));
    assert_eq!(memory.stats().objects, 10);
    memory.reshape(shape(1 << 20, Eviction::S3Fifo));
    assert_eq!(memory.stats().objects, 10);
    assert_eq!(memory.clear(), 10);
    assert_eq!((memory.stats().objects, memory.stats().bytes), (0, 0));
    memory.put(simple("/0", 1000, 0), 10).unwrap();
    assert!(matches!(memory.find(&plain("/0"), &Fields::default()), Found::Stored(_)));
}

/// Else what is larger than a part of the smaller limit would never be stored.
#[test]
fn fewer_shards_keep_what_is_there() {
    let memory = Memory::new(shape(4 << 30, Eviction::Lru));
    let targets: Vec<_> = (0..100).map(|number| format!("/{number}")).collect();
    targets.iter().for_each(|target| memory.put(simple(target, 1000, 0), 10).unwrap());
    for limit in [256 << 20, 16 << 20, 4 << 30] {
        let shape = shape(limit, Eviction::S3Fifo);
        memory.reshape(shape);
        assert_eq!(memory.largest(), Memory::new(shape).largest());
        let found = |target: &String| memory.find(&plain(target), &Fields::default());
        assert!(targets.iter().all(|target| matches!(found(target), Found::Stored(_))), "{limit}");
        assert_eq!(memory.of_uri(&plain("/7")).len(), 1);
        let mut count = 0;
        memory.visit(|_| count += 1);
        assert_eq!((memory.stats().objects, count), (100, 100));
        memory.put(simple("/large", 10 << 20, 0), 10).unwrap();
        assert_eq!(memory.remove_uri(&plain("/large")), 1);
    }
    memory.reshape(Shape { max_object: 1 << 30, ..shape(4 << 30, Eviction::Lru) });
    memory.put(simple("/large", 100 << 20, 0), 10).unwrap();
    assert_eq!(memory.clear(), 101);
}

#[test]
fn what_comes_while_shards_change_is_found() {
    let memory = Memory::new(shape(4 << 30, Eviction::Lru));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let memory = &memory;
            scope.spawn(move || {
                for number in 0..1000 {
                    let object = simple(&format!("/{thread}/{number}"), 10, 0);
                    memory.put(object.clone(), 10).unwrap();
                    assert!(is(&memory.find(&object.key, &Fields::default()), &object));
                    assert!(number % 2 == 0 || memory.remove(&object));
                }
            });
        }
        for limit in (0..40).map(|turn| 64 << 20 << (turn % 7)) {
            memory.reshape(shape(limit, Eviction::Fifo));
        }
    });
    assert_eq!((memory.stats().objects, memory.clear()), (1000, 1000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn never_above_the_limit_and_never_another_answer(
        steps in prop::collection::vec((0_u8..12, 0_u8..3, 0_usize..3000, any::<bool>()), 1..200),
        eviction in prop::sample::select(vec![Eviction::Lru, Eviction::S3Fifo, Eviction::Random, Eviction::Lfu]),
    ) {
        let limit = 20_000;
        let memory = Memory::new(shape(limit, eviction));
        // What was stored last for each target and value.
        let mut last: HashMap<(u8, u8), Arc<StoredResponse>> = HashMap::new();
        for (at, (target, value, length, is_removed)) in steps.into_iter().enumerate() {
            let request = fields(&[("X", &value.to_string())]);
            let key = plain(&format!("/{target}"));
            // The targets from six on do not vary.
            let value = if target < 6 { value } else { 0 };
            let lines = [("Cache-Control", "max-age=60"), ("Vary", "x")];
            let new = object(key.clone(), &request, &lines[..if target < 6 { 2 } else { 1 }], length, at as u64);
            match memory.find(&key, &request) {
                Found::Stored(found) => prop_assert!(Arc::ptr_eq(&found, &last[&(target, value)])),
                Found::Vary(_) => prop_assert!(target < 6),
                Found::Nothing => {}
            }
            if is_removed {
                if let Some(object) = last.remove(&(target, value)) {
                    memory.remove(&object);
                }
            } else {
                memory.put(new.clone(), 2).unwrap();
                prop_assert!(is(&memory.find(&key, &request), &new));
                last.insert((target, value), new);
            }
            let mut bytes = 0;
            let mut count = 0;
            memory.visit(|object| {
                bytes += object.size();
                count += 1;
            });
            let stats = memory.stats();
            prop_assert_eq!((stats.bytes, stats.objects), (bytes, count));
            prop_assert!(stats.bytes <= limit);
        }
    }
}
