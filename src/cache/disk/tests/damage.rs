//! Files that are not as they were written: a miss, counted, and gone; never other bytes.

use super::*;

/// Two blocks, and a bit.
const LENGTH: u64 = 1100;

/// Stores an object, does something to its file, and asks for it. The object is whole or gone, as it must be.
fn after(disk: &Arc<Disk>, folder: &Path, harm: &dyn Fn(&mut Vec<u8>)) -> bool {
    let damaged = disk.stats().damaged;
    let id = store(disk, 1, 9, LENGTH, &[]);
    let file = objects(folder).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    harm(&mut bytes);
    fs::write(&file, bytes).unwrap();
    let is_right = check(disk, id).is_some();
    if is_right {
        disk.remove(id);
    }
    assert_eq!(disk.find(1), []);
    assert_eq!(disk.stats().damaged - damaged, u64::from(!is_right));
    balance(disk, folder);
    is_right
}

#[test]
fn a_flipped_bit_anywhere_is_a_miss() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 1 << 20);
    assert!(after(&disk, folder.path(), &|_| {}), "without harm it is right");
    store(&disk, 1, 9, LENGTH, &[]);
    let length = fs::metadata(&objects(folder.path())[0]).unwrap().len() as usize;
    disk.remove_key(1);
    balance(&disk, folder.path());
    for at in 0..length {
        assert!(!after(&disk, folder.path(), &|bytes| bytes[at] ^= 1 << (at % 8)), "byte {at} of {length}");
    }
}

#[test]
fn a_truncated_file_is_a_miss_a_longer_one_not() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 1 << 20);
    for cut in (1..1180).step_by(13) {
        let cut_off = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - cut);
        assert!(!after(&disk, folder.path(), &cut_off), "{cut} bytes less");
    }
    // What a power cut leaves of a file whose name came to disk before its bytes.
    assert!(!after(&disk, folder.path(), &|bytes| bytes.fill(0)));
    // What a kill in the middle of an update leaves.
    assert!(after(&disk, folder.path(), &|bytes| bytes.extend_from_slice(b"half a head")));
}

#[test]
fn blocks_of_another_place_or_another_object_are_a_miss() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 1 << 20);
    let swap = |bytes: &mut Vec<u8>| {
        let (one, other) = bytes.split_at_mut(520);
        one.swap_with_slice(&mut other[..520]);
    };
    assert!(!after(&disk, folder.path(), &swap));
    // The same key, the same bytes, but another time.
    store(&disk, 1, 9, LENGTH, &[]);
    let older = fs::read(&objects(folder.path())[0]).unwrap();
    disk.remove_key(1);
    balance(&disk, folder.path());
    assert!(!after(&disk, folder.path(), &|bytes| bytes.clone_from(&older)));
}

#[test]
fn a_damaged_block_ends_the_body_before_it() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 1 << 20);
    let id = store(&disk, 1, 9, LENGTH, &[]);
    let file = objects(folder.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[520] ^= 1;
    fs::write(&file, bytes).unwrap();
    // A range that does not touch it is right; one that does ends there.
    assert_eq!(drain(disk.read(id, 3, 400)).unwrap(), body(9, LENGTH)[3..400]);
    let mut reading = disk.read(id, 0, LENGTH);
    let mut next = || wait(std::future::poll_fn(|cx| reading.poll_next(cx)));
    assert_eq!(next().unwrap().unwrap(), body(9, LENGTH)[..512]);
    assert_eq!((next(), next()), (Some(Err(Damaged)), None));
    until("it is gone", || disk.find(1).is_empty());
}

#[test]
fn a_damaged_file_is_found_out_after_a_restart_too() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 1 << 20);
    (0..8).for_each(|key| assert!(write(&disk, key, 9, LENGTH, &[])));
    until_written(&disk);
    drop(disk);
    for (number, file) in objects(folder.path()).iter().enumerate() {
        let mut bytes = fs::read(file).unwrap();
        bytes[number * 150] ^= 0x80;
        bytes.truncate(LENGTH as usize + 80 * (number % 3));
        fs::write(file, bytes).unwrap();
    }
    let disk = open(folder.path(), 1 << 20);
    assert_eq!(disk.stats().objects, 8);
    for key in 0..8 {
        assert_eq!(check(&disk, disk.find(key)[0].id), None);
        assert_eq!(disk.find(key), []);
    }
    balance(&disk, folder.path());
    assert_eq!((disk.stats().damaged, disk.stats().objects), (8, 0));
}

/// The name of an update that is on disk, and bytes of it that are not: where it was to go, the head before the last one
/// lies, which was whole once.
#[test]
fn an_older_head_in_place_of_the_newest_misses() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 1 << 20);
    let id = store(&disk, 1, 9, LENGTH, &[]);
    let whole = || fs::read(&objects(folder.path())[0]).unwrap();
    let first = whole();
    for note in ["+", "#"] {
        disk.update(id, meta(9, LENGTH, note));
        until_written(&disk);
    }
    assert_eq!(whole().len(), first.len(), "it is where the first one was");
    assert_eq!(check(&disk, id).unwrap().2, "#");
    drop(disk);
    let last = whole();
    let path = objects(folder.path()).remove(0);
    fs::write(&path, &first).unwrap();
    let disk = open(folder.path(), 1 << 20);
    assert_eq!(check(&disk, disk.find(1)[0].id), None);
    balance(&disk, folder.path());
    drop(disk);
    // The newest in its place is believed.
    fs::write(&path, &last).unwrap();
    let disk = open(folder.path(), 1 << 20);
    assert_eq!(check(&disk, disk.find(1)[0].id).unwrap().2, "#");
}

#[test]
fn files_of_versions_without_marks_are_read() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 1 << 20);
    let id = store(&disk, 1, 9, LENGTH, &[]);
    disk.update(id, meta(9, LENGTH, "+"));
    until_written(&disk);
    drop(disk);
    let path = objects(folder.path()).remove(0);
    let name = path.file_name().unwrap().to_str().unwrap();
    let (name, _mark) = name.rsplit_once('-').unwrap();
    fs::rename(&path, path.with_file_name(name)).unwrap();
    let disk = open(folder.path(), 1 << 20);
    let id = disk.find(1)[0].id;
    assert_eq!(check(&disk, id).unwrap().2, "+");
    disk.update(id, meta(9, LENGTH, "#"));
    until_written(&disk);
    assert_eq!(check(&disk, id).unwrap().2, "#");
    balance(&disk, folder.path());
}

/// As where descriptors are used up: whoever has all looked through is told that what was meant is gone.
#[test]
fn what_cannot_be_opened_goes_when_all_are_looked_through() {
    let looks: [fn(&Disk); 2] =
        [|disk| disk.visit(&mut |_| Visit::Keep), |disk| disk.visit_uris(&[1].into(), &mut |_| Visit::Keep)];
    for look in looks {
        let folder = Temporary::new();
        let disk = open(folder.path(), 1 << 20);
        let id = store(&disk, 1, 9, LENGTH, &[]);
        let file = objects(folder.path()).remove(0);
        let aside = folder.path().join("aside");
        fs::rename(&file, &aside).unwrap();
        // A link is not followed, and is no missing file either.
        std::os::unix::fs::symlink(&aside, &file).unwrap();
        assert_eq!(wait(disk.head(id)), None);
        assert_eq!(disk.find(1).len(), 1, "the object is not to blame");
        look(&disk);
        assert!(disk.find(1).is_empty() && file.symlink_metadata().is_err());
    }
}
