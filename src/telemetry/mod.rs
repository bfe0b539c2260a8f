//! What a running Pointsman reports: counters and histograms, recent errors, the access log, and traces.

pub mod access_line;
pub mod access_log;
pub mod cache_result;
pub mod clock;
pub mod counter;
pub mod datagrams;
pub mod metrics;
pub mod program_log;
pub mod recent_errors;
pub mod recent_latency;
pub mod repeated;
mod sink;
pub mod trace;
mod writer;
