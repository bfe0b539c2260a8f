//! What a cache counts of the questions that it asks peers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! results {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)*) => {
        /// What became of a question to the peer that owns a key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum PeerResult {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl PeerResult {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

results! {
    /// It had it.
    Hit = "hit",
    /// It fetched it, or waited for who did.
    Fetched = "fetched",
    /// It did not begin to answer in time.
    Slow = "slow",
    /// It could not be asked, or broke off.
    Failed = "failed",
    /// It said that it does not answer: it is full, or its configuration is another.
    Declined = "declined",
    /// What it had may be older than what was purged here.
    Outdated = "outdated",
    /// It was not asked: it failed lately.
    Avoided = "avoided",
}

/// Questions by what became of them.
#[derive(Debug, Default)]
pub struct PeerCounts {
    by: [AtomicU64; PeerResult::ALL.len()],
}

impl PeerCounts {
    /// Counts one.
    pub fn add(&self, result: PeerResult) {
        if let Some(count) = self.by.get(result as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// How many there were.
    pub fn get(&self, result: PeerResult) -> u64 {
        self.by.get(result as usize).map_or(0, |count| count.load(Relaxed))
    }
}
