//! Purges and writes that come while a folder is another program's still, or is out of force.

use super::*;

/// What may come, with what leaves nothing, too.
fn takings() -> impl Iterator<Item = (&'static str, Taking, Option<bool>)> {
    let everything: Taking = |tier| {
        tier.clear();
        None
    };
    TAKING.into_iter().chain([("a purge of everything", everything, None)])
}

/// Has two stored of one URI, one under a key with more than that.
fn store_two(tier: &DiskTier) -> DiskObject {
    write_of(tier, &key().with("forwarded host", b"b"), fresh(), &Fields::default());
    let object = store(tier);
    until("both are there", || tier.stats().unwrap().objects == 2);
    object
}

/// Purges were answered, and writes have succeeded: what they are about is not to be served once the folder is there.
#[test]
fn what_comes_before_the_folder_takes_effect_in_it() {
    for (what, take, expected) in takings() {
        let folder = Temporary::new("another");
        // The program before: a client reads from it.
        let object = store_two(&folder.open());
        let tier = DiskTier::new();
        tier.place().start("c", &folder.conf(), true).unwrap();
        assert!(!tier.is_open());
        assert!(take(&tier).is_none(), "{what}: there is nothing to look through yet");
        drop(object);
        until("the folder is given up", || tier.is_open());
        until_known(&tier);
        assert_eq!(find(&tier).map(|found| is_fresh(&found)), expected, "{what}");
        assert_eq!(found_later(&folder, tier), expected, "{what}");
        let left = if expected.is_some() { 2 } else { 0 };
        assert_eq!(folder.open().stats().unwrap().objects, left, "{what}");
    }
}

/// A request that was under way when the next program took over has changed something; that program cannot know.
#[test]
fn a_write_in_the_program_before_takes_effect() {
    let folder = Temporary::new("before");
    let tier = folder.open();
    let object = store(&tier);
    tier.place().close();
    assert!(tier.forget(&key(), false, TAGS).is_none());
    drop(object);
    assert_eq!(found_later_by(&folder, tier), None);
}

/// A reload takes the folder away, and another one brings it back; meanwhile somebody may read from it all the time.
#[test]
fn a_folder_that_comes_back_brings_nothing_that_was_purged() {
    for ((what, take, _), is_read) in takings().flat_map(|taking| [(taking, true), (taking, false)]) {
        let folder = Temporary::new("former");
        let tier = folder.open();
        let object = Some(store_two(&tier)).filter(|_| is_read);
        let reload = |conf: &CacheConf| tier.place().apply(tier.place().prepare(conf).unwrap());
        reload(&CacheConf::collapsing("c"));
        assert!(!tier.is_open());
        assert!(take(&tier).is_none(), "{what}");
        reload(&folder.conf());
        until_known(&tier);
        let is_same = object.as_ref().is_none_or(|it| tier.place().is_held(&it.disk));
        assert!(is_same, "it is open still");
        let expected = (what == "nothing").then_some(true);
        assert_eq!(find(&tier).map(|found| is_fresh(&found)), expected, "{what}");
        drop(object);
        assert_eq!(found_later_by(&folder, tier), expected, "{what}");
    }
}

/// As [`found_later`], where no folder may be in force.
fn found_later_by(folder: &Temporary, tier: Arc<DiskTier>) -> Option<bool> {
    drop(tier);
    find(&folder.open()).map(|found| is_fresh(&found))
}
