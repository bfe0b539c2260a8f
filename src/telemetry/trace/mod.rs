//! Traces: what is known of a sampled exchange, as spans for an OpenTelemetry collector.
//!
//! Everything here is pure but the buffers of [`queue`]: identities and `traceparent` ([`context`]), what
//! is noted on the way of a request ([`recording`]), and spans as OTLP has them ([`otlp`], over
//! [`protobuf`]). Previous stop: `http::trace`, which decides whether a request is traced; next stop:
//! `control::traces`, which sends whole batches to the collector. `docs/decisions/009` says why there is
//! no SDK here.

pub mod context;
pub mod otlp;
pub mod protobuf;
pub mod queue;
pub mod recording;

pub use context::{Context, Parent, SpanId, TraceId};
pub use queue::{Batch, Traces, WorkerTraces};
pub use recording::{Attempt, Handshake, Recording};
