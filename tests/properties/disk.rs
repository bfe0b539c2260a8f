//! What is on disk, which may be damaged.

use super::{damage, field, hold};
use crate::{
    cache::{
        date::Date,
        disk_head::DiskHead,
        freshness::Times,
        key::{Key, KeySettings},
        policy::Policy,
        stored_head::StoredHead,
    },
    h1::{RequestHead, ResponseHead},
};

#[test]
fn a_damaged_head_on_disk_is_nothing_or_a_head() {
    const PIECES: &[&str] = &["max-age=60", "Accept", ", ", "x-a", "no-cache=\"x-a\"", "é"];
    hold("disk::a_head", PIECES, |rng, bytes| {
        let now = Date(1_795_000_000);
        let mut response = ResponseHead { status: 200, ..ResponseHead::default() };
        response.fields = field(rng, "vary", bytes);
        response.fields.push("cache-control", b"max-age=60");
        let times = Times { requested: now, received: now };
        let Ok(entry) = StoredHead::of(&RequestHead::default(), &response, &Policy::default(), times) else {
            return String::new();
        };
        let key = Key::of("http", "a", None, "/", &field(rng, "x-a", bytes), &KeySettings::default());
        let mut head = DiskHead { variant: key.clone(), key, entry, begun: rng.u64(..) }.encode();
        let read = DiskHead::decode(&head).expect("what was written is read");
        assert_eq!(read.encode(), head, "it is written alike");
        damage(rng, &mut head);
        // A damaged one is nothing, or a head that can be kept like any other.
        let damaged = DiskHead::decode(&head).map(|head| head.encode());
        if let Some(again) = &damaged {
            assert!(DiskHead::decode(again).is_some_and(|head| head.encode() == *again));
        }
        format!("{damaged:?} {:?}", DiskHead::decode(bytes).is_some())
    });
}
