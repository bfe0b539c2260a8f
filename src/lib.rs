//! Pointsman: a load-balancing reverse proxy. This page is the map of the building.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | listener | an address that is accepted on, with its protocol and certificates |
//! | route | the rule that decides what becomes of a request: match → action |
//! | upstream | a named group of backends with one balancing policy, one health check, one retry policy |
//! | backend | one server in an upstream |
//! | pool | idle connections to one backend |
//! | exchange | one request and its response, with everything known about them |
//! | tunnel | two joined byte streams (an upgraded connection, CONNECT, a connection that is passed on) |
//! | cache | responses that are kept; in its room the backend is called the origin (RFC 9111) |
//! | fill | one fetch of the cache, and all who wait for it |
//! | journal | writes that were acknowledged before their backend has them, on disk until it does |
//! | snapshot | one immutable, checked, built configuration; a generation number identifies it |
//! | registry | what outlives a snapshot: health, counts in flight, counters, names |
//! | worker | a thread with its own event loop, connections, pools and balancer state |
//!
//! # The path of a request
//!
//! 1. [`listen::accept`]: a connection is accepted, if there is a place for it.
//! 2. [`listen::connection`]: PROXY header, TLS ([`tls::server`]), HTTP/1.1 or HTTP/2.
//! 3. [`http::h1`] or [`http::h2`]: the connection; a whole request head begins an
//!    [`exchange::Exchange`].
//! 4. [`http::handle::handle`]: **the table of contents of the proxy**, from here to the end.
//! 5. [`http::client_address`]: one client, judged anew where a reload has changed by what its connection was accepted. [`http::normalize::normalize`]: one host, one path, one length; what is ambiguous is refused.
//! 6. [`route::table::Table::find`]: host → path → rule.
//! 7. [`http::edit`]: what the route changes. On a route with a cache [`http::cached`] comes next: a hit ends there
//!    ([`cache::store`]), a miss is fetched once for all who ask ([`cache::fill`]), and goes on as it does without one;
//!    a write goes by [`http::writeback`], and waits there on a route without one too, while another cache owes the backend
//!    an earlier one of its URI.
//! 8. [`upstream::forward::forward`]: has a backend picked ([`upstream::acquire`], [`balance::Balancer::pick`]), waits
//!    for a place where there is none ([`upstream::queue`]), sends ([`upstream::request_head`]), and tries another where
//!    that may be ([`upstream::retry`]).
//! 9. [`upstream::pool`] or [`net::dial`]: an idle connection or a new one.
//! 10. [`health::passive`]: how the attempt went. What comes back is an [`upstream::UpstreamResponse`].
//! 11. [`http::respond`]: **the one way out**, for every response whoever made it: fields that are added, the filters of
//!     listener and route ([`filter`]), head, and the body, buffer by buffer; what is stored or shared goes through a fill, from which everyone reads.
//! 12. `http::active::ActiveExchange` is dropped: the log line, the counts, the places given back.
//!
//! # The path of a connection that is passed on
//!
//! On a `tcp` or `tls` listener stops 1 and 2 are the same; then [`l4::tcp::open`]: the name that a TLS client asks for
//! ([`l4::hello`]), the route ([`route::names`]), a backend ([`upstream::acquire`], the next one while nothing was sent),
//! and both ways byte for byte ([`l4::passing`], [`net::tunnel`]), to the end, which is logged and counted as an exchange's is.
//!
//! # The path of a datagram
//!
//! On a `udp` listener [`l4::udp`] reads it; who sent it is a session ([`l4::session`]), for which a backend is picked
//! ([`upstream::acquire`]) when it begins, and which ends, with its log line and counts, when it has been silent for long.
//!
//! # From file to traffic
//!
//! [`config::load`] (all problems at once) → [`runtime::build`] (no side effects) → [`app::run`] (sockets,
//! workers, [`control`]) → each worker's [`runtime::WorkerSnapshot`]. Every further generation:
//! [`reload::engine`], woken by an edit, a signal or [`admin`] → the same steps → [`listen::worker_sockets`], where
//! each worker takes it over.
//!
//! # Rooms
//!
//! A room may use only rooms of the lines before its own; `tests/layers/` holds them to it.
//!
//! 1. [`account`], [`boxed`], [`error`], [`moment`], [`rng`], `sync`
//! 2. [`fields`], [`schema`]
//! 3. [`h1`], [`tls`], [`telemetry`], [`websocket`]
//! 4. [`net`]
//! 5. [`http2`], [`cluster`]
//! 6. [`http2_transport`]
//! 7. [`backend`], [`owned_directory`]
//! 8. [`exchange`]
//! 9. [`template`]
//! 10. [`filter`]
//! 11. [`file_tree`]
//! 12. [`balance`], [`health`], [`route`]
//! 13. [`writeback`]
//! 14. [`cache`], [`upstream`]
//! 15. [`config`]
//! 16. [`runtime`]
//! 17. [`mod@http`], [`l4`]
//! 18. [`listen`], [`explain`]
//! 19. [`reload`]
//! 20. [`admin`]
//! 21. [`control`]
//! 22. [`app`]
//! 23. [`replay`]
//! 24. [`cli`]
//!
//! `docs/architecture.md` has a picture; `docs/decisions/` says why.

// A number is never cut without a word: `try_from`, or `#[expect]` with the reason why it cannot be. Tests may.
#![cfg_attr(
    not(test),
    deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)
)]

pub mod account;
pub mod admin;
pub mod app;
pub mod backend;
pub mod balance;
pub mod boxed;
pub mod cache;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod control;
pub mod error;
pub mod exchange;
pub mod explain;
pub mod fields;
pub mod file_tree;
pub mod filter;
pub mod h1;
pub mod health;
pub mod http;
pub mod http2;
pub mod http2_transport;
pub mod l4;
pub mod listen;
pub mod moment;
pub mod net;
pub mod owned_directory;
pub mod reload;
pub mod replay;
pub mod rng;
pub mod route;
pub mod runtime;
pub mod schema;
mod sync;
pub mod telemetry;
pub mod template;
pub mod tls;
pub mod upstream;
pub mod websocket;
pub mod writeback;

// Beside the other tests, and inside the crate: it drives what is not public.
#[cfg(test)]
#[path = "../tests/simulator/mod.rs"]
mod simulator;

#[cfg(test)]
#[path = "../tests/linear/mod.rs"]
mod linear;

#[cfg(test)]
#[path = "../tests/properties/mod.rs"]
mod properties;
