//! A seeded simulator of the pure cores: health, the retry budget, the queue of an upstream, fills, balancing,
//! sessions of datagrams.
//!
//! Each simulation makes up a small world from a seed and lets events come in any order, at times that the seed says.
//! After each event it holds what must be true against what is. A seed that fails is named, with how to run it alone
//! and see its events; it goes into its simulation's list of seeds that once failed, which run first.
//!
//! This folder is a module of the program's unit tests (`src/lib.rs` declares it), since what it looks at is not for
//! other crates.

mod balance;
mod budget;
mod calls;

mod fills;
mod fleet;
mod health;
mod queue;
mod sessions;

mod seeds;
