//! WebSockets (RFC 6455), as far as who passes them on has to know them: the key that a server proves to have read, and
//! where frames end. Pure: no sockets, no clock.
//!
//! Used by `upstream`, which opens them at backends, and by `net::tunnel`, which carries them. What is in their messages
//! is not looked at.

mod frames;
mod key;

pub use frames::{Frames, GOING_AWAY, close_frame};
pub use key::{Key, accept};
