//! What is stored of a whole answer, and what leaves for it.

use std::{fs, path::PathBuf, thread};

use bytes::Bytes;

use super::*;
use crate::{
    cache::{
        conf::{Admission, CacheConf, DiskConf},
        date::Date,
        fill::Mark,
        freshness::Times,
        key::KeySettings,
        memory::Found,
        policy::Policy,
        store::Store,
        stored_head::StoredHead,
    },
    fields::Fields,
    h1::{RequestHead, ResponseHead},
    schema::{Size, StorePath},
    telemetry::clock,
};

const NOW: Date = Date(1_795_000_000);
/// When what is stored was asked for, where that is of no matter.
const BEGUN: Moment = Moment(0);
const PLAIN: [(&str, &str); 1] = [("Cache-Control", "max-age=60")];
const VARYING: [(&str, &str); 2] = [("Cache-Control", "max-age=60"), ("Vary", "Accept-Language")];

fn cache(conf: CacheConf) -> Arc<Cache> {
    let conf = CacheConf { memory: Size(1 << 20), max_object: Size(1 << 16), max_variants: 10, ..conf };
    let store = Arc::new(Store::new(Some(Cache::shape(&conf)), 1, Arc::default()));
    store.start(&conf, false).unwrap();
    Arc::new(Cache::new(&conf, store))
}

fn plain_cache() -> Arc<Cache> {
    cache(CacheConf::collapsing("c"))
}

/// A cache with a folder of its own, which goes with the test.
fn on_disk(name: &str, conf: CacheConf) -> (Temporary, Arc<Cache>) {
    let folder = Temporary(std::env::temp_dir().join(format!("pointsman-{name}-{}", std::process::id())));
    let disk = Some(DiskConf { path: StorePath(folder.0.clone()), size: Size(1 << 20) });
    let cache = cache(CacheConf { disk, ..conf });
    (folder, cache)
}

fn key() -> Key {
    Key::of("http", "a", None, "/x", &Fields::default(), &KeySettings::default())
}

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    lines.iter().for_each(|(name, value)| fields.push(name, value.as_bytes()));
    fields
}

fn speaks(language: &str) -> Fields {
    fields(&[("Accept-Language", language)])
}

/// An answer to a request for German that came so many seconds after the first one.
fn answer(lines: &[(&str, &str)], after: u64) -> Answer {
    let at = Date(NOW.0 + after);
    let request = RequestHead { fields: speaks("de"), ..RequestHead::default() };
    let head = ResponseHead { status: 200, fields: fields(lines), ..ResponseHead::default() };
    let times = Times { requested: at, received: at };
    let entry = StoredHead::of(&request, &head, &Policy::default(), times).unwrap();
    let variant = entry.vary.key(&request.fields).unwrap();
    Answer { entry, variant, length: None, is_open: true, is_of_peer: false }
}

fn body(text: &'static str) -> Option<Body> {
    Some(Body::of([Bytes::from_static(text.as_bytes())]))
}

/// The body of what is found.
fn found(cache: &Cache, language: &str) -> Option<Bytes> {
    stored(cache, language).map(|object| object.body.at(0))
}

fn stored(cache: &Cache, language: &str) -> Option<Arc<StoredResponse>> {
    match cache.find(&key(), &speaks(language)) {
        Found::Stored(object) => Some(object),
        Found::Vary(_) | Found::Nothing => None,
    }
}

/// Else each later request finds the one that varies, asks about that, and gets the other one again, for ever.
#[test]
fn what_was_stored_for_the_request_leaves_for_another_variant() {
    for (first, second, others) in [(&VARYING[..], &PLAIN[..], Some("2")), (&PLAIN, &VARYING, None)] {
        let cache = plain_cache();
        store(&cache, key(), (&answer(first, 0), None), (body("1"), None), (BEGUN, &[]));
        let before = stored(&cache, "de");
        store(&cache, key(), (&answer(second, 1), before.as_ref()), (body("2"), None), (BEGUN, &[]));
        assert_eq!(found(&cache, "de").as_deref(), Some(&b"2"[..]));
        assert_eq!(found(&cache, "fr").as_deref(), others.map(str::as_bytes));
    }
}

