//! What a cache counts of requests that change something.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::conf::WritePolicy;

macro_rules! results {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)*) => {
        /// What became of a write.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Result {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl Result {
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
    /// The origin answered that nothing was done; what is stored stays.
    Passed = "passed",
    /// The origin did it, and what was stored of it is gone.
    Invalidated = "invalidated",
    /// The origin did it, and what it has now is stored.
    Stored = "stored",
    /// It is in the journal.
    Accepted = "accepted",
    /// It could not be made durable, or had to wait too long: nothing was done.
    Refused = "refused",
}

/// Writes by policy and result.
#[derive(Debug, Default)]
pub struct Counters {
    by: [[AtomicU64; Result::ALL.len()]; 3],
}

impl Counters {
    /// Counts one.
    pub fn count(&self, policy: WritePolicy, result: Result) {
        if let Some(counter) = self.counter(policy, result) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// How many there were.
    pub fn get(&self, policy: WritePolicy, result: Result) -> u64 {
        self.counter(policy, result).map_or(0, |counter| counter.load(Relaxed))
    }

    fn counter(&self, policy: WritePolicy, result: Result) -> Option<&AtomicU64> {
        self.by.get(policy as usize)?.get(result as usize)
    }
}
