//! One account of all memory that grows with what strangers send, by owner, with one bound (`runtime.memory`).
//!
//! At the bound the newest is refused, and the process is never killed for it. Each thread counts for itself, and adds
//! to the sum in steps of `STEP`: counting costs a few instructions, and the sum is short by as much per thread.
//! What is bounded by the configuration alone, such as what caches hold, is not in it.

mod available;

use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
};

/// Bytes that a thread counts before it adds them to the sum.
const STEP: i64 = 256 * 1024;

/// Who holds memory for strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Requests under way: their heads, and what goes with each.
    Requests,
    /// Buffers of connections: bytes that were read and not passed on yet.
    Buffers,
    /// Bodies of writes that are not acknowledged yet (`write_policy = "back"`).
    Writes,
    /// Parts of request bodies that are kept for another attempt.
    Replays,
    /// Bodies on their way through a cache: for those who wait for them, and not stored yet; also in an encoding that is
    /// made of a stored one.
    Fills,
    /// Sessions of datagrams.
    Sessions,
    /// What peers say, until the control side has it.
    Peers,
    /// Encoders of bodies that are compressed on their way.
    Encoders,
}

impl Owner {
    /// Each of them.
    pub const ALL: [Self; 8] = [
        Self::Requests,
        Self::Buffers,
        Self::Writes,
        Self::Replays,
        Self::Fills,
        Self::Sessions,
        Self::Peers,
        Self::Encoders,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Buffers => "buffers",
            Self::Writes => "writes",
            Self::Replays => "replays",
            Self::Fills => "fills",
            Self::Sessions => "sessions",
            Self::Peers => "peers",
            Self::Encoders => "encoders",
        }
    }
}

const OWNERS: usize = Owner::ALL.len();

/// What all threads have added.
static SUMS: [AtomicI64; OWNERS] = [const { AtomicI64::new(0) }; OWNERS];
static LIMIT: AtomicI64 = AtomicI64::new(i64::MAX);
static IS_FULL: AtomicBool = AtomicBool::new(false);
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// What this thread has not added yet.
struct Local([Cell<i64>; OWNERS]);

thread_local! {
    static LOCAL: Local = const { Local([const { Cell::new(0) }; OWNERS]) };
}

impl Local {
    #[inline]
    fn count(&self, owner: Owner, bytes: i64) {
        let Some(cell) = self.0.get(owner as usize) else { return };
        let counted = cell.get().saturating_add(bytes);
        cell.set(counted);
        if counted.abs() >= STEP {
            self.publish();
        }
    }

    #[cold]
    fn publish(&self) {
        for (cell, sum) in self.0.iter().zip(&SUMS) {
            sum.fetch_add(cell.take(), Relaxed);
        }
        IS_FULL.store(total() >= LIMIT.load(Relaxed), Relaxed);
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.publish();
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn count(owner: Owner, bytes: i64) {
    // While a thread ends its own count may be gone already.
    if LOCAL.try_with(|local| local.count(owner, bytes)).is_err()
        && let Some(sum) = SUMS.get(owner as usize)
    {
        sum.fetch_add(bytes, Relaxed);
    }
}

/// Counts bytes as held; [`give`] takes them back, on whichever thread.
#[inline]
pub fn take(owner: Owner, bytes: usize) {
    count(owner, signed(bytes));
}

/// Counts bytes as held no more.
#[inline]
pub fn give(owner: Owner, bytes: usize) {
    count(owner, -signed(bytes));
}

/// Whether what is new has to be refused.
#[inline]
pub fn is_full() -> bool {
    IS_FULL.load(Relaxed)
}

/// Counts something that was refused for want of memory.
pub fn refuse() {
    REFUSED.fetch_add(1, Relaxed);
}

/// How much was refused.
pub fn refused() -> u64 {
    REFUSED.load(Relaxed)
}

/// Adds what this thread has counted to the sum: to be called now and then by each thread that serves.
pub fn publish() {
    let _ = LOCAL.try_with(Local::publish);
}

/// Bytes that an owner holds.
pub fn held(owner: Owner) -> u64 {
    let sum = SUMS.get(owner as usize).map_or(0, |sum| sum.load(Relaxed));
    u64::try_from(sum).unwrap_or(0)
}

fn total() -> i64 {
    SUMS.iter().map(|sum| sum.load(Relaxed)).sum()
}

/// The bound in bytes.
pub fn limit() -> u64 {
    u64::try_from(LIMIT.load(Relaxed)).unwrap_or(0)
}

/// Sets the bound; 0 is half of what the machine, or the control groups that the process is in, let it have.
pub fn set_limit(bytes: u64) {
    let bytes = if bytes == 0 { available::available() / 2 } else { bytes };
    LIMIT.store(i64::try_from(bytes).unwrap_or(i64::MAX), Relaxed);
    publish();
}

/// Bytes that are counted until this is dropped.
#[derive(Debug)]
pub struct Held {
    owner: Owner,
    bytes: usize,
}

impl Held {
    /// Counts so many bytes.
    pub fn new(owner: Owner, bytes: usize) -> Self {
        take(owner, bytes);
        Self { owner, bytes }
    }

    /// How many are counted.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts more.
    pub fn grow(&mut self, bytes: usize) {
        take(self.owner, bytes);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        give(self.owner, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_adds_in_steps_and_at_its_end() {
        // Nobody else counts these in the unit tests.
        let owner = Owner::Writes;
        let before = held(owner);
        std::thread::spawn(move || {
            let mut held_bytes = Held::new(owner, 1000);
            assert_eq!(held(owner), before, "not worth a step");
            held_bytes.grow(400_000);
            assert_eq!(held(owner), before + 401_000);
            std::mem::forget(held_bytes);
            take(owner, 5);
        })
        .join()
        .unwrap();
        assert_eq!(held(owner), before + 401_005);
        give(owner, 401_005);
        publish();
        assert_eq!(held(owner), before, "given back on another thread");
    }
}
