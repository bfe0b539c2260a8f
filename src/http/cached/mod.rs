//! The stop between route and backend where a cache is asked: fresh → served; stale → asked for again, served
//! meanwhile where that is allowed; nothing → fetched, once for all who ask at the same time.
//!
//! Previous stop: `http::handle`. What may be stored and served is decided in [`crate::cache`]; here it is put in
//! order, each file using those below it only:
//!
//! 1. `serve`: does the method use the cache at all? A write goes to `http::writeback`, and what was written and is
//!    not delivered yet answers.
//! 2. `collapse`: who waits for whom; or `uncollapsed`, a fetch within the request.
//! 3. `fetch`: the fetch that others wait for, as a task of its own.
//! 4. `conclude`: what follows from the origin's answer, for either fetch; `origin`, which asks; `peer`, which asks the
//!    node that owns the key before.
//! 5. `fill_sink`: the body on its way into the fill, and into the store at its end.
//! 6. `hit`, `send`, `selection`: from store or fill to the client, by `http::respond`.
//! 7. `disk_lookup`, `request`: what is found on disk and in memory.

mod collapse;
mod conclude;
mod disk_lookup;
mod fetch;
mod fill_sink;
mod hit;
mod origin;
mod peer;
mod request;
mod selection;
mod send;
mod serve;
mod uncollapsed;

pub use request::uncollapsed_reason;
pub(super) use selection::OF_CONTENT;
pub(super) use serve::serve;
