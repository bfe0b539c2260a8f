//! What the journal counts, for metrics and the admin endpoint.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($name:ident: $doc:literal,)*) => {
        /// What the journal holds now, and what it did since it was opened.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            /// Writes that are durable and not delivered.
            pub entries: usize,
            /// What these and those on their way into the journal come to.
            pub bytes: u64,
            /// The most that `bytes` may be.
            pub limit: u64,
            /// When the oldest of them was accepted, in seconds since 1970.
            pub oldest: Option<u64>,
            $(#[doc = $doc] pub $name: u64,)*
        }

        impl Stats {
            /// The statistics of two journals together.
            pub fn and(&self, other: &Self) -> Self {
                Self {
                    entries: self.entries + other.entries,
                    bytes: self.bytes + other.bytes,
                    limit: self.limit + other.limit,
                    oldest: [self.oldest, other.oldest].into_iter().flatten().min(),
                    $($name: self.$name + other.$name,)*
                }
            }
        }

        /// Numbers that go up, but for `disk` and `segments`.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Counters {
            /// Fills in what is counted here.
            pub(super) fn read(&self, stats: Stats) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Relaxed),)* ..stats }
            }
        }
    };
}

counters! {
    disk: "Bytes in segments.",
    segments: "Files of the journal, without refused writes and copies of damaged ones.",
    syncs: "Syncs of segments (fdatasync); appends ÷ syncs is how many share one.",
    appended: "Writes that became durable.",
    delivered: "Writes that the origin took.",
    failed: "Attempts at delivery that failed.",
    refused: "Writes that the origin refused for good.",
    moved: "Writes that were copied to a newer segment, so that the oldest could go.",
    errors: "Writes to disk, or syncs, that failed.",
    damaged: "Places where something was missing or damaged at the start.",
}