#[test]
fn what_another_stored_meanwhile_stays() {
    let cache = plain_cache();
    store(&cache, key(), (&answer(&VARYING, 0), None), (body("1"), None), (BEGUN, &[]));
    let before = stored(&cache, "de");
    store(&cache, key(), (&answer(&VARYING, 1), None), (body("2"), None), (BEGUN, &[]));
    store(&cache, key(), (&answer(&PLAIN, 2), before.as_ref()), (body("3"), None), (BEGUN, &[]));
    assert_eq!(found(&cache, "de").as_deref(), Some(&b"2"[..]));
    assert_eq!(found(&cache, "fr").as_deref(), Some(&b"3"[..]));
}

/// It may be on disk, where nobody looks who finds the older one in memory.
#[test]
fn a_body_too_large_for_memory_leaves_nothing_older_there() {
    for lines in [&PLAIN[..], &VARYING] {
        let cache = plain_cache();
        store(&cache, key(), (&answer(lines, 0), None), (body("1"), None), (BEGUN, &[]));
        assert!(found(&cache, "de").is_some());
        store(&cache, key(), (&answer(lines, 1), None), (None, None), (BEGUN, &[]));
        assert!(cache.store.memory.as_ref().unwrap().variants(&key()).is_empty());
    }
}

/// The body of the first one asked for is the last to be whole.
#[test]
fn what_was_asked_for_earlier_takes_no_newer_one_away() {
    let (earlier, later) = (Moment(1), Moment(2));
    // Dates are whole seconds.
    for (lines, age) in [(&PLAIN[..], 1), (&PLAIN, 0), (&VARYING, 1)] {
        for is_whole in [true, false] {
            let cache = plain_cache();
            store(&cache, key(), (&answer(lines, age), None), (body("2"), None), (later, &[]));
            let late = body("1").filter(|_| is_whole);
            let before = stored(&cache, "de");
            store(&cache, key(), (&answer(lines, 0), before.as_ref()), (late, None), (earlier, &[]));
            assert_eq!(found(&cache, "de").as_deref(), Some(&b"2"[..]));
        }
    }
}

/// Else what came before it was set back would stay for ever.
#[test]
fn an_origin_whose_clock_was_set_back_is_believed() {
    let cache = plain_cache();
    store(&cache, key(), (&answer(&PLAIN, 3600), None), (body("1"), None), (Moment::now(), &[]));
    let since = Moment::now().plus(Duration::from_secs(1));
    store(&cache, key(), (&answer(&PLAIN, 0), None), (body("2"), None), (since, &[]));
    assert_eq!(found(&cache, "de").as_deref(), Some(&b"2"[..]));
}

/// The body of the first one asked for is the last to be whole, and memory has no room for the other any more.
#[tokio::test]
async fn newer_on_disk_alone_is_not_taken_away() {
    for is_overtaken in [true, false] {
        let (_folder, cache) = on_disk(&format!("overtaken-{is_overtaken}"), CacheConf::collapsing("c"));
        let before = mark(&cache);
        on_its_way(&cache, &answer(&PLAIN, 1)).unwrap().finish();
        assert!(is_on_disk(&cache));
        let asked = if is_overtaken { before } else { mark(&cache) };
        let (mut source, _reader) = cache.store.fills.begin_alone(&key(), asked);
        source.answer(Arc::new(answer(&PLAIN, 0)));
        source.push(Bytes::from_static(b"hello"));
        let head = answer(&PLAIN, 0);
        let disk = on_its_way(&cache, &head);
        end(&cache, (&head, None), source, disk).await;
        assert!(is_on_disk(&cache));
        assert_eq!(found(&cache, "de").is_none(), is_overtaken);
        let object = cache.store.disk.find(&key(), &speaks("de"), 10).await.unwrap();
        assert_eq!(object.record.entry.date == Date(NOW.0 + 1), is_overtaken);
    }
}

/// It would come to memory from disk, or by a validation, and hide what is there by now.
#[test]
fn what_came_to_disk_meanwhile_is_not_hidden() {
    let (_folder, cache) = on_disk("hidden", CacheConf::collapsing("c"));
    let before = mark(&cache).since;
    on_its_way(&cache, &answer(&PLAIN, 1)).unwrap().finish();
    assert!(is_on_disk(&cache));
    let since = mark(&cache).since;
    let object = |begun| {
        let Answer { entry, variant, .. } = answer(&PLAIN, 0);
        Arc::new(StoredResponse::assembled(key(), variant, entry, Body::of([])).begun_at(begun))
    };
    assert!(!cache.promote(object(before)));
    assert!(!cache.replace(&object(before), object(before), &[]));
    assert!(found(&cache, "de").is_none());
    assert!(cache.replace(&object(since), object(since), &[]), "it was validated there");
    assert!(cache.promote(object(since)) && found(&cache, "de").is_some());
}

