//! How requests were served, as log, metrics and statistics have it.

use super::metrics::Counter;

macro_rules! served {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)*) => {
        /// How a request that asked the cache was served.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CacheResult {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl CacheResult {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in log and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

served! {
    /// From the cache, fresh, without a question to the origin.
    Hit = "hit",
    /// From the cache, stale, as it may be: while it is refreshed, because the origin fails, or because the client
    /// takes it.
    Stale = "stale",
    /// From the cache, after the origin said that it still holds.
    Revalidated = "revalidated",
    /// By what another request fetched at the same time.
    Collapsed = "collapsed",
    /// By the origin; the response may have been stored.
    Miss = "miss",
    /// By the peer that owns the key, which had it or fetched it; it may have been stored here too.
    Peer = "peer",
    /// From the journal: what was written, and the origin does not have yet.
    Journal = "journal",
    /// By the origin, without a look at the cache: the method or the request has no use for it.
    Bypass = "bypass",
    /// Not at all: the client asked for what is cached only, and there is nothing.
    NotCached = "not_cached",
}

/// What one worker counts of one cache.
#[derive(Debug, Default)]
pub struct Counts {
    by: [Counter; CacheResult::ALL.len()],
}

impl Counts {
    /// Counts one; only by the worker that owns it.
    pub fn add(&self, served: CacheResult) {
        if let Some(counter) = self.by.get(served as usize) {
            counter.add(1);
        }
    }

    /// How many were served so.
    pub fn get(&self, served: CacheResult) -> u64 {
        self.by.get(served as usize).map_or(0, Counter::get)
    }
}
