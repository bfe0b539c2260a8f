//! What a crash must not do, one by one.

use super::{
    life::Life,
    simulated::{SimulatedDisk, Tear},
    *,
};
use crate::writeback::journal::refused;

/// Each with another kind of luck.
fn disks() -> impl Iterator<Item = SimulatedDisk> {
    let tears = |seed| [Tear::InOrder, Tear::InPieces].map(|tear| SimulatedDisk::new(seed, tear));
    (0..20).flat_map(tears)
}

/// The record of a delivery was written and not synced when the process was killed. The next one reads it, and takes
/// the write for delivered: a loss of power later on must not bring it back, behind what has come meanwhile.
#[test]
fn what_a_start_has_read_is_durable() {
    for disk in disks() {
        let mut life = Life::open(&disk, PLENTY).unwrap();
        for uri in ["/a", "/waits"] {
            life.append(write(uri, b"")).unwrap();
        }
        life.take("/a").delivered();
        life.turn(false);
        drop(life);
        disk.kill();
        let life = Life::open(&disk, PLENTY).unwrap();
        assert_eq!(life.uris(), ["/waits"]);
        drop(life);
        disk.lose_power();
        assert_eq!(Life::open(&disk, PLENTY).unwrap().uris(), ["/waits"]);
    }
}

/// An old write was copied behind a newer one of its URI, and both were delivered. The segment of the newer one must not
/// go while the record that completes the older one can be lost: the older one alone would be delivered again, over it.
#[test]
fn an_old_write_never_returns_without_the_newer() {
    for disk in disks() {
        let mut life = Life::open(&disk, 1000).unwrap();
        life.append(write("/a", b"1")).unwrap();
        life.append(write("/full", &[0; 1000])).unwrap();
        life.take("/full").delivered();
        life.append(write("/a", &[b'2'; 1000])).unwrap();
        life.reclaim_oldest();
        assert_eq!(life.journal.stats().moved, 1);
        for _ in 0..2 {
            life.take("/a").delivered();
        }
        life.turn(false);
        drop(life);
        disk.lose_power();
        let life = Life::open(&disk, 1000).unwrap();
        let newest = life.journal.latest(b"/a");
        assert!(newest.is_none_or(|it| it.write.body[0] == b'2'), "the older one came back alone");
    }
}

/// The copy of a damaged segment is for people, and is whole whenever it is there; the segment goes only after it.
#[test]
fn a_damaged_segment_outlives_its_unfinished_copy() {
    for (number, disk) in disks().enumerate() {
        let mut life = Life::open(&disk, PLENTY).unwrap();
        life.append(write("/a", &[b'x'; 3000])).unwrap();
        life.stop();
        // In the record, and in both of the headers, after which nothing is left of the segment.
        let segment = "00000000000000000001.journal";
        let places: &[usize] = if number % 2 == 0 { &[100] } else { &[10, 42] };
        places.iter().for_each(|at| disk.damage(segment, *at));
        let whole = disk.contents(segment).unwrap();
        for operation in 1..20 {
            disk.stop_at(disk.operations() + operation);
            drop(Life::open(&disk, PLENTY));
            disk.lose_power();
            let copy = disk.contents("00000000000000000001.damaged");
            assert!(copy.as_ref().is_none_or(|copy| *copy == whole), "a part of a copy");
            assert!(copy.is_some() || disk.contents(segment).is_some(), "neither is there");
        }
        drop(Life::open(&disk, PLENTY).unwrap());
        assert_eq!(disk.contents("00000000000000000001.damaged").unwrap(), whole);
    }
}

/// What the origin refused is noted before what came behind it counts: else it would be gone without a trace.
#[test]
fn refused_writes_survive_an_unwritable_file() {
    for disk in disks() {
        let mut life = Life::open(&disk, PLENTY).unwrap();
        for body in [b"poison", b"behind"] {
            life.append(write("/a", body)).unwrap();
        }
        life.take("/a").set_aside("no");
        disk.close(refused::NAME);
        life.turn(true);
        life.take("/a").delivered();
        life.turn(true);
        drop(life);
        disk.kill();
        let life = Life::open(&disk, PLENTY).unwrap();
        assert_eq!((life.uris().len(), disk.contents(refused::NAME)), (2, None));
    }
}

/// The directory could not be synced after an old segment had been removed: those behind it can go all the same.
#[test]
fn a_segment_that_is_gone_keeps_none_behind_it() {
    for disk in disks() {
        let mut life = Life::open(&disk, 1).unwrap();
        for operation in 1..=20 {
            life.append(write("/a", b"")).unwrap();
            life.take("/a").delivered();
            disk.fail_at(vec![disk.operations() + operation % 9]);
            life.turn(true);
        }
        life.append(write("/a", b"")).unwrap();
        life.stop();
        let segments = disk.names().into_iter().filter(|name| name.ends_with(".journal")).count();
        assert!(segments <= 3, "{:?}", disk.names());
    }
}

/// Whoever got the answer that the disk failed must not find their write delivered after a restart: at the stop at the latest,
/// another segment says what of the abandoned one does not count.
#[test]
fn failed_appends_are_not_delivered_after_a_stop() {
    for disk in disks() {
        let mut life = Life::open(&disk, PLENTY).unwrap();
        life.append(write("/a", b"")).unwrap();
        // The group is written in part and cannot be cut off; nor can the next segment be made, at first.
        let now = disk.operations();
        disk.fail_at(vec![now + 1, now + 2, now + 3]);
        let group = [write("/refused", b""), write("/refused", &[0; 3000])];
        let appended = group.map(|write| life.journal.begin(write).unwrap());
        life.turn(false);
        appended.into_iter().for_each(|mut one| assert!(one.try_recv().unwrap().is_err()));
        life.stop();
        disk.kill();
        assert_eq!(Life::open(&disk, PLENTY).unwrap().uris(), ["/a"]);
    }
}
