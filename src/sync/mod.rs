//! Locks and atomics of code that threads meet in: std's.
//!
//! In unit tests they are those of a model checker as soon as they are made inside a `model`, which runs a few threads
//! in every order that they could run in, and every value that an atomic could have. Whoever shares something
//! between threads takes its locks from here, and so can be checked by an ordinary test
//! (`docs/decisions/019-concurrency-checking.md`).

#[cfg(test)]
pub(crate) mod checked;
#[cfg(test)]
pub(crate) mod children;
#[cfg(test)]
mod pauses;

#[cfg(not(test))]
pub(crate) use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU8, AtomicUsize, fence},
    },
    thread_local as local,
};

#[cfg(test)]
pub(crate) use pauses::{Pause, pause, with_pauses};

#[cfg(test)]
pub(crate) use checked::{AtomicU8, AtomicUsize, Mutex, MutexGuard, fence, local, model, simulate};
