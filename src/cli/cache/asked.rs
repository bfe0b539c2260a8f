//! What `pointsman cache` is asked: the options of its parts, and how their values are read.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};

use crate::{
    cache::conf::{Admission, Eviction},
    cli::Format,
    replay::generate::Sizes,
    schema::{Size, suggest},
};

/// What `replay` is asked.
#[derive(Debug, Args)]
pub struct Replay {
    /// The trace; `-` is standard input.
    pub trace: PathBuf,
    /// Sizes of the cache: `64MiB,1GiB`, or `5%` of all objects of the trace together.
    #[arg(long, value_name = "SIZES", required = true, value_delimiter = ',')]
    pub size: Vec<AskedSize>,
    /// Eviction policies: s3-fifo, fifo, lifo, lru, mru, lfu, random [default: all].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = policy)]
    pub policy: Vec<Eviction>,
    /// Which objects are admitted: always, or second-request, which keeps one-hit wonders out.
    #[arg(long, value_name = "NAME", default_value = "always", value_parser = admission)]
    pub admission: Admission,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Plot hit ratio over size to this file, as SVG.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Skip lines that cannot be read, and report how many there were.
    #[arg(long)]
    pub skip_bad: bool,
    /// Seed for the policy `random`.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
}

/// What `generate` is asked.
#[derive(Debug, Args)]
pub struct Generate {
    /// Which objects are requested.
    #[arg(value_enum)]
    pub workload: Kind,
    /// How many objects there are.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub objects: u64,
    /// How many requests to print.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub requests: u64,
    /// Zipf's exponent: with 0 all objects are equally likely, with 1 the second is half as likely as the first.
    #[arg(long, value_name = "A", default_value_t = 0.9, value_parser = alpha)]
    pub alpha: f64,
    /// Seed of the requests.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
    /// Size of objects: `fixed:BYTES`, or `lognormal:MEDIAN:SIGMA`.
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

/// Which objects are requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// By Zipf's law, always the same.
    Zipf,
    /// By Zipf's law, with sweeps over other objects in between.
    Scan,
    /// By Zipf's law, where a tenth of the ranks move on now and then.
    Shift,
}

/// A size as the user gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct AskedSize {
    /// As it was written.
    pub text: String,
    amount: Amount,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    Bytes(u64),
    /// Of the footprint.
    Percent(f64),
}

impl FromStr for AskedSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let amount = match text.strip_suffix('%') {
            Some(number) => {
                number.parse().ok().filter(|part| *part > 0.0 && *part <= 1000.0).map(Amount::Percent)
            }
            None => text.parse::<Size>().ok().filter(|size| size.0 > 0).map(|size| Amount::Bytes(size.0)),
        };
        match amount {
            Some(amount) => Ok(Self { text: text.to_owned(), amount }),
            None => Err(
                "a size must be a whole number with a unit, such as 64MiB, or a percentage of the trace's \
                         objects, such as 5%, and not 0"
                    .to_owned(),
            ),
        }
    }
}

impl AskedSize {
    /// Whether it is a part of the footprint.
    pub(super) fn is_percent(&self) -> bool {
        matches!(self.amount, Amount::Percent(_))
    }

    /// In bytes, of a trace with this footprint.
    pub(super) fn bytes(&self, footprint: u64) -> u64 {
        match self.amount {
            Amount::Bytes(bytes) => bytes,
            Amount::Percent(part) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a float beyond the range becomes its end"
                )]
                let bytes = (footprint as f64 * part / 100.0).round() as u64;
                bytes.max(1)
            }
        }
    }
}

/// Reads a name of `--policy`.
fn policy(text: &str) -> Result<Eviction, String> {
    let names = Eviction::ALL.iter().map(|(_, name, _)| *name);
    let found = Eviction::ALL.iter().find(|(_, name, _)| *name == text);
    found.map(|(policy, ..)| *policy).ok_or_else(|| suggest::did_you_mean(text, names))
}

/// Reads `--admission`.
fn admission(text: &str) -> Result<Admission, String> {
    let names = Admission::ALL.iter().map(|(_, name, _)| *name);
    let found = Admission::ALL.iter().find(|(_, name, _)| *name == text);
    found.map(|(admission, ..)| *admission).ok_or_else(|| suggest::did_you_mean(text, names))
}

/// Reads `--alpha`.
fn alpha(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(alpha) if (0.0..=100.0).contains(&alpha) => Ok(alpha),
        _ => Err("a number from 0 to 100, most often between 0.6 and 1.2".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_a_part_of_all() {
        let bytes = |text: &str| text.parse::<AskedSize>().map(|size| size.bytes(1000));
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("77"), Ok(77));
        assert_eq!(bytes("2.5%"), Ok(25));
        assert_eq!(bytes("0.001%"), Ok(1));
        for wrong in ["", "0", "0%", "-5%", "NaN%", "5 parsecs", "%", "1001%"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_policy_names_the_nearest() {
        assert_eq!(policy("s3-fifo"), Ok(Eviction::S3Fifo));
        assert_eq!(policy("s3fifo"), Err("did you mean `s3-fifo`?".to_owned()));
        assert_eq!(admission("second-request"), Ok(Admission::SecondRequest));
        assert!(admission("never").is_err());
    }
}
