//! What a cache's options can be, where that is one word of a few.

use crate::schema::choice;

choice! {
    /// Which object to evict when space is needed.
    pub enum Eviction {
        /// Three FIFO queues: an object not requested again soon is evicted early and does not displace the others.
        S3Fifo = "s3-fifo",
        /// The one stored first.
        Fifo = "fifo",
        /// The one stored last.
        Lifo = "lifo",
        /// The least recently used.
        Lru = "lru",
        /// The most recently used, for loops over more than the cache can hold.
        Mru = "mru",
        /// The least frequently used; counts fade with time.
        Lfu = "lfu",
        /// One chosen at random.
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
    /// Which objects to store.
    pub enum Admission {
        /// All objects.
        Always = "always",
        /// Only those requested before; keeps one-hit wonders out.
        SecondRequest = "second-request",
    }
}

impl Default for Admission {
    /// Costs no object its first hit.
    fn default() -> Self {
        Self::Always
    }
}
