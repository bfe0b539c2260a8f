//! `pointsman cache generate`: requests that are made up.

use std::io::{self, BufWriter, Write};

use super::asked::{Generate, Kind};
use crate::{
    cli::{Failure, printed},
    replay::generate::{Generator, Workload},
};

/// Prints the requests.
pub(super) fn generate(asked: &Generate) -> Result<(), Failure> {
    let requests = Generator::new(workload(asked)?, asked.objects, asked.alpha, asked.size_dist, asked.seed);
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let write = || -> io::Result<()> {
        for (object, size) in requests.take(usize::try_from(asked.requests).unwrap_or(usize::MAX)) {
            writeln!(out, "{object} {size}")?;
        }
        out.flush()
    };
    printed(write())
}

fn workload(asked: &Generate) -> Result<Workload, Failure> {
    let (between, sweep) = (asked.between.unwrap_or(asked.objects), asked.sweep.unwrap_or(asked.objects));
    let every = asked.every.unwrap_or(asked.requests / 10).max(1);
    let stranger = match asked.workload {
        Kind::Zipf => asked
            .sweep
            .or(asked.between)
            .or(asked.every)
            .map(|_| "`zipf` does not take --sweep, --between or --every"),
        Kind::Scan => asked.every.map(|_| "`scan` does not take --every; use --sweep and --between"),
        Kind::Shift => {
            asked.sweep.or(asked.between).map(|_| "`shift` does not take --sweep or --between; use --every")
        }
    };
    if let Some(text) = stranger {
        return Err(Failure::usage(text));
    }
    if between
        .checked_add(sweep)
        .and_then(|sum| sum.checked_add(asked.objects))
        .is_none_or(|sum| sum >> 62 != 0)
    {
        return Err(Failure::usage("--sweep and --between are too large"));
    }
    Ok(match asked.workload {
        Kind::Zipf => Workload::Zipf,
        Kind::Scan => Workload::Scan { between, sweep },
        Kind::Shift => Workload::Shift { every },
    })
}
