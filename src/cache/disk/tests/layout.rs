//! The layout: names and heads as they are written and read.

use std::num::{NonZeroU8, NonZeroU32};

use proptest::prelude::*;

use super::super::layout::{Keyed, Name, block_of, body_end, head_length};

fn name() -> impl Strategy<Value = Name> {
    let object = (any::<u128>(), any::<u64>(), 0..=1_u64 << 48, 9..=24_u8);
    let head = (any::<u32>(), any::<u32>(), any::<Option<u32>>());
    let keyed = prop_oneof![Just(Keyed::Unknown), Just(Keyed::Uri), Just(Keyed::Fields)];
    (object, head, keyed).prop_map(|((key, sequence, length, block), (shift, head, mark), keyed)| {
        let block = NonZeroU8::new(block).unwrap();
        Name { key, sequence, length, shift, head, block, mark: mark.and_then(NonZeroU32::new), keyed }
    })
}

proptest! {
    #[test]
    fn a_name_says_what_it_was_made_of(name in name()) {
        prop_assert_eq!(Name::parse(&name.text()), Some(name));
    }

    #[test]
    fn a_name_that_is_spelled_otherwise_is_not_ours(name in name(), at: prop::sample::Index, sign in "[A-Fuv0 +.-]") {
        let mut text = name.text();
        let at = at.index(text.len());
        text.replace_range(at..=at, &sign);
        if let Some(other) = Name::parse(&text) {
            prop_assert_eq!(other.text(), text);
        }
    }

    #[test]
    fn no_text_stops_the_reader_of_names(text in "\\PC{0,40}|[0-9a-f-]{0,120}") {
        if let Some(name) = Name::parse(&text) {
            prop_assert_eq!(name.text(), text);
        }
    }

    #[test]
    fn a_head_gives_back_what_was_given(name in name(), meta in prop::collection::vec(any::<u8>(), 0..200)) {
        let head = name.encode(&meta);
        let name = name.marked(&head);
        prop_assert_eq!(head.len(), head_length(meta.len()) as usize);
        prop_assert_eq!(name.decode(head.clone()), Some(meta.clone()));
        // Versions before there were marks left names without.
        prop_assert_eq!(Name { mark: None, ..name }.decode(head.clone()), Some(meta));
        // Of another object, it is not believed.
        prop_assert_eq!(Name { sequence: name.sequence ^ 1, ..name }.decode(head.clone()), None);
        prop_assert_eq!(Name { length: name.length ^ 1, ..name }.decode(head), None);
    }

    #[test]
    fn a_head_is_not_believed_with_any_bit_flipped(
        name in name(),
        meta in prop::collection::vec(any::<u8>(), 0..60),
        at: prop::sample::Index,
        bit in 0..8_u8,
    ) {
        let mut head = name.encode(&meta);
        let names = [Name { mark: None, ..name }, name.marked(&head)];
        let at = at.index(head.len());
        head[at] ^= 1 << bit;
        for name in names {
            prop_assert_eq!(name.decode(head.clone()), None);
        }
    }

    /// An update of the same length is written to where the head before the last one was. Where the power fails before
    /// that comes to disk, though the name does, the older is there still.
    #[test]
    fn a_head_two_updates_old_is_not_believed(
        name in name(),
        metas in prop::array::uniform3(prop::array::uniform4(any::<u8>())),
        is_marked: bool,
    ) {
        let [oldest, older, newest] = metas.map(|meta| name.encode(&meta));
        let name = Name { shift: 0, head: oldest.len() as u32, mark: None, ..name };
        let first = if is_marked { name.marked(&oldest) } else { name };
        let last = first.with_head(&older).with_head(&newest);
        prop_assert_eq!(last.head_at(), first.head_at());
        prop_assert_eq!(last.decode(newest.clone()), Some(metas[2].to_vec()));
        if oldest != newest {
            prop_assert_eq!(last.decode(oldest), None);
        }
    }

    #[test]
    fn a_new_head_overwrites_nothing_in_force(
        lengths in prop::collection::vec(0_usize..500, 1..50),
    ) {
        let block = NonZeroU8::new(9).unwrap();
        let (head, mark) = (head_length(9), None);
        let mut name = Name { key: 1, sequence: 1, length: 700, shift: 0, head, block, mark, keyed: Keyed::Uri };
        for length in lengths {
            let next = name.with_head(&name.encode(&vec![0; length]));
            let apart = next.end() <= name.head_at() || next.head_at() >= name.end();
            prop_assert!(apart && next.head_at() >= body_end(700, block));
            prop_assert!(next.shift <= 2 * head_length(500));
            name = next;
        }
    }
}

#[test]
fn blocks_follow_one_another() {
    let block = block_of(500);
    let name =
        Name { key: 0, sequence: 0, length: 1025, shift: 0, head: 60, block, mark: None, keyed: Keyed::Uri };
    assert_eq!([0, 1, 2].map(|number| name.block_at(number)), [(0, 512), (520, 512), (1040, 1)]);
    assert_eq!((name.head_at(), name.size()), (1049, 4096));
    assert_eq!([0, 512, 513, usize::MAX >> 1].map(|bytes| block_of(bytes).get()), [9, 9, 10, 24]);
}
