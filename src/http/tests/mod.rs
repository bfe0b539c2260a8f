//! The request path over in-memory connections and paused time: a real worker, a real snapshot, and both ends of it in
//! the hands of the test.

mod bound;
mod calls;
mod deliveries;
mod dropped;
mod early;
mod forwarding;
mod http2;
mod http2_backends;
mod interims;
mod kinds;
mod linear;
mod queued;
mod replay;
mod slow;
mod spellings;
mod stage;
mod trailers;
mod translated;
mod tunnels;
mod turns;
mod validation;
mod verdicts;
mod written;
