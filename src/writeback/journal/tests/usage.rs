//! What callers see.

use std::{os::unix::fs::PermissionsExt, sync::Barrier};

use super::*;

#[test]
fn a_write_is_found_delivered_and_gone() {
    let scratch = Scratch::new();
    let journal = open(&scratch);
    assert!(journal.latest(b"/a").is_none());
    let first = append(&journal, write("/a", b"one")).unwrap();
    let second = append(&journal, write("/a", b"two")).unwrap();
    assert!(first < second);
    assert_eq!(journal.latest(b"/a").unwrap().write.body, "two");
    assert!(journal.latest(b"/b").is_none());
    let delivery = take(&journal).unwrap();
    assert_eq!((delivery.id(), &delivery.write().body[..]), (first, &b"one"[..]));
    assert!(take(&journal).is_none(), "two of one URI are under way");
    delivery.delivered();
    assert_eq!(journal.latest(b"/a").unwrap().id, second);
    take(&journal).unwrap().delivered();
    assert!(journal.latest(b"/a").is_none());
    let stats = journal.stats();
    assert_eq!((stats.entries, stats.bytes, stats.appended, stats.oldest), (0, 0, 2, None));
}

#[test]
fn undelivered_writes_outlive_the_program_delivered_ones_do_not() {
    let scratch = Scratch::new();
    let journal = open(&scratch);
    for body in [&b"1"[..], b"2", b"3"] {
        append(&journal, write("/a", body)).unwrap();
    }
    take(&journal).unwrap().delivered();
    take(&journal).unwrap().failed(Moment(0));
    drop(journal);
    let journal = open(&scratch);
    assert_eq!(journal.latest(b"/a").unwrap().write.body, "3");
    let bodies: Vec<_> = drain(&journal).into_iter().map(|(_, _, body)| body).collect();
    assert_eq!(bodies, [b"2", b"3"]);
    drop(journal);
    let journal = open(&scratch);
    assert_eq!(drain(&journal), []);
    let fourth = append(&journal, write("/a", b"4")).unwrap();
    assert!(fourth.0 > 3, "a number is used again: {fourth:?}");
}

#[test]
fn a_full_journal_has_room_again_after_a_delivery() {
    let scratch = Scratch::new();
    let one = write("/a", &[0; 1000]).cost();
    let journal = Journal::open(&scratch.options(2 * one, 1 << 20)).unwrap();
    assert!(matches!(append(&journal, write("/a", &[0; 9000])), Err(AppendError::TooLarge)));
    append(&journal, write("/a", &[0; 1000])).unwrap();
    append(&journal, write("/b", &[0; 1000])).unwrap();
    assert!(matches!(append(&journal, write("/c", &[0; 1000])), Err(AppendError::Full)));
    assert!(journal.latest(b"/c").is_none());
    assert_eq!(journal.stats().bytes, 2 * one);
    take(&journal).unwrap().delivered();
    append(&journal, write("/c", &[0; 1000])).unwrap();
    drop(journal);
    // A lower limit takes nothing away.
    let journal = Journal::open(&scratch.options(one, 1 << 20)).unwrap();
    assert!(matches!(append(&journal, write("/d", b"")), Err(AppendError::Full)));
    assert_eq!(drain(&journal).len(), 2);
    append(&journal, write("/d", b"")).unwrap();
}

#[test]
fn a_folder_has_one_process_and_is_private() {
    let scratch = Scratch::new();
    let journal = open(&scratch);
    let second = Journal::open(&Options::new(&scratch.0, PLENTY)).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::WouldBlock);
    append(&journal, write("/a", b"secret")).unwrap();
    take(&journal).unwrap().set_aside("404");
    drop(journal);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scratch.0), 0o700);
    let files: Vec<_> = fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    files.iter().for_each(|path| assert_eq!(mode(path), 0o600, "{path:?}"));
    drop(open(&scratch));
}

#[test]
fn refused_writes_are_kept_for_people_and_block_nobody() {
    let scratch = Scratch::new();
    let journal = open(&scratch);
    append(&journal, write("/a", b"poison")).unwrap();
    append(&journal, write("/a", b"\xff\0")).unwrap();
    append(&journal, write("/a", b"good")).unwrap();
    take(&journal).unwrap().set_aside("422: no");
    take(&journal).unwrap().set_aside("413");
    assert_eq!(drain(&journal)[0].2, b"good");
    drop(journal);
    let lines = scratch.refused();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["why"], &lines[0]["body"]), (&"422: no".into(), &"poison".into()));
    assert_eq!((&lines[1]["target"], &lines[1]["body"]["hex"]), (&"/a".into(), &"ff00".into()));
    assert_eq!(drain(&open(&scratch)), []);
}

