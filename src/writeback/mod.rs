//! Write-back: writes that a cache has acknowledged in their origin's place, and owes to it.
//!
//! [`journal`] makes them durable and hands them out in order until the origin has them; [`journals`] has the journals
//! of each cache, and of the program, over the life of the configuration. [`counters`] counts what became of writes,
//! by the policies that [`conf`] has.
//!
//! Previous stop: `http::cached`, which accepts, answers and delivers. Next stop: the disk, and nothing else: what a
//! stored response is, or a backend, nobody here knows. `docs/decisions/016` says why the journal is as it is, `017`
//! what the policies promise.

pub mod conf;
pub mod counters;
mod former;
pub mod handed;
pub mod journal;
pub mod journals;
mod left;
mod waiting;
