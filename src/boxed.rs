//! What is made on the heap.
//!
//! [`Box::new`] and [`Box::pin`] take what has been made, on the stack. As there may be no memory for the box, the compiler
//! keeps it there whole until there is, so that it can be dropped, and copies it then: of a request's future some four
//! kilobytes, nearly all of which mean nothing yet. Here there is room before there is anything to put in it.

use std::pin::Pin;

/// What `make` gives, on the heap.
#[inline(always)]
pub fn new<T>(make: impl FnOnce() -> T) -> Box<T> {
    Box::write(Box::new_uninit(), make())
}

/// The same for a future.
#[inline(always)]
pub fn pin<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(new(make))
}