#[test]
fn the_file_of_refused_writes_does_not_fill_the_disk() {
    let scratch = Scratch::new();
    let limit = 3 * write("/a", &[b'x'; 1000]).cost();
    let journal = Journal::open(&scratch.options(limit, 1 << 20)).unwrap();
    for _ in 0..20 {
        append(&journal, write("/a", &[b'x'; 1000])).unwrap();
        take(&journal).unwrap().set_aside("no");
    }
    drop(journal);
    let lines = scratch.refused();
    assert_eq!(lines.len(), 20, "each is noted");
    assert!(lines.iter().filter(|line| line["body"].is_null()).count() > 10);
    assert!(lines[0]["body"].is_string());
}

#[test]
fn a_delivery_that_is_dropped_has_failed() {
    let scratch = Scratch::new();
    let journal = open(&scratch);
    append(&journal, write("/a", b"")).unwrap();
    drop(take(&journal).unwrap());
    assert_eq!(journal.stats().failed, 1);
    let Next::Wait(Some(at)) = journal.poll(Moment::now()) else { panic!("no backoff") };
    assert!(at > Moment::now());
    assert_eq!(take(&journal).unwrap().attempts(), 1);
}

#[test]
fn waiters_wake_at_appends_deliveries_and_ends_of_backoff() {
    let scratch = Scratch::new();
    let journal = open(&scratch);
    wait(async {
        let (first, appended) = tokio::join!(journal.next(), journal.append(write("/a", b"1")));
        assert_eq!(first.id(), appended.unwrap());
        journal.append(write("/a", b"2")).await.unwrap();
        let waiting = tokio::join!(journal.next(), async { first.delivered() }).0;
        assert_eq!(waiting.write().body, "2");
        let began = Moment::now();
        waiting.failed(began);
        assert_eq!(journal.next().await.attempts(), 1);
        assert!(Moment::now().since(began) >= Duration::from_millis(750));
    });
}

#[test]
fn several_who_wait_get_one_each() {
    let scratch = Scratch::new();
    let journal = open(&scratch);
    wait(async {
        let appends = async {
            let all = ["/a", "/b", "/c"].map(|uri| journal.append(write(uri, b"")));
            for one in all {
                one.await.unwrap();
            }
        };
        let (a, b, c, ()) = tokio::join!(journal.next(), journal.next(), journal.next(), appends);
        let mut ids = [a.id(), b.id(), c.id()];
        ids.sort();
        assert!(ids[0] < ids[1] && ids[1] < ids[2]);
    });
}

#[test]
fn writes_that_come_together_share_a_sync() {
    let scratch = Scratch::new();
    let journal = open(&scratch);
    let all: Vec<_> = (0..500).map(|at| journal.append(write(&format!("/{at}"), b"body"))).collect();
    wait(async {
        for one in all {
            one.await.unwrap();
        }
    });
    let stats = journal.stats();
    assert_eq!(stats.appended, 500);
    assert!(stats.syncs < 250, "{} syncs", stats.syncs);
}

#[test]
fn a_stuck_uri_does_not_hold_up_others() {
    let scratch = Scratch::new();
    let segment = 8 << 10;
    let journal = Journal::open(&scratch.options(PLENTY, segment)).unwrap();
    append(&journal, write("/stuck", b"old")).unwrap();
    let stuck = take(&journal).unwrap();
    append(&journal, write("/stuck", b"new")).unwrap();
    for at in 0..300 {
        append(&journal, write("/busy", &[b'x'; 1000])).unwrap();
        take(&journal).unwrap().delivered();
        let stats = journal.stats();
        assert!(stats.disk < 8 * segment, "{at}: {stats:?}");
        assert!(scratch.segments().len() < 10);
    }
    assert!(journal.stats().moved >= 2);
    drop(stuck);
    drop(journal);
    let journal = open(&scratch);
    let left = drain(&journal);
    assert_eq!(
        left.iter().map(|one| (&*one.1, &one.2[..])).collect::<Vec<_>>(),
        [("/stuck", &b"old"[..]), ("/stuck", b"new")]
    );
}

#[test]
fn keys_are_never_the_same() {
    let (one, other) = (Scratch::new(), Scratch::new());
    let (one, other) = (open(&one), open(&other));
    let keys = [one.new_key(), one.new_key(), other.new_key(), other.new_key()];
    let different: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(different.len(), 4, "{keys:?}");
}

/// The last who had it gives it a write and lets go of it, while somebody looks whether it is needed.
#[test]
fn whoever_lets_go_of_a_journal_leaves_it_needed() {
    let scratch = Scratch::new();
    let journal = open(&scratch);
    let turns = Barrier::new(2);
    std::thread::scope(|scope| {
        let (turns, weak) = (&turns, Arc::downgrade(&journal));
        let giver = scope.spawn(move || {
            for _ in 0..20_000 {
                let journal = weak.upgrade().unwrap();
                turns.wait();
                assert!(journal.shared.index().reserve(1, PLENTY));
                drop(journal);
                turns.wait();
            }
        });
        let mut unneeded = 0;
        for _ in 0..20_000 {
            turns.wait();
            let is_needed = (0..50).all(|_| journal.is_needed(1));
            turns.wait();
            journal.shared.index().release(1);
            unneeded += u32::from(!is_needed);
        }
        giver.join().unwrap();
        assert_eq!(unneeded, 0);
    });
}
