//! What is stored, found, replaced, updated and removed, one thing at a time.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const ROOMY: u64 = 1 << 30;

#[test]
fn stored_bodies_are_read_in_parts_also_after_a_restart() {
    let folder = Temporary::new();
    let mut disk = open(folder.path(), ROOMY);
    let lengths = [0, 1, 511, 512, 513, 1024, 5000, 100_000];
    for (key, length) in lengths.into_iter().enumerate() {
        store(&disk, key as u128, 7 + key as u64, length, &[]);
    }
    for _ in 0..2 {
        for (key, length) in lengths.into_iter().enumerate() {
            let found = disk.find(key as u128);
            assert_eq!((found.len(), found[0].length), (1, length));
            let id = found[0].id;
            assert_eq!(check(&disk, id), Some((7 + key as u64, length, "-".to_owned())));
            let whole = body(7 + key as u64, length);
            for (from, to) in [(0, 1), (1, 512), (500, 530), (512, 1024), (4999, 5000), (3, 99_999), (9, 3)] {
                let (first, last) = (from.min(length) as usize, to.min(length) as usize);
                let part = whole.get(first..last).unwrap_or_default();
                assert_eq!(drain(disk.read(id, from, to)).as_deref(), Ok(part), "{length}: {from}-{to}");
            }
        }
        assert_eq!(disk.find(99), []);
        balance(&disk, folder.path());
        drop(disk);
        disk = open(folder.path(), ROOMY);
    }
}

#[test]
fn a_replacement_is_alone_and_variants_coexist() {
    let folder = Temporary::new();
    let disk = open(folder.path(), ROOMY);
    let first = store(&disk, 1, 10, 100, &[]);
    let second = store(&disk, 1, 20, 200, &[]);
    let ids: Vec<_> = disk.find(1).iter().map(|found| found.id).collect();
    assert_eq!(ids, [second, first], "the newest comes first");
    // Half of the key is the same.
    let other = (1 << 64) | 1;
    store(&disk, other, 30, 300, &[]);
    let third = store(&disk, 1, 40, 400, &[first]);
    let ids: Vec<_> = disk.find(1).iter().map(|found| found.id).collect();
    assert_eq!(ids, [third, second]);
    assert!(check(&disk, first).is_none());
    assert_eq!(drain(disk.read(first, 0, 9)), Err(Damaged));
    disk.remove_key(1);
    assert_eq!((disk.find(1), disk.find(other).len()), (Vec::new(), 1));
    // A later object in the same place of the index is not the one that was there.
    let fourth = store(&disk, 1, 50, 10, &[]);
    disk.remove(third);
    disk.touch(second);
    assert_eq!(check(&disk, fourth).map(|found| found.0), Some(50));
    balance(&disk, folder.path());
    assert_eq!(disk.stats().damaged, 0, "{:?}", disk.stats());
}

#[test]
fn a_new_head_replaces_the_old_also_after_a_restart() {
    let folder = Temporary::new();
    let mut disk = open(folder.path(), ROOMY);
    let mut id = store(&disk, 1, 3, 1000, &[]);
    for round in 0..12_u32 {
        // Longer and shorter in turn.
        let note = "x".repeat((round as usize * 37) % 200);
        disk.update(id, meta(3, 1000, &note));
        // Also while it waits.
        assert_eq!(check(&disk, id), Some((3, 1000, note.clone())));
        until_written(&disk);
        assert_eq!(check(&disk, id), Some((3, 1000, note.clone())));
        balance(&disk, folder.path());
        if round % 4 == 3 {
            drop(disk);
            disk = open(folder.path(), ROOMY);
            id = disk.find(1)[0].id;
            assert_eq!(check(&disk, id), Some((3, 1000, note)));
        }
    }
    let file = fs::metadata(&objects(folder.path())[0]).unwrap();
    assert!(file.len() < 2000, "{} bytes: heads pile up", file.len());
    disk.remove(id);
    disk.update(id, meta(3, 1000, "late"));
    assert!(check(&disk, id).is_none());
    balance(&disk, folder.path());
}

