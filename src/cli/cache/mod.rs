//! `pointsman cache`: what an eviction policy would do for a user's own requests, and requests to try it with.

mod generate;
mod replay;
mod report;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand, ValueEnum};

use super::{Format, Status};
use crate::{
    cache::conf::{Admission, Eviction},
    replay::generate::Sizes,
};
use replay::AskedSize;

/// What can be asked about caches.
#[derive(Debug, Subcommand)]
pub enum Cache {
    /// Play a trace of requests through eviction policies, and print the hit ratios of each.
    ///
    /// The trace has lines of `key size`, or is an access log: Pointsman's JSON, common or combined, of which
    /// GETs with status 200 count. Ends with 0, or 1 when the trace cannot be read.
    Replay(Replay),
    /// Make up a trace of requests, and print it: `key size` lines, the same for the same seed.
    Generate(Generate),
}

/// What `replay` is asked.
#[derive(Debug, Args)]
pub struct Replay {
    /// The trace; `-` is standard input.
    pub trace: PathBuf,
    /// Sizes of the cache: `64MiB,1GiB`, or `5%` of all objects of the trace together.
    #[arg(long, value_name = "SIZES", required = true, value_delimiter = ',')]
    pub size: Vec<AskedSize>,
    /// Eviction policies: s3-fifo, fifo, lifo, lru, mru, lfu, random [default: all].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = replay::policy)]
    pub policy: Vec<Eviction>,
    /// Which objects may come in: always, or second-request, which keeps one-hit wonders out.
    #[arg(long, value_name = "NAME", default_value = "always", value_parser = replay::admission)]
    pub admission: Admission,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Draw hit ratio over size into this file, as SVG.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Leave out lines that cannot be read, and say how many there were.
    #[arg(long)]
    pub skip_bad: bool,
    /// For the policy `random`.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
}

/// What `generate` is asked.
#[derive(Debug, Args)]
pub struct Generate {
    /// Which objects are asked for.
    #[arg(value_enum)]
    pub workload: Kind,
    /// How many objects there are.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub objects: u64,
    /// How many requests to print.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub requests: u64,
    /// Zipf's exponent: 0 asks for all objects alike, 1 for the second half as often as for the first.
    #[arg(long, value_name = "A", default_value_t = 0.9, value_parser = generate::alpha)]
    pub alpha: f64,
    /// Another seed, other requests.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
    /// How large objects are: `fixed:BYTES`, or `lognormal:MEDIAN:SIGMA`.
    #[arg(long, value_name = "SIZES", default_value = "fixed:1KiB")]
    pub size_dist: Sizes,
    /// scan: the objects of a sweep [default: as many as OBJECTS].
    #[arg(long, value_name = "N")]
    pub sweep: Option<u64>,
    /// scan: requests between two sweeps; 0 makes a loop [default: as many as OBJECTS].
    #[arg(long, value_name = "N")]
    pub between: Option<u64>,
    /// shift: requests between two shifts [default: a tenth of REQUESTS].
    #[arg(long, value_name = "N")]
    pub every: Option<u64>,
}

/// Which objects are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// By Zipf's law, always the same.
    Zipf,
    /// By Zipf's law, with sweeps over other objects in between.
    Scan,
    /// By Zipf's law, where a tenth of the ranks move on now and then.
    Shift,
}

/// Does it.
pub(super) fn cache(asked: Cache) -> Status {
    match asked {
        Cache::Replay(asked) => replay::replay(&asked)?,
        Cache::Generate(asked) => generate::generate(&asked)?,
    }
    Ok(ExitCode::SUCCESS)
}
