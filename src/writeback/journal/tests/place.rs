//! A folder, or what is in it, that somebody takes away while the journal is open: nothing is accepted into what no start
//! would find.

use super::*;

fn is_refused(journal: &Journal) -> bool {
    matches!(append(journal, write("/a", b"lost")), Err(AppendError::Io(_)))
}

fn bodies(scratch: &Scratch) -> Vec<Vec<u8>> {
    contents(&scratch.0).0.into_iter().map(|(_, _, body)| body).collect()
}

#[test]
fn a_moved_folder_takes_nothing_until_it_is_back() {
    for is_replaced in [false, true] {
        let (scratch, aside) = (Scratch::new(), Scratch::new());
        let journal = open(&scratch);
        append(&journal, write("/a", b"before")).unwrap();
        fs::rename(&scratch.0, &aside.0).unwrap();
        if is_replaced {
            fs::create_dir(&scratch.0).unwrap();
        }
        (0..3).for_each(|_| assert!(is_refused(&journal), "{is_replaced}"));
        assert!(journal.stats().errors >= 3);
        assert_eq!(journal.latest(b"/a").unwrap().write.body, "before");
        if is_replaced {
            assert!(scratch.segments().is_empty(), "{:?}", scratch.segments());
            fs::remove_dir(&scratch.0).unwrap();
        }
        fs::rename(&aside.0, &scratch.0).unwrap();
        append(&journal, write("/a", b"behind")).unwrap();
        drop(journal);
        assert_eq!(bodies(&scratch), [&b"before"[..], b"behind"], "{is_replaced}");
    }
}

/// What was accepted before is delivered from memory, as long as the program runs.
#[test]
fn a_folder_that_was_removed_takes_nothing() {
    let scratch = Scratch::new();
    let journal = open(&scratch);
    append(&journal, write("/a", b"before")).unwrap();
    fs::remove_dir_all(&scratch.0).unwrap();
    assert!(is_refused(&journal));
    // The lock is with the old one: another program may have this.
    fs::create_dir(&scratch.0).unwrap();
    assert!(is_refused(&journal));
    assert_eq!(drain(&journal).len(), 1);
}

#[test]
fn a_segment_that_was_removed_is_followed_by_another() {
    let scratch = Scratch::new();
    let journal = open(&scratch);
    append(&journal, write("/a", b"before")).unwrap();
    scratch.segments().iter().for_each(|segment| fs::remove_file(segment).unwrap());
    assert!(is_refused(&journal));
    append(&journal, write("/a", b"behind")).unwrap();
    drop(journal);
    assert_eq!(bodies(&scratch), [b"behind"]);
}
