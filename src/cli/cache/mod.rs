//! `pointsman cache`: what an eviction policy would do for a user's own requests, and requests to try it with.

mod asked;
mod generate;
mod replay;
mod report;

use std::process::ExitCode;

use clap::Subcommand;

pub use self::asked::{Generate, Replay};
use super::Status;

/// What can be asked about caches.
#[derive(Debug, Subcommand)]
pub enum Cache {
    /// Replay a trace of requests through eviction policies, and print the hit ratio of each.
    ///
    /// The trace has lines of `key size`, or is an access log: Pointsman's JSON, common or combined, of which
    /// GETs with status 200 count. Exits with 0, or 1 when the trace cannot be read.
    Replay(Replay),
    /// Generate a trace of requests, and print it: `key size` lines, the same for the same seed.
    Generate(Generate),
}

/// Does it.
pub(super) fn cache(asked: Cache) -> Status {
    match asked {
        Cache::Replay(asked) => replay::replay(&asked)?,
        Cache::Generate(asked) => generate::generate(&asked)?,
    }
    Ok(ExitCode::SUCCESS)
}
