//! What a cache's options can be, where that is one word of a few.

use crate::schema::choice;

choice! {
    /// Which object leaves when room is needed.
    pub enum Eviction {
        /// Three queues: what is not asked for again soon leaves at once, without touching what stays.
        S3Fifo = "s3-fifo",
        /// The one that came first.
        Fifo = "fifo",
        /// The one that came last.
        Lifo = "lifo",
        /// The one that was not asked for longest.
        Lru = "lru",
        /// The one that was asked for last; for loops over more than fits.
        Mru = "mru",
        /// The one that was asked for least; old favourites age.
        Lfu = "lfu",
        /// Any, with the same chance.
        Random = "random",
    }
}

impl Default for Eviction {
    /// The best of these, or near it, over thousands of traces of different kinds (Yang et al., SOSP 2023).
    fn default() -> Self {
        Self::S3Fifo
    }
}

choice! {
    /// Which objects may come in.
    pub enum Admission {
        /// All.
        Always = "always",
        /// Those that were asked for before; keeps one-hit wonders out.
        SecondRequest = "second-request",
    }
}

impl Default for Admission {
    /// Costs no object its first hit.
    fn default() -> Self {
        Self::Always
    }
}
