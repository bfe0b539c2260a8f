//! What the nodes of a cluster tell each other, both ways; on the control loop.
//!
//! [`tell`] says what this node knows, [`hear`] takes over what others say, by the table of [`kinds`]. What is shared is
//! merged by rules that do not mind in which order, or how often, messages come.

mod changes;
mod context;
mod hear;
mod kinds;
mod tell;
mod ways;

pub(super) use self::context::Peers;

/// Starts both, on the control loop. Without peers in the configuration they wait for them.
pub(super) fn start(peers: Peers) {
    tokio::task::spawn_local(hear::run(peers.clone()));
    tokio::task::spawn_local(tell::run(peers));
}