#[test]
fn what_was_not_finished_leaves_nothing() {
    let folder = Temporary::new();
    let disk = open(folder.path(), ROOMY);
    let begin = |length| disk.begin(5, vec![1], length).unwrap();
    let bytes = || Bytes::from(vec![7; 2000]);
    // Dropped in the middle.
    assert!(begin(None).push(bytes()));
    // Shorter than announced.
    let mut short = begin(Some(2001));
    assert!(short.push(bytes()));
    short.finish(&[]);
    // Longer.
    let mut long = begin(Some(1999));
    assert!(!long.push(bytes()) && !long.push(Bytes::new()));
    long.finish(&[]);
    // Never pushed to.
    drop(begin(Some(9)));
    balance(&disk, folder.path());
    assert_eq!((disk.find(5), disk.stats().given_up), (Vec::new(), 4));
    // Exactly as long, with empty pieces in between.
    let mut whole = begin(Some(2000));
    assert!(whole.push(Bytes::new()) && whole.push(bytes()) && whole.push(Bytes::new()));
    whole.finish(&[]);
    until_written(&disk);
    assert_eq!(disk.find(5).len(), 1);
}

#[test]
fn what_waits_to_be_written_has_a_limit() {
    let folder = Temporary::new();
    let disk = Disk::open(&Options { queue: 1000, ..options(folder.path(), ROOMY) }).unwrap();
    assert!(disk.begin(1, vec![0; 1001], None).is_none());
    let mut one = disk.begin(1, vec![0; 500], None).unwrap();
    // Less than a block, which would be written.
    assert!(one.push(Bytes::from_static(&[1; 400])));
    let mut other = disk.begin(2, vec![0; 50], None).unwrap();
    assert!(!other.push(Bytes::from_static(&[2; 100])), "it does not fit beside the first");
    other.finish(&[]);
    assert!(one.push(Bytes::from_static(&[1; 50])), "what gave up has given its place back");
    one.finish(&[]);
    until_written(&disk);
    assert_eq!((disk.find(1).len(), disk.find(2).len(), disk.stats().waiting), (1, 0, 0));
    // More than the limit of the store never begins.
    assert!(disk.begin(3, vec![], Some(ROOMY)).is_none());
    assert!(disk.begin(3, vec![], Some(u64::MAX)).is_none());
}

#[test]
fn room_is_made_before_use_and_limits_may_change() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 40 << 10);
    let mut chance = Rng::new(1);
    for seed in 0..100 {
        assert!(write(&disk, u128::from(seed), seed, chance.below(12 << 10), &[]));
        let stats = disk.stats();
        assert!(stats.bytes <= 40 << 10, "{stats:?}");
        if seed % 10 == 9 {
            // Files that come and go while they are counted would be counted together.
            until_written(&disk);
            let cost = cost(folder.path());
            assert!(cost <= 40 << 10, "{cost} bytes on disk");
        }
    }
    balance(&disk, folder.path());
    let stats = disk.stats();
    assert!(stats.evicted > 50 && stats.bytes > 20 << 10, "{stats:?}");
    assert_eq!((stats.given_up, stats.io_errors), (0, 0));
    // Larger than all, its length not announced: given up on the way, and the rest of the store does not fill up.
    let mut large = disk.begin(1000, vec![], None).unwrap();
    until("it was given up", || !large.push(Bytes::from(vec![0; 4096])));
    drop(large);
    balance(&disk, folder.path());
    let kept = store(&disk, 2000, 1, 5000, &[]);
    disk.set_limit(9 << 10);
    until("what is above the limit left", || disk.stats().bytes <= 9 << 10);
    assert!(check(&disk, kept).is_some(), "the newest stayed");
    disk.set_limit(1 << 20);
    (0..100).for_each(|seed| assert!(write(&disk, seed, seed as u64, 5000, &[])));
    balance(&disk, folder.path());
    assert_eq!(disk.stats().objects, 101);
    drop(disk);
    // A lower limit at start.
    let disk = open(folder.path(), 16 << 10);
    balance(&disk, folder.path());
    assert_eq!(disk.stats().objects, 2);
}

