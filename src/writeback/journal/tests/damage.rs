//! What crashes and bad disks leave behind.

use super::*;

/// Three writes, in a journal that is closed; the middle one is delivered where `delivered` says so.
fn three(scratch: &Scratch) -> PathBuf {
    let journal = open(scratch);
    for (uri, body) in [("/a", "first"), ("/b", "second"), ("/a", "third")] {
        append(&journal, write(uri, body.as_bytes())).unwrap();
    }
    drop(journal);
    scratch.segments().pop().unwrap()
}

fn bodies(journal: &Arc<Journal>) -> Vec<Vec<u8>> {
    let mut all = drain(journal);
    all.sort();
    all.into_iter().map(|(_, _, body)| body).collect()
}

/// Where the last record of a file begins: the mark is in no body here.
fn last_record(bytes: &[u8]) -> usize {
    memchr::memmem::rfind(bytes, &[0xf5, 0x1d, 0x8a, 0xc7]).unwrap()
}

#[test]
fn only_a_torn_tail_is_cut_off() {
    let scratch = Scratch::new();
    let file = three(&scratch);
    let whole = fs::read(&file).unwrap();
    for length in last_record(&whole)..whole.len() {
        let torn = Scratch::new();
        fs::create_dir(&torn.0).unwrap();
        let copy = torn.0.join(file.file_name().unwrap());
        fs::write(&copy, &whole[..length]).unwrap();
        let journal = open(&torn);
        assert_eq!(journal.stats().damaged, 0, "{length}");
        assert_eq!(fs::metadata(&copy).unwrap().len(), last_record(&whole) as u64);
        // A later one goes behind it, and the tail does not come back.
        append(&journal, write("/a", b"later")).unwrap();
        drop(journal);
        let journal = open(&torn);
        assert_eq!(journal.stats().damaged, 0, "{length}");
        assert_eq!(bodies(&journal), [&b"first"[..], b"second", b"later"], "{length}");
    }
}

#[test]
fn a_flipped_byte_costs_one_write_and_is_reported() {
    let scratch = Scratch::new();
    let file = three(&scratch);
    let whole = fs::read(&file).unwrap();
    let (mut lost_none, mut lost_one) = (0, 0);
    for at in 0..whole.len() {
        let damaged = Scratch::new();
        fs::create_dir(&damaged.0).unwrap();
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        fs::write(damaged.0.join(file.file_name().unwrap()), &flipped).unwrap();
        let journal = open(&damaged);
        let (reported, left) = (journal.stats().damaged, bodies(&journal));
        if left.len() == 3 {
            lost_none += 1;
            assert_eq!(reported, 0, "byte {at}");
            continue;
        }
        lost_one += 1;
        assert_eq!((left.len(), reported), (2, 1), "byte {at}: {left:?}");
        assert!(left.iter().all(|body| [&b"first"[..], b"second", b"third"].contains(&&body[..])));
        let copies = damaged.with_extension("damaged");
        assert_eq!(copies.len(), 1, "byte {at}: nothing is kept for people");
        assert_eq!(fs::read(&copies[0]).unwrap(), flipped);
    }
    assert_eq!((lost_none, lost_one), (64, whole.len() - 64), "only the header is there twice");
}

#[test]
fn a_missing_or_cut_segment_is_noticed() {
    let scratch = Scratch::new();
    let options = scratch.options(PLENTY, 1);
    let journal = Journal::open(&options).unwrap();
    for at in 0..4 {
        append(&journal, write(&format!("/{at}"), b"body")).unwrap();
    }
    drop(journal);
    let segments = scratch.segments();
    assert!(segments.len() >= 4, "{segments:?}");
    let second = fs::read(&segments[1]).unwrap();
    fs::remove_file(&segments[1]).unwrap();
    let (left, damaged) = contents(&scratch.0);
    assert_eq!((left.len(), damaged), (3, 1));
    fs::write(&segments[1], &second[..last_record(&second)]).unwrap();
    let (left, damaged) = contents(&scratch.0);
    assert_eq!((left.len(), damaged), (3, 1));
    fs::write(&segments[1], [0x55; 200]).unwrap();
    let (left, damaged) = contents(&scratch.0);
    assert_eq!((left.len(), damaged), (3, 2), "a lost header, and a gap");
    fs::write(&segments[1], second).unwrap();
    assert_eq!(contents(&scratch.0).1, 0);
}

