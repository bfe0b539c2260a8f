//! Futures that are made on the heap.

use std::pin::Pin;

/// The future that `make` gives, on the heap.
///
/// [`Box::pin`] takes one that has been made, on the stack. As there may be no memory for the box, the compiler keeps it there
/// whole until there is, so that it can be dropped, and copies it then: for a request some four kilobytes, nearly all of which
/// mean nothing yet. Here there is room before there is a future. (It is no gain for values whose fields are all there: those
/// are copied one by one then.)
#[inline(always)]
pub fn pin<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}
