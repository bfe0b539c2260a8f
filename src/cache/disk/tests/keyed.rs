//! Objects by what is known of their keys.

use std::{collections::HashSet, sync::Mutex};

use super::{judged::Says, *};

fn store_keyed(disk: &Arc<Disk>, key: u128, seed: u64, keyed: Keyed) {
    let mut writing = disk.begin(key, meta(seed, 10, "-"), Some(10)).unwrap();
    assert!(writing.push(Bytes::from(body(seed, 10))));
    let judge = Arc::new(Says(Mutex::default()));
    writing.finish_before(&[], keyed, (judge, Finished { purges: 0, writes: 0 }));
    until_written(disk);
}

/// The seeds of what is shown, in order.
fn seeds(show: impl FnOnce(&mut dyn FnMut(&[u8]) -> Visit)) -> Vec<u64> {
    let mut seeds = Vec::new();
    show(&mut |meta| {
        seeds.push(read_meta(meta).0);
        Visit::Keep
    });
    seeds.sort_unstable();
    seeds
}

fn seeds_of<const N: usize>(disk: &Disk, keys: [u128; N]) -> Vec<u64> {
    seeds(|visit| disk.visit_uris(&HashSet::from(keys), visit))
}

#[test]
fn a_uri_is_looked_for_under_its_key_and_elsewhere() {
    let folder = Temporary::new();
    let mut disk = open(folder.path(), 1 << 20);
    for (key, seed, keyed) in [
        (1, 10, Keyed::Uri),
        (1, 11, Keyed::Uri),
        (1, 12, Keyed::Unknown),
        (2, 20, Keyed::Uri),
        (3, 30, Keyed::Fields),
        (4, 40, Keyed::Unknown),
    ] {
        store_keyed(&disk, key, seed, keyed);
    }
    // A new head keeps what is known.
    let id = disk.find(3).first().unwrap().id;
    disk.update(id, meta(30, 10, "newer"));
    until_written(&disk);
    for _ in 0..2 {
        assert!(!disk.visit_uri(2, &mut |_| panic!("it may be anywhere")));
        assert_eq!(seeds_of(&disk, [1]), [10, 11, 12, 30, 40]);
        assert_eq!(seeds_of(&disk, [2]), [12, 20, 30, 40]);
        assert_eq!(seeds_of(&disk, [1, 2]), [10, 11, 12, 20, 30, 40]);
        assert_eq!(seeds_of(&disk, []), [12, 30, 40]);
        assert_eq!(seeds(|visit| disk.visit(visit)), [10, 11, 12, 20, 30, 40]);
        assert!(disk.may_have_fields());
        drop(disk);
        disk = open(folder.path(), 1 << 20);
    }
    disk.remove_key(3);
    assert!(!disk.may_have_fields());
    disk.remove_key(4);
    disk.visit_uris(&HashSet::new(), &mut |_| Visit::Remove);
    assert_eq!(seeds(|visit| assert!(disk.visit_uri(1, visit))), [10, 11]);
    assert_eq!(seeds_of(&disk, [1]), [10, 11]);
    disk.remove_key(1);
    assert!(seeds(|visit| assert!(disk.visit_uri(1, visit))).is_empty());
    store_keyed(&disk, 3, 31, Keyed::Fields);
    disk.clear();
    assert!(!disk.may_have_fields());
}