#[test]
fn what_was_cleared_is_gone_whatever_was_on_its_way() {
    let folder = Temporary::new();
    let disk = open(folder.path(), ROOMY);
    let ids: Vec<_> = (0..50).map(|key| store(&disk, key, key as u64, 3000, &[])).collect();
    let mut begun = disk.begin(60, vec![], None).unwrap();
    let mut whole = disk.begin(61, vec![], None).unwrap();
    assert!(begun.push(Bytes::from(vec![0; 600])) && whole.push(Bytes::from(vec![0; 600])));
    disk.update(ids[0], meta(0, 3000, "late"));
    disk.clear();
    whole.finish(&[]);
    let mut late = disk.begin(62, meta(62, 0, "-"), None).unwrap();
    assert!(late.push(Bytes::new()));
    late.finish(&[]);
    until("the writer learns it", || !begun.push(Bytes::from(vec![0; 600])));
    begun.finish(&[]);
    until_written(&disk);
    assert!(ids.iter().all(|id| wait(disk.head(*id)).is_none()));
    assert_eq!((disk.find(60), disk.find(61)), (Vec::new(), Vec::new()));
    assert_eq!(disk.stats().objects, 1);
    balance(&disk, folder.path());
    drop(disk);
    let disk = open(folder.path(), ROOMY);
    assert_eq!((disk.stats().objects, disk.find(62).len()), (1, 1));
    assert_eq!(disk.stats().io_errors, 0);
}

#[test]
fn visiting_shows_all_and_does_what_is_answered() {
    let folder = Temporary::new();
    let disk = open(folder.path(), ROOMY);
    (0..300).for_each(|key| assert!(write(&disk, key, key as u64, 10, &[])));
    until_written(&disk);
    let mut seen = Vec::new();
    disk.visit(&mut |shown| {
        let (seed, length, _) = read_meta(shown);
        seen.push(seed);
        match seed % 3 {
            0 => Visit::Keep,
            1 => Visit::Remove,
            _ => Visit::Update(meta(seed, length, "purged")),
        }
    });
    seen.sort_unstable();
    assert_eq!(seen, (0..300).collect::<Vec<_>>());
    for key in 0..300 {
        let stored = disk.find(key).first().and_then(|found| check(&disk, found.id));
        let note = stored.as_ref().map(|found| found.2.as_str());
        assert_eq!(note, [Some("-"), None, Some("purged")][key as usize % 3]);
    }
    balance(&disk, folder.path());
}

/// There is no room for the folder of the next generation; here something else has its name.
#[test]
fn what_was_cleared_is_gone_without_a_new_folder() {
    let folder = Temporary::new();
    let disk = open(folder.path(), ROOMY);
    (0..50).for_each(|key| assert!(write(&disk, key << 119, 1, 10, &[])));
    until_written(&disk);
    fs::write(folder.path().join("objects-00000002"), "no folder").unwrap();
    // It ends before the old files are deleted beside it.
    disk.close();
    disk.clear();
    drop(disk);
    assert_eq!(open(folder.path(), ROOMY).stats().objects, 0);
}

/// The same for whoever opens a folder with a mark.
#[test]
fn a_marked_folder_is_emptied_where_none_can_be_made() {
    let folder = Temporary::new();
    let disk = open(folder.path(), ROOMY);
    (0..50).for_each(|key| assert!(write(&disk, key << 119, 1, 10, &[])));
    until_written(&disk);
    drop(disk);
    fs::write(folder.path().join("objects-00000002"), "no folder").unwrap();
    let mark = name_of_mark(7);
    leave_mark(folder.path(), &mark).unwrap();
    let own = Options { mark: Some(mark.clone()), ..options(folder.path(), ROOMY) };
    assert_eq!(open_with(&own).stats().objects, 50, "its own mark says nothing");
    let disk = open(folder.path(), ROOMY);
    assert_eq!(disk.stats().objects, 0);
    assert!(!folder.path().join(mark).exists());
    store(&disk, 7, 1, 10, &[]);
}

