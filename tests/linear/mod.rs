//! What strangers send costs what it is long: every reader of bytes from outside is fed patterns of one size and of twice
//! that, and may spend at most [`MOST`] times as much on the second.
//!
//! Instructions are counted, by valgrind's callgrind, in this very program: no reader can forget to count, what libraries
//! do for it counts too, and a busy machine changes nothing. A new reader of what strangers send gets a line in
//! `READERS`; a whole request, in `src/http/tests/linear.rs`, meets those that have none.
//!
//! This folder is a module of the program's unit tests (`src/lib.rs` declares it), since what it looks at is not for
//! other crates.

mod callgrind;
mod patterns;
mod readers;

pub(crate) use callgrind::{Recorder, check};
pub(crate) use patterns::{FEW, Pattern};

/// By how much the cost may grow when the input does to twice its size: linear is 2, quadratic 4.
const MOST: f64 = 2.6;
