//! Whether a backend is fit to take traffic: [`state`] for active checks, [`ejection`] for what real
//! traffic says, [`passive`] for the counts that it is judged by.
//!
//! Everything but [`active`], which sends the checks, is pure, given `now`. What comes out is
//! written to [`crate::backend::Shared`], where the balancer reads it, and reported as a [`Change`].

pub mod active;
pub mod conf;
pub mod ejection;
pub mod passive;
pub mod state;

use std::sync::Arc;

/// A backend's state changed; for log, admin and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The backend's place in its upstream.
    pub index: usize,
    /// What it is now.
    pub condition: Condition,
    /// Why, for people: "3 checks in a row failed: connection refused".
    pub reason: Arc<str>,
}

/// What health says of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It takes traffic.
    Up,
    /// Active checks took it out.
    Down,
    /// Its own traffic took it out for a while.
    Ejected,
}
