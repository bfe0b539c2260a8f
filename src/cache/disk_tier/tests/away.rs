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
        assert_eq!(take(&tier).map_or(0, Purging::run), 0, "{what}: there is nothing to look through yet");
        assert_eq!(is_marked(&folder), what != "nothing", "{what}");
        drop(object);
        until("the folder is given up", || tier.is_open());
        until_known(&tier);
        until("it is made up for", || !is_marked(&folder));
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

/// The old program of an upgrade ends, as soon as nothing is open any more, with its threads behind: the next one has the
/// folder then, and would serve what they did not come to.
#[test]
fn the_end_waits_for_what_was_removed_since_closing() {
    let folder = Temporary::new("ending");
    let tier = folder.open();
    let object = store(&tier);
    let keys: Vec<Key> = (0..200).map(|at| key_of(&format!("/{at}"))).collect();
    keys.iter().for_each(|key| write_of(&tier, key, fresh(), &Fields::default()));
    until("all is written", || tier.stats().unwrap().objects == 201);
    tier.close();
    keys.iter().for_each(|key| drop(tier.forget(key, false, TAGS)));
    drop(object);
    tier.finish(Duration::from_secs(30));
    let next = Disk::open(&Options::new(&folder.0, 1 << 20)).expect("no thread has the folder");
    until("it is known", || !next.stats().is_scanning);
    assert_eq!(next.stats().objects, 1);
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
        assert_eq!(take(&tier).map_or(0, Purging::run), 0, "{what}");
        assert!(is_marked(&folder), "{what}");
        reload(&folder.conf());
        until_known(&tier);
        until("it is made up for", || !is_marked(&folder));
        let is_same = object.as_ref().is_none_or(|it| tier.place().is_held(&it.disk));
        assert!(is_same, "it is open still");
        let expected = (what == "nothing").then_some(true);
        assert_eq!(find(&tier).map(|found| is_fresh(&found)), expected, "{what}");
        drop(object);
        assert_eq!(found_later_by(&folder, tier), expected, "{what}");
    }
}

/// It waits for the folder, or a reload has taken that out, when something comes; it ends, and another program opens the
/// folder. That may have run for long without it: of one that was out, nobody knows what it missed.
#[test]
fn a_later_program_serves_nothing_that_a_folder_missed() {
    for ((what, take, _), is_waiting) in takings().flat_map(|taking| [(taking, true), (taking, false)]) {
        let folder = Temporary::new("third");
        let first = folder.open();
        let object = store_two(&first);
        let tier = if is_waiting { DiskTier::new() } else { first.clone() };
        if is_waiting {
            tier.place().start("c", &folder.conf(), true).unwrap();
        } else {
            tier.place().apply(tier.place().prepare(&CacheConf::collapsing("c")).unwrap());
        }
        take(&tier).map(Purging::run);
        tier.place().close();
        drop((object, first, tier));
        let later = folder.open();
        let expected = (what == "nothing" && is_waiting).then_some(true);
        assert_eq!(find(&later).map(|found| is_fresh(&found)), expected, "{what}, {is_waiting}");
        assert!(!is_marked(&folder), "the next one has what this one keeps");
    }
}

/// A reload removes the whole cache, and another one brings it back: what was written to meanwhile, no cache heard of.
#[test]
fn a_folder_of_a_cache_that_was_away_is_emptied() {
    for is_forgotten in [false, true] {
        let folder = Temporary::new("removed");
        let mut tier = folder.open();
        store(&tier);
        tier.take_out();
        assert!(is_marked(&folder));
        if is_forgotten {
            drop(tier);
            tier = folder.open();
        } else {
            tier.place().apply(tier.place().prepare(&folder.conf()).unwrap());
            until_known(&tier);
        }
        assert!(find(&tier).is_none() && !is_marked(&folder), "{is_forgotten}");
        store(&tier);
        assert_eq!(found_later(&folder, tier), Some(true), "{is_forgotten}");
    }
}

/// A reload takes the folder out while what it missed is made up for, as often as it likes.
#[test]
fn a_mark_stays_where_a_folder_is_out_again() {
    let folder = Temporary::new("again");
    fs::create_dir_all(&folder.0).unwrap();
    let marks = Marks::default();
    marks.watch(&folder.0);
    marks.mark();
    let first = marks.time(&folder.0);
    marks.watch(&folder.0);
    marks.remove(&folder.0, first);
    assert!(is_marked(&folder));
    marks.remove(&folder.0, marks.time(&folder.0));
    assert!(!is_marked(&folder));
    marks.mark();
    assert!(!is_marked(&folder), "it is in force");
    marks.watch(&folder.0);
    marks.mark();
    marks.remove(&folder.0, first);
    assert!(is_marked(&folder), "that was another time");
}

/// The disk was full when the first purge came, say.
#[test]
fn a_mark_that_cannot_be_left_is_left_later() {
    let folder = Temporary::new("unmarked");
    let marks = Marks::default();
    fs::write(&folder.0, "no folder").unwrap();
    marks.watch(&folder.0);
    marks.mark();
    assert!(marks.are_needed());
    fs::remove_file(&folder.0).unwrap();
    fs::create_dir(&folder.0).unwrap();
    marks.mark();
    assert!(is_marked(&folder) && !marks.are_needed());
}

/// Whether something says that there is what the folder missed.
fn is_marked(folder: &Temporary) -> bool {
    let names = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.into_string().ok()).any(|name| name.starts_with("missed-"))
}

/// As [`found_later`], where no folder may be in force.
fn found_later_by(folder: &Temporary, tier: Arc<DiskTier>) -> Option<bool> {
    drop(tier);
    find(&folder.open()).map(|found| is_fresh(&found))
}
