//! Purges of what is on disk, over real folders.

use std::{env, fs, path::PathBuf};

use bytes::Bytes;

use super::*;
use crate::{
    cache::{
        conf::DiskConf,
        disk::tests::{until, wait},
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

    /// Opens what is there, when the one before has let it go and once it is known.
    fn open(&self) -> Arc<DiskTier> {
        let disk = Some(DiskConf { path: StorePath(self.0.clone()), size: Size(1 << 20) });
        let conf = CacheConf { disk, ..CacheConf::collapsing("c") };
        let tier = Arc::<DiskTier>::default();
        let open = || tier.place().prepare(&conf).map(|change| tier.place().apply(change)).is_ok();
        until("the folder is free", open);
        until("it is known", || tier.stats().is_some_and(|stats| !stats.is_scanning));
        tier
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn key() -> Key {
    Key::of("http", "a.example", None, "/a", &Fields::default(), &KeySettings::default())
}

/// A head that is fresh for a day.
fn fresh() -> StoredHead {
    let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
    head.fields.push("cache-control", b"max-age=86400");
    let now = Date(now_millis() / 1000);
    let times = Times { requested: now, received: now };
    StoredHead::of(&RequestHead::default(), &head, &Policy::default(), times).unwrap()
}

/// Stores one, and gives it as it is found.
fn store(tier: &DiskTier) -> DiskObject {
    let (key, entry) = (key(), fresh());
    let variant = entry.vary.key(&Fields::default()).unwrap();
    let mut writing = tier.begin(&key, &variant, &entry, (Some(5), now_millis())).unwrap();
    writing.push(Bytes::from_static(b"hello"));
    writing.finish();
    until("it is on disk", || tier.may_have(&key));
    find(tier).unwrap()
}

fn find(tier: &DiskTier) -> Option<DiskObject> {
    wait(tier.find(&key(), &Fields::default(), TAGS, 10))
}

/// Whether it is found, and fresh, by who comes later: one who knows nothing of purges.
fn is_fresh_later(folder: &Temporary, tier: Arc<DiskTier>) -> bool {
    until("all is written", || tier.stats().is_some_and(|stats| stats.waiting == 0));
    drop(tier);
    let found = find(&folder.open()).expect("a soft purge leaves it there");
    found.record.entry.freshness.is_fresh(Date(now_millis() / 1000))
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
    tier.renewed(object, fresh(), begun, TAGS);
    assert!(!is_fresh_later(&folder, tier));
}

/// The same of what is in memory too, or came there to answer.
#[test]
fn a_validation_in_memory_does_not_undo_a_purge() {
    let folder = Temporary::new("small");
    let tier = folder.open();
    let DiskHead { key, variant, .. } = store(&tier).record;
    let begun = now_millis();
    purge_softly(&tier);
    let validated = StoredResponse::assembled(key, variant, fresh(), Body::of([]));
    wait(tier.renew(&validated, true, begun, TAGS));
    assert!(!is_fresh_later(&folder, tier));
}

#[test]
fn a_validation_behind_a_purge_makes_it_fresh() {
    let folder = Temporary::new("behind");
    let tier = folder.open();
    let object = store(&tier);
    purge_softly(&tier);
    let purged = now_millis();
    until("it is later", || now_millis() > purged);
    tier.renewed(object, fresh(), now_millis(), TAGS);
    assert!(is_fresh_later(&folder, tier));
}
