//! What a running Pointsman tells: counters and histograms, and the access log.

pub mod access_log;
pub mod clock;
pub mod metrics;
pub mod program_log;
