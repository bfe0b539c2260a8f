//! Many threads at once: whoever reads has right bytes or none, and in the end all is counted.

use std::{sync::atomic::AtomicBool, thread};

use super::*;

const KEYS: u64 = 16;

#[test]
fn readers_have_right_bytes_whatever_happens_to_the_object() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 256 << 10);
    let is_over = AtomicBool::new(false);
    let whole = AtomicU32::new(0);
    thread::scope(|scope| {
        for reader in 0..3_u64 {
            let (disk, is_over, whole) = (&disk, &is_over, &whole);
            scope.spawn(move || {
                let mut chance = Rng::new(reader);
                while !is_over.load(Relaxed) {
                    for found in disk.find(u128::from(chance.below(KEYS))) {
                        let read = wait(disk.head(found.id)).map(|meta| read_meta(&meta));
                        let Some((seed, length, _)) = read else { continue };
                        assert_eq!(length, found.length);
                        let (from, to) = (chance.below(length + 1), chance.below(length + 1));
                        if let Ok(bytes) = drain(disk.read(found.id, from, to)) {
                            let right = body(seed, length);
                            assert!(
                                bytes == right[from.min(to) as usize..to as usize]
                                    || from >= to && bytes.is_empty()
                            );
                            whole.fetch_add(1, Relaxed);
                        }
                        disk.touch(found.id);
                    }
                }
            });
        }
        let writers: Vec<_> = (0..3_u64)
            .map(|writer| {
                let disk = &disk;
                scope.spawn(move || {
                    let mut chance = Rng::new(100 + writer);
                    for round in 0..600 {
                        // All that is under way at once must have room.
                        until("there is room", || disk.stats().waiting < 60_000);
                        let key = u128::from(chance.below(KEYS));
                        let found: Vec<_> = disk.find(key).iter().map(|found| found.id).collect();
                        match (chance.below(6), found.first()) {
                            (0, Some(id)) => disk.remove(*id),
                            (1 | 2, Some(id)) => {
                                let Some(meta) = wait(disk.head(*id)) else { continue };
                                let (seed, length, _) = read_meta(&meta);
                                let note = "n".repeat(chance.below(300) as usize);
                                disk.update(*id, super::meta(seed, length, &note));
                            }
                            (3, _) if round % 50 == 0 => disk.clear(),
                            (4, _) if round % 50 == 0 => disk.visit(&mut |_| Visit::Remove),
                            _ => {
                                write(disk, key, chance.next_number(), chance.below(40_000), &found);
                            }
                        }
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        is_over.store(true, Relaxed);
    });
    balance(&disk, folder.path());
    let stats = disk.stats();
    assert_eq!((stats.damaged, stats.io_errors), (0, 0), "{stats:?}");
    assert!(stats.evicted > 0 && whole.into_inner() > 100, "{stats:?}");
}

#[test]
fn an_object_is_found_while_its_head_is_renewed() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 1 << 20);
    let id = store(&disk, 1, 1, 2_000, &[]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Longer and shorter heads: behind the one in force, and in the place of an older one.
            for round in 0..3_000_usize {
                disk.update(id, meta(1, 2_000, &"n".repeat(round % 7 * 40)));
                until_written(&disk);
            }
            is_over.store(true, Relaxed);
        });
        while !is_over.load(Relaxed) {
            assert!(check(&disk, id).is_some(), "{:?}", disk.stats());
        }
    });
    balance(&disk, folder.path());
    let stats = disk.stats();
    assert_eq!((stats.objects, stats.damaged, stats.io_errors), (1, 0, 0), "{stats:?}");
}

#[test]
fn a_reading_survives_the_removal_of_its_object() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 1 << 20);
    let id = store(&disk, 1, 1, 200_000, &[]);
    let mut reading = disk.read(id, 0, u64::MAX);
    let first = wait(std::future::poll_fn(|cx| reading.poll_next(cx))).unwrap().unwrap();
    disk.remove(id);
    balance(&disk, folder.path());
    assert!(objects(folder.path()).is_empty());
    let rest = drain(reading).unwrap();
    assert!([&first[..], &rest].concat() == body(1, 200_000));
}

#[test]
fn a_slow_reader_holds_only_a_few_blocks() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 1 << 20);
    let id = store(&disk, 1, 1, 100_000, &[]);
    let mut reading = disk.read(id, 0, u64::MAX);
    let first = wait(std::future::poll_fn(|cx| reading.poll_next(cx))).unwrap().unwrap();
    assert_eq!(first.len(), 512);
    // Jobs are done one after the other: when later ones are, nothing more is read for this one.
    (0..20).for_each(|_| assert!(check(&disk, id).is_some()));
    assert!(reading.stream.ready_blocks() <= 4);
    drop(reading);
    drop(disk);
    drop(open(folder.path(), 1 << 20));
}