/// The present, which is past when this returns, by both clocks.
fn mark(cache: &Cache) -> Mark {
    let mark = cache.store.fills.mark();
    while clock::unix_millis() <= mark.at || Moment::now().since(mark.since) < Duration::from_millis(2) {
        thread::yield_now();
    }
    mark
}

/// Its head would be that of another body on disk.
#[test]
fn what_is_validated_too_late_is_kept_nowhere() {
    let cache = plain_cache();
    store(&cache, key(), (&answer(&PLAIN, 0), None), (body("1"), None), (BEGUN, &[]));
    let first = stored(&cache, "de").unwrap();
    assert!(cache.replace(&first, first.clone(), &[]));
    store(&cache, key(), (&answer(&PLAIN, 1), None), (body("2"), None), (BEGUN, &[]));
    assert!(!cache.replace(&first, first.clone(), &[]));
    assert_eq!(found(&cache, "de").as_deref(), Some(&b"2"[..]));
}

/// A folder that goes with the test.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An answer on its way to disk.
fn on_its_way(cache: &Cache, head: &Answer) -> Option<DiskWrite> {
    let facts = (Some(5), clock::unix_millis());
    let mut disk = cache.store.disk.begin(&key(), &head.variant, &head.entry, facts).unwrap();
    disk.push(Bytes::from_static(b"hello"));
    Some(disk)
}

/// Whether it is on disk, once all is there that is to be.
fn is_on_disk(cache: &Cache) -> bool {
    for _ in 0..20_000 {
        if cache.store.disk.stats().is_some_and(|stats| stats.waiting == 0) {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    cache.store.disk.may_have(&key())
}

/// `second-request` is for what is too large for memory too; and what is not stored leaves nothing older.
#[test]
fn a_body_for_the_disk_alone_is_asked_for_twice() {
    let conf = CacheConf { admission: Admission::SecondRequest, ..CacheConf::collapsing("c") };
    let (_folder, cache) = on_disk("admitted", conf);
    let head = answer(&PLAIN, 0);
    for is_second in [false, true] {
        let disk = on_its_way(&cache, &head);
        store(&cache, key(), (&head, None), (None, disk), (BEGUN, &[]));
        assert_eq!(is_on_disk(&cache), is_second);
    }
}

/// It was served again once memory had no room for the newer one.
#[test]
fn what_a_body_replaces_goes_though_that_was_given_up() {
    let (folder, cache) = on_disk("given-up", CacheConf::collapsing("c"));
    let head = answer(&PLAIN, 0);
    on_its_way(&cache, &head).unwrap().finish();
    assert!(is_on_disk(&cache));
    // Nothing can be written any more.
    fs::remove_dir_all(folder.0.join("new")).unwrap();
    fs::write(folder.0.join("new"), "no folder").unwrap();
    let facts = (None, clock::unix_millis());
    let mut disk = cache.store.disk.begin(&key(), &head.variant, &head.entry, facts).unwrap();
    disk.push(Bytes::from(vec![7; 1 << 18]));
    let is_given_up = (0..20_000).any(|_| {
        thread::sleep(Duration::from_millis(1));
        cache.store.disk.stats().is_some_and(|stats| stats.given_up > 0)
    });
    assert!(is_given_up);
    store(&cache, key(), (&head, None), (body("newer"), Some(disk)), (BEGUN, &[]));
    assert!(!is_on_disk(&cache));
}

/// It was asked for before, be that before a restart: else it would leave the disk at each refresh that comes late.
#[test]
fn refresh_on_disk_alone_needs_no_second_request() {
    for is_whole in [false, true] {
        let conf = CacheConf { admission: Admission::SecondRequest, ..CacheConf::collapsing("c") };
        let (_folder, cache) = on_disk(&format!("readmitted-{is_whole}"), conf);
        let head = answer(&PLAIN, 0);
        on_its_way(&cache, &head).unwrap().finish();
        assert!(is_on_disk(&cache));
        let (disk, body) = (on_its_way(&cache, &head), body("hello").filter(|_| is_whole));
        store(&cache, key(), (&head, None), (body, disk), (BEGUN, &[]));
        assert!(is_on_disk(&cache), "whole: {is_whole}");
        assert_eq!(found(&cache, "de").is_some(), is_whole, "it comes to memory too");
    }
}
