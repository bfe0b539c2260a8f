//! Purges and writes of what is on disk or on its way there, over real folders.

mod away;

use std::{
    env, fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use bytes::Bytes;

use super::*;
use crate::{
    cache::{
        conf::{DiskConf, Eviction},
        date::Date,
        disk::{
            Visit,
            tests::{Stalled, until, wait},
        },
        freshness::Times,
        key::KeySettings,
        policy::Policy,
        stored_response::Body,
    },
    h1::{RequestHead, ResponseHead},
    schema::{Size, StorePath},
};

const TAGS: &str = "surrogate-key";

/// A folder that goes with the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("pointsman-tier-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    /// What asks for it.
    fn conf(&self) -> CacheConf {
        let disk = Some(DiskConf { path: StorePath(self.0.clone()), size: Size(1 << 20) });
        CacheConf { disk, ..CacheConf::collapsing("c") }
    }

    /// Opens what is there, when the one before has let it go and once it is known.
    fn open(&self) -> Arc<DiskTier> {
        let (tier, conf) = (DiskTier::new(), self.conf());
        let open = || tier.place().prepare(&conf).map(|change| tier.place().apply(change)).is_ok();
        until("the folder is free", open);
        until_known(&tier);
        tier
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn until_known(tier: &DiskTier) {
    until("it is known", || tier.stats().is_some_and(|stats| !stats.is_scanning));
}

fn key() -> Key {
    key_of("/a")
}

fn key_of(target: &str) -> Key {
    Key::of("http", "a.example", None, target, &Fields::default(), &KeySettings::default())
}

/// A head that is fresh for a day.
fn fresh() -> StoredHead {
    head_of("")
}

/// The same of one that varies by this field, where it has a name.
fn head_of(vary: &str) -> StoredHead {
    let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
    head.fields.push("cache-control", b"max-age=86400");
    if !vary.is_empty() {
        head.fields.push("vary", vary.as_bytes());
    }
    let now = Date(now_millis() / 1000);
    let times = Times { requested: now, received: now };
    StoredHead::of(&RequestHead::default(), &head, &Policy::default(), times).unwrap()
}

/// Has one written.
fn write(tier: &DiskTier) {
    write_of(tier, &key(), fresh(), &Fields::default());
}

fn write_of(tier: &DiskTier, key: &Key, entry: StoredHead, request: &Fields) {
    write_at(tier, key, (entry, now_millis()), request);
}

/// The same of one whose fetch began then.
fn write_at(tier: &DiskTier, key: &Key, (entry, begun): (StoredHead, u64), request: &Fields) {
    let variant = entry.vary.key(request).unwrap();
    let mut writing = tier.begin(key, &variant, &entry, (Some(5), begun)).unwrap();
    writing.push(Bytes::from_static(b"hello"));
    writing.finish();
}

/// Has variants of one URI written, one under a key with more than the URI, and many of other URIs.
fn write_many(tier: &DiskTier, has_fields: bool) {
    for language in ["de", "fr", "it"] {
        let mut request = Fields::default();
        request.push("accept-language", language.as_bytes());
        write_of(tier, &key(), head_of("accept-language"), &request);
    }
    if has_fields {
        write_of(tier, &key().with("forwarded host", b"b"), fresh(), &Fields::default());
    }
    (0..20).for_each(|at| write_of(tier, &key_of(&format!("/{at}")), fresh(), &Fields::default()));
    until("all is written", || tier.stats().is_some_and(|stats| stats.waiting == 0));
}

/// Stores one, and gives it as it is found.
fn store(tier: &DiskTier) -> DiskObject {
    write(tier);
    until("it is on disk", || tier.may_have(&key()));
    find(tier).unwrap()
}

fn find(tier: &DiskTier) -> Option<DiskObject> {
    wait(tier.find(&key(), &Fields::default(), 10))
}

/// Whether it is fresh for who comes later, and knows nothing of purges; nothing where it is not found.
fn found_later(folder: &Temporary, tier: Arc<DiskTier>) -> Option<bool> {
    until("all is written", || tier.stats().is_some_and(|stats| stats.waiting == 0));
    drop(tier);
    find(&folder.open()).map(|found| is_fresh(&found))
}

fn is_fresh(object: &DiskObject) -> bool {
    object.record.entry.freshness.is_fresh(Date(now_millis() / 1000))
}

fn purge_softly(tier: &Arc<DiskTier>) {
    assert_eq!(tier.purge(&Rule::Uri(key()), true, TAGS).unwrap().run(), 1);
}

/// The origin was asked, then comes the purge, and then the answer.
#[test]
fn a_validation_under_way_does_not_undo_a_purge() {
    let folder = Temporary::new("large");
    let tier = folder.open();
    let object = store(&tier);
    let begun = now_millis();
    purge_softly(&tier);
    tier.renewed(object, fresh(), begun);
    assert_eq!(found_later(&folder, tier), Some(false));
}

/// The same of what is in memory too, or came there to answer.
#[test]
fn a_validation_in_memory_does_not_undo_a_purge() {
    let folder = Temporary::new("small");
    let tier = folder.open();
    let DiskHead { key, variant, .. } = store(&tier).record;
    let begun = now_millis();
    purge_softly(&tier);
    let validated = StoredResponse::assembled(key, variant, fresh(), hello());
    wait(tier.renew(&validated, true, begun));
    assert_eq!(found_later(&folder, tier), Some(false));
}

fn hello() -> Body {
    Body::of([Bytes::from_static(b"hello")])
}

/// What was validated came from disk, and another took its place there meanwhile, which has left memory again.
#[test]
fn a_validation_gives_its_head_to_no_other_body() {
    let folder = Temporary::new("other-body");
    let tier = folder.open();
    let DiskHead { key, variant, begun, .. } = store(&tier).record;
    let head = StoredHead { date: Date(7), ..fresh() };
    let other = Body::of([Bytes::from_static(b"another")]);
    let bodies = [(other, begun, false), (hello(), begun - 1, false), (hello(), begun, true)];
    for (body, begun, expected) in bodies {
        let validated = StoredResponse::assembled(key.clone(), variant.clone(), head.clone(), body);
        wait(tier.renew(&validated, true, begun));
        assert_eq!(find(&tier).unwrap().record.entry.date == Date(7), expected);
    }
}

/// The body of the first one asked for is the last to be whole, and memory has no room for the other.
#[test]
fn what_was_asked_for_earlier_hides_no_newer_on_disk() {
    let folder = Temporary::new("overtaken");
    let tier = folder.open();
    let (since, begun) = (Moment::now().minus(Duration::from_secs(1)), now_millis() - 1000);
    let entry = fresh();
    let (key, variant, date) = (key(), entry.vary.key(&Fields::default()).unwrap(), entry.date);
    let mut earlier = tier.begin(&key, &variant, &entry, (Some(5), begun)).unwrap();
    let later = store(&tier).record.begun;
    let has_more_recent = |began| wait(tier.has_more_recent((&key, &variant), date, began));
    assert!(has_more_recent((since, begun)));
    assert!(!has_more_recent((since, later + 1000)), "it was asked for before");
    assert!(!has_more_recent((Moment::now().plus(Duration::from_secs(1)), begun)), "it was there before");
    let other = key_of("/b");
    assert!(!wait(tier.has_more_recent((&other, &variant), date, (since, begun))));
    earlier.push(Bytes::from_static(b"hello"));
    assert!(earlier.finish());
    until("both are there", || tier.stats().unwrap().objects == 2);
    assert_eq!(find(&tier).unwrap().record.begun, later);
    assert_eq!(tier.stats().unwrap().objects, 1);
}

#[test]
fn a_validation_behind_a_purge_makes_it_fresh() {
    let folder = Temporary::new("behind");
    let tier = folder.open();
    let object = store(&tier);
    purge_softly(&tier);
    let purged = now_millis();
    until("it is later", || now_millis() > purged);
    tier.renewed(object, fresh(), now_millis());
    assert_eq!(found_later(&folder, tier), Some(true));
}

/// Something that comes while an object waits to be written.
type Taking = fn(&Arc<DiskTier>) -> Option<Purging>;

/// What may come, and what it leaves of the object: whether it is fresh, if it is there.
const TAKING: [(&str, Taking, Option<bool>); 4] = [
    ("nothing", |_| None, Some(true)),
    ("a soft purge", |tier| tier.purge(&Rule::All, true, TAGS), Some(false)),
    ("a purge", |tier| tier.purge(&Rule::Uri(key()), false, TAGS), None),
    ("a write", |tier| tier.forget(&key(), false, TAGS), None),
];

/// It is whole, and waits to be written, when something comes that takes it; nobody asks for it before a restart.
#[test]
fn what_is_on_its_way_to_disk_is_purged_too() {
    for (what, take, expected) in TAKING {
        let folder = Temporary::new("under-way");
        let tier = folder.open();
        let stalled = Stalled::new(tier.disk().unwrap());
        write(&tier);
        if let Some(purging) = take(&tier) {
            assert_eq!(purging.run(), 0, "{what}");
        }
        drop(stalled);
        assert_eq!(found_later(&folder, tier), expected, "{what}");
    }
}

/// Nothing is written until the scan at start is through; who looks through the files waits for that too.
#[test]
fn what_waits_for_the_scan_is_purged_too() {
    for (what, take, expected) in TAKING {
        let folder = Temporary::new("scan");
        let tier = folder.open();
        let stalled = Stalled::scanning(tier.disk().unwrap());
        write(&tier);
        let looking = take(&tier).map(|purging| std::thread::spawn(|| purging.run()));
        stalled.end_scan();
        looking.into_iter().for_each(|looking| assert_eq!(looking.join().unwrap(), 0, "{what}"));
        drop(stalled);
        assert_eq!(found_later(&folder, tier), expected, "{what}");
    }
}

/// What came before it was finished was compared with it then, and is none of its purges and writes.
#[test]
fn what_is_finished_later_is_not_purged() {
    for (what, take, _) in TAKING {
        let folder = Temporary::new("later");
        let tier = folder.open();
        let stalled = Stalled::new(tier.disk().unwrap());
        let taking = take(&tier);
        let taken = now_millis();
        until("it is later", || now_millis() > taken);
        write(&tier);
        drop(stalled);
        let _ = taking.map(Purging::run);
        assert_eq!(found_later(&folder, tier), Some(true), "{what}");
    }
}

/// As memory takes it on: the one that came first leaves, though it was asked for since.
#[test]
fn another_eviction_is_in_force_after_a_reload() {
    for (eviction, is_kept) in [(Eviction::Lru, true), (Eviction::Fifo, false)] {
        let folder = Temporary::new("eviction");
        let conf = |eviction| {
            let disk = Some(DiskConf { path: StorePath(folder.0.clone()), size: Size(3 * 4096) });
            CacheConf { disk, eviction, ..CacheConf::collapsing("c") }
        };
        let tier = DiskTier::new();
        let reload = |eviction| tier.place().apply(tier.place().prepare(&conf(eviction)).unwrap());
        reload(Eviction::Lru);
        until_known(&tier);
        let write = |target: &str| {
            write_of(&tier, &key_of(target), fresh(), &Fields::default());
            until("it is on disk", || tier.may_have(&key_of(target)));
        };
        ["/a", "/1", "/2"].into_iter().for_each(write);
        assert!(find(&tier).is_some());
        reload(eviction);
        // Those that are not ordered anew yet leave first.
        until("all are", || tier.disk().unwrap().is_settled());
        write("/3");
        assert_eq!(
            (tier.may_have(&key()), tier.may_have(&key_of("/1"))),
            (is_kept, !is_kept),
            "{eviction:?}"
        );
    }
}

/// The wall clock was an hour ahead when it was fetched, and was set right since.
#[test]
fn what_was_fetched_before_a_clock_change_goes_too() {
    for (what, take, _) in TAKING.into_iter().filter(|(what, ..)| *what != "nothing") {
        let folder = Temporary::new("ahead");
        let tier = folder.open();
        let with_fields = key().with("forwarded host", b"b");
        for key in [key(), with_fields] {
            write_at(&tier, &key, (fresh(), now_millis() + 3_600_000), &Fields::default());
        }
        until("both are there", || tier.stats().unwrap().objects == 2);
        take(&tier).map(Purging::run);
        let left = if what == "a soft purge" { 2 } else { 0 };
        assert_eq!(tier.stats().unwrap().objects, left, "{what}");
        assert!(find(&tier).is_none_or(|found| !is_fresh(&found)), "{what}");
    }
}

/// In a large tier, the heads of all would take minutes.
#[test]
fn a_purge_of_a_url_opens_its_files_alone() {
    for (has_fields, is_soft, expected) in [(false, false, 3), (false, true, 3), (true, false, 4)] {
        let folder = Temporary::new("url");
        let tier = folder.open();
        write_many(&tier, has_fields);
        drop(tier);
        let tier = folder.open();
        let reads = || tier.stats().unwrap().reads;
        assert_eq!(tier.purge(&Rule::Uri(key()), is_soft, TAGS).unwrap().run(), expected);
        assert_eq!(reads(), expected, "{has_fields}, {is_soft}");
        let left = if is_soft { 23 } else { 20 };
        assert_eq!(tier.stats().unwrap().objects, left);
        assert_eq!(tier.purge(&Rule::Tag(b"none".to_vec()), false, TAGS).unwrap().run(), 0);
        assert_eq!(reads(), expected + left, "a tag may be that of any");
    }
}

/// A key has fields by the route and by what the client sent, too: the one who writes may have none of them.
#[test]
fn a_write_takes_what_has_fields_in_its_key() {
    let folder = Temporary::new("fields");
    let tier = folder.open();
    write_many(&tier, false);
    assert!(tier.forget(&key(), false, TAGS).is_none(), "nothing is to be looked for");
    assert_eq!(tier.stats().unwrap().objects, 20);
    write_of(&tier, &key_of("/1").with("forwarded host", b"b"), fresh(), &Fields::default());
    until("it is on disk", || tier.stats().unwrap().objects == 21);
    let written = now_millis();
    until("it is later", || now_millis() > written);
    tier.forget(&key_of("/1"), false, TAGS).unwrap().run();
    assert_eq!(tier.stats().unwrap().objects, 19);
    assert_eq!(tier.stats().unwrap().reads, 1);
}

/// Somebody looks through all files before the one who asked for it comes to its own.
#[test]
fn what_a_purge_is_about_is_counted_once() {
    for is_soft in [true, false] {
        let folder = Temporary::new("once");
        let tier = folder.open();
        store(&tier);
        // Who wrote it is done with it too.
        tier.disk().unwrap().visit(&mut |_| Visit::Keep);
        let of_url = tier.purge(&Rule::Uri(key()), is_soft, TAGS).unwrap();
        let of_tag = tier.purge(&Rule::Tag(b"none".to_vec()), false, TAGS).unwrap();
        assert_eq!((of_tag.run(), of_url.run()), (0, 1), "{is_soft}");
    }
}

/// With a write at least in each turn through the files, there is always another one.
#[test]
fn a_purge_has_its_turn_among_writes_without_end() {
    const OBJECTS: u64 = 200;
    let folder = Temporary::new("turns");
    let tier = folder.open();
    for at in 0..OBJECTS {
        let key = key_of(&format!("/{at}")).with("forwarded host", b"b");
        write_of(&tier, &key, fresh(), &Fields::default());
    }
    until("all is written", || tier.stats().is_some_and(|stats| stats.objects == OBJECTS));
    let half_turns = || tier.stats().unwrap().reads / (OBJECTS / 2);
    let is_over = AtomicBool::new(false);
    let waited = thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = None;
            while !is_over.load(Relaxed) && half_turns() < 2000 {
                let now = Some(half_turns());
                if std::mem::replace(&mut last, now) == now {
                    thread::yield_now();
                } else if let Some(purging) = tier.forget(&key_of("/written"), true, TAGS) {
                    scope.spawn(|| purging.run());
                }
            }
        });
        until("somebody looks through the files", || half_turns() > 0);
        let before = half_turns();
        assert_eq!(tier.purge(&Rule::Tag(b"none".to_vec()), false, TAGS).unwrap().run(), 0);
        is_over.store(true, Relaxed);
        (half_turns() - before) / 2
    });
    // On a busy machine others take many turns while it has none of the processor.
    assert!(waited < 500, "{waited} turns");
}
