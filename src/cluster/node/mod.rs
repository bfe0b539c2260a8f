//! The node: one thread with an event loop of its own, never behind a reload or a worker.
//!
//! Previous stop: [`handle`], by which the rest of the program tells it what is configured and whether it is fit; and
//! engines, which tell how elections go. It owns the groups (`group`): each has one machine that decides its role, one
//! engine, and its addresses. Next stop: the kernel, for addresses; the engine; who is told of changes; status.

mod before;
mod follow;
mod group;
pub mod handle;
mod run;
mod watch;