/// Losing the record that completes a write must not bring it back behind a later one of its URI.
#[test]
fn a_damaged_record_never_reverses_a_uris_order() {
    let scratch = Scratch::new();
    let journal = open(&scratch);
    let first = append(&journal, write("/a", b"1")).unwrap();
    append(&journal, write("/a", b"2")).unwrap();
    append(&journal, write("/b", b"kept")).unwrap();
    assert_eq!(take(&journal).unwrap().id(), first);
    drop(journal);
    let journal = open(&scratch);
    while let Some(delivery) = take(&journal) {
        if &*delivery.write().uri == b"/a" {
            delivery.delivered();
        } else {
            // It is held, so that its segment stays.
            std::mem::forget(delivery);
        }
    }
    // The forgotten one keeps the journal open: what the disk has is looked at as after a crash.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while contents(&scratch.0).0.len() > 1 {
        assert!(std::time::Instant::now() < deadline, "what was delivered is never noted");
    }
    let file = scratch.segments().pop().unwrap();
    let whole = fs::read(&file).unwrap();
    for at in 64..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&file, &flipped).unwrap();
        let (left, damaged) = contents(&scratch.0);
        let bodies: Vec<_> = left.iter().map(|one| &one.2[..]).filter(|body| body != b"kept").collect();
        assert_eq!(damaged, 1, "byte {at}");
        assert!(bodies.is_empty() || bodies == [b"2"], "byte {at}: {bodies:?}");
    }
}

#[test]
fn a_segment_that_was_being_created_is_no_damage() {
    let scratch = Scratch::new();
    let file = three(&scratch);
    let next = file.with_file_name("00000000000000000002.journal");
    for length in [0, 1, 63] {
        fs::write(&next, vec![0; length]).unwrap();
        let (left, damaged) = contents(&scratch.0);
        assert_eq!((left.len(), damaged), (3, 0));
    }
    // As long as a header, and not what it was to be: nothing is written behind one that is not synced.
    fs::write(&next, [1; 64]).unwrap();
    assert_eq!(contents(&scratch.0).1, 0);
    fs::write(&next, [0; 100]).unwrap();
    assert_eq!(contents(&scratch.0).1, 0);
}

#[test]
fn a_record_of_a_later_version_is_not_passed_over() {
    let scratch = Scratch::new();
    let file = three(&scratch);
    let mut bytes = fs::read(&file).unwrap();
    let header = crate::writeback::journal::segment::Header::read(&bytes).unwrap();
    crate::writeback::journal::record::write(header.seed, 4, &mut bytes, |out| out.push(99));
    fs::write(&file, bytes).unwrap();
    let (left, damaged) = contents(&scratch.0);
    assert_eq!((left.len(), damaged), (3, 1));
}

#[test]
fn damaged_records_are_what_was_written_or_nothing() {
    use super::super::{
        entry::{Payload, write_entry},
        record::{self, Found, Records},
    };

    for seed in 0..1000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut bytes, mut written) = (Vec::new(), Vec::new());
        for sequence in 0..rng.u64(1..5) {
            let body: Vec<u8> = (0..rng.usize(0..40)).map(|_| rng.u8(..)).collect();
            let mut payload = Vec::new();
            write_entry(Id(sequence), &write("/a", &body), &mut payload);
            record::write(seed, sequence, &mut bytes, |out| out.extend_from_slice(&payload));
            written.push((sequence, payload));
        }
        for _ in 0..rng.usize(0..4) {
            let at = rng.usize(0..bytes.len());
            match rng.u8(0..3) {
                0 => bytes.truncate(at + 1),
                1 => bytes.insert(at, rng.u8(..)),
                _ => bytes[at] = rng.u8(..),
            }
        }
        // Each step goes on by a byte at least.
        let found: Vec<_> = Records::new(&bytes, seed, 0).take(bytes.len() + 1).collect();
        assert!(found.len() <= bytes.len(), "seed {seed} does not end");
        for one in &found {
            let Found::Record { sequence, payload, .. } = one else { continue };
            assert!(written.contains(&(*sequence, payload.to_vec())), "seed {seed}: nobody wrote {sequence}");
            let Some(Payload::Write(entry)) = Payload::read(payload) else { panic!("seed {seed}: not read") };
            let mut again = Vec::new();
            write_entry(entry.id, &entry.write, &mut again);
            assert_eq!(again, *payload, "seed {seed}");
        }
        // What checksums would keep out is no harm either.
        let cut = rng.usize(0..bytes.len());
        let _ = Payload::read(&bytes[cut..]);
        let (_, mut payload) = written.swap_remove(0);
        let at = rng.usize(0..payload.len());
        payload[at] = rng.u8(..);
        let _ = Payload::read(&payload);
    }
}
