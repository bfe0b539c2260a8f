//! A small process of the same program that undoes what a primary has done when the primary cannot any more.
//!
//! [`link`] is the program's side: it starts the guard, tells it what to undo ([`will`]), and gives a sign of life every
//! 10 ms. [`process`] is the guard: at the end of its connection (the program was killed) or when no sign of life came for
//! too long (it hangs), it removes the addresses and says priority 0, so that another node follows at once.

pub mod link;
pub mod process;
pub mod will;
