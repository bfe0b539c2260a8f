//! The state machine, case by case and in a simulated network.

mod cases;
mod loss;
mod simulation;