#[test]
fn a_key_removed_while_the_scan_runs_stays_removed() {
    let folder = Temporary::new();
    let disk = open(folder.path(), ROOMY);
    (0..500).for_each(|key| assert!(write(&disk, key << 119, 1, 10, &[])));
    drop(disk);
    let mut disk = None;
    until("the folder is free", || {
        disk = Disk::open(&options(folder.path(), ROOMY)).ok();
        disk.is_some()
    });
    let disk = disk.unwrap();
    let key = 499 << 119;
    disk.remove_key(key);
    // Written meanwhile: it waits for the scan, and is there then.
    assert!(write(&disk, 7, 1, 10, &[]));
    until("the scan is through", || !disk.stats().is_scanning);
    until_written(&disk);
    assert_eq!((disk.find(key), disk.find(498 << 119).len(), disk.find(7).len()), (Vec::new(), 1, 1));
    balance(&disk, folder.path());
}

#[test]
fn the_folder_is_private_and_one_store_has_it() {
    let folder = Temporary::new();
    let path = folder.path().join("made/here");
    let disk = open(&path, ROOMY);
    assert_eq!(Disk::open(&options(&path, ROOMY)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let id = store(&disk, 1, 1, 1000, &[]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = objects(&path).remove(0);
    assert_eq!((mode(&file), mode(&path), mode(file.parent().unwrap())), (0o600, 0o700, 0o700));
    // Closed while somebody still holds it: the folder is free, and nothing hangs.
    disk.close();
    let other = open(&path, ROOMY);
    assert!(wait(disk.head(id)).is_none() && disk.begin(2, vec![], None).is_none());
    assert_eq!(drain(disk.read(id, 0, 9)), Err(Damaged));
    assert!(check(&other, other.find(1)[0].id).is_some());
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = Temporary::new();
    let path = folder.path();
    drop(open(path, ROOMY));
    let id_of = |disk: &Arc<Disk>| disk.find(1)[0].id;
    let foreign = [
        "notes",
        "new/notes",
        "new/0000000000000x",
        "objects-00000001/00/notes",
        "objects-00000001/notes",
        "ff/notes",
        "20240101/notes",
    ];
    for name in foreign {
        let path = path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "mine").unwrap();
    }
    // As ours would be called, but in the wrong place, or a folder, or a link.
    let disk = open(path, ROOMY);
    store(&disk, 1, 1, 100, &[]);
    drop(disk);
    let is_ours = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains("-0000");
    let ours = objects(path).into_iter().find(is_ours).unwrap();
    let name = ours.file_name().unwrap().to_str().unwrap().to_owned();
    let wrong = path.join("objects-00000001/77").join(&name);
    fs::create_dir_all(wrong.parent().unwrap()).unwrap();
    fs::write(&wrong, "mine").unwrap();
    let link = ours.with_file_name(name.replace("-64-", "-65-"));
    symlink(path.join("notes"), &link).unwrap();
    fs::create_dir(ours.with_file_name(name.replace("-64-", "-66-"))).unwrap();
    let disk = open(path, ROOMY);
    assert_eq!(disk.stats().objects, 1);
    assert!(check(&disk, id_of(&disk)).is_some());
    disk.clear();
    until("what was cleared is deleted", || !ours.exists());
    until("and counted", || disk.stats().bytes == 0);
    for name in foreign {
        assert_eq!(fs::read(path.join(name)).unwrap(), b"mine", "{name}");
    }
    assert!(wrong.exists() && fs::symlink_metadata(link).is_ok());
}

#[test]
fn an_error_of_the_disk_loses_objects_and_nothing_else() {
    let folder = Temporary::new();
    let disk = open(folder.path(), ROOMY);
    let [kept, lost, replaced] = [1, 2, 4].map(|key: u64| store(&disk, u128::from(key), key, 100, &[]));
    fs::rename(folder.path().join("new"), folder.path().join("away")).unwrap();
    fs::write(folder.path().join("new"), "no folder").unwrap();
    // It is whole before the first of it is written: who is told that it was given up takes out what it was to replace.
    let stalled = Stalled::new(disk.clone());
    assert!(write(&disk, 3, 3, 3000, &[replaced]));
    drop(stalled);
    until("it was given up", || disk.stats().given_up == 1);
    until_written(&disk);
    assert_eq!((disk.stats().io_errors, disk.find(3)), (1, Vec::new()));
    // A moment after it is counted.
    until("what it was to replace, which is older, is gone", || check(&disk, replaced).is_none());
    assert!(check(&disk, kept).is_some());
    fs::remove_file(folder.path().join("new")).unwrap();
    fs::rename(folder.path().join("away"), folder.path().join("new")).unwrap();
    store(&disk, 3, 3, 3000, &[]);
    // Deleted behind our back.
    for file in objects(folder.path()).iter().filter(|file| file.to_str().unwrap().contains("0002-")) {
        fs::remove_file(file).unwrap();
    }
    assert!(check(&disk, lost).is_none() && disk.find(2).is_empty());
    balance(&disk, folder.path());
    assert!(check(&disk, kept).is_some());
}

/// As somebody does who wants the room back.
#[test]
fn folder_that_was_emptied_is_written_to_again() {
    let folder = Temporary::new();
    let disk = open(folder.path(), ROOMY);
    let empty = || {
        for entry in fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.unwrap();
        }
    };
    store(&disk, 1, 1, 1000, &[]);
    empty();
    let id = store(&disk, 2, 2, 1000, &[]);
    assert!(check(&disk, id).is_some());
    let is_locked = |disk: io::Result<Arc<Disk>>| disk.unwrap_err().kind() == io::ErrorKind::WouldBlock;
    assert!(is_locked(Disk::open(&options(folder.path(), ROOMY))), "another could have the folder too");
    // Where another was faster, it has it alone.
    empty();
    let other = open(folder.path(), ROOMY);
    assert!(write(&disk, 3, 3, 1000, &[]));
    until("it was given up", || disk.stats().given_up == 1);
    store(&other, 4, 4, 1000, &[]);
    assert_eq!(objects(folder.path()).len(), 1);
}

/// Who purges has an answer once it is through, and the process may be killed then.
#[test]
fn object_without_its_newer_head_is_gone_at_once() {
    for is_full in [true, false] {
        let folder = Temporary::new();
        let disk = open(folder.path(), 16 << 10);
        let id = store(&disk, 1, 3, 1000, &[]);
        let file = objects(folder.path()).remove(0);
        if !is_full {
            // What is a link is not written to.
            fs::rename(&file, folder.path().join("elsewhere")).unwrap();
            symlink(folder.path().join("elsewhere"), &file).unwrap();
        }
        // No other thread deletes anything any more.
        disk.close();
        let note = "x".repeat(if is_full { 60_000 } else { 10 });
        crate::cache::disk::visit::apply(&disk.shared, id, Visit::Update(meta(3, 1000, &note)));
        assert!(disk.find(1).is_empty() && fs::symlink_metadata(&file).is_err(), "{is_full}");
    }
}

/// What was removed must not be there again at the next start: the end of the program waits for the files to go.
#[test]
fn finishing_keeps_what_was_written_and_deletes_what_was_removed() {
    let folder = Temporary::new();
    let disk = open(folder.path(), ROOMY);
    let removed: Vec<Id> = (0..50).map(|key| store(&disk, key, 3, 1000, &[])).collect();
    removed.into_iter().for_each(|id| disk.remove(id));
    assert!(write(&disk, 100, 4, 1000, &[]));
    // Somebody still has it, as a reading would.
    disk.ending().finish(Duration::from_secs(30));
    assert_eq!(objects(folder.path()).len(), 1);
    assert_eq!(open(folder.path(), ROOMY).find(100).len(), 1);
}
