//! `pointsman cache replay`: the hit ratios of eviction policies on a trace.
//!
//! A trace is read once, and not kept. Sizes in percent need to know all objects beforehand: a file is then read
//! twice, and the requests of what can be read only once are kept, 16 bytes each.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read, Write},
    path::Path,
    str::FromStr,
    time::{Duration, Instant},
};

use super::{Replay as Asked, report};
use crate::{
    cache::conf::{Admission, Eviction},
    cli::Failure,
    replay::{
        Footprint, Replay, Simulation,
        trace::{self, Request, Skipped},
    },
    settings::{Size, suggest, unreadable},
};

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
            None => {
                Err("a size is a whole number with a unit, such as 64MiB, or a part of the trace's objects, \
                         such as 5%; and not 0"
                    .to_owned())
            }
        }
    }
}

impl AskedSize {
    fn is_percent(&self) -> bool {
        matches!(self.amount, Amount::Percent(_))
    }

    fn bytes(&self, footprint: u64) -> u64 {
        match self.amount {
            Amount::Bytes(bytes) => bytes,
            Amount::Percent(part) => ((footprint as f64 * part / 100.0).round() as u64).max(1),
        }
    }
}

/// Reads a name of `--policy`.
pub(super) fn policy(text: &str) -> Result<Eviction, String> {
    let names = Eviction::ALL.iter().map(|(_, name, _)| *name);
    let found = Eviction::ALL.iter().find(|(_, name, _)| *name == text);
    found.map(|(policy, ..)| *policy).ok_or_else(|| suggest::did_you_mean(text, names))
}

/// Reads `--admission`.
pub(super) fn admission(text: &str) -> Result<Admission, String> {
    let names = Admission::ALL.iter().map(|(_, name, _)| *name);
    let found = Admission::ALL.iter().find(|(_, name, _)| *name == text);
    found.map(|(admission, ..)| *admission).ok_or_else(|| suggest::did_you_mean(text, names))
}

/// Plays the trace, prints what came of it, and draws it.
pub(super) fn replay(asked: &Asked) -> Result<(), Failure> {
    let mut source = Source::new(asked)?;
    let footprint = match asked.size.iter().any(AskedSize::is_percent) {
        true => source.footprint()?,
        false => 0,
    };
    let mut replay = Replay::new(simulations(asked, footprint));
    let skipped = source.play(|request| replay.request(request))?;
    if replay.footprint.requests == 0 {
        return Err(Failure::new(format!(
            "{}: no request in it counts{}",
            asked.trace.display(),
            report::skipped(&skipped).map(|text| format!(": {text}")).unwrap_or_default()
        )));
    }
    report::report(asked, &replay, &skipped)
}

fn simulations(asked: &Asked, footprint: u64) -> Vec<Simulation> {
    let all: Vec<Eviction> = Eviction::ALL.iter().map(|(policy, ..)| *policy).collect();
    let policies = if asked.policy.is_empty() { &all } else { &asked.policy };
    let each = policies.iter().flat_map(|policy| asked.size.iter().map(move |size| (*policy, size)));
    each.map(|(policy, size)| Simulation::new(policy, size.bytes(footprint), asked.admission, asked.seed))
        .collect()
}

/// Where requests come from.
struct Source<'a> {
    path: &'a Path,
    skip_bad: bool,
    /// Open until it was read.
    input: Option<Box<dyn Read>>,
    can_reopen: bool,
    /// What was read from an input that can be read only once.
    kept: Option<(Vec<Request>, Skipped)>,
}

impl<'a> Source<'a> {
    fn new(asked: &'a Asked) -> Result<Self, Failure> {
        let path = asked.trace.as_path();
        let (input, can_reopen): (Box<dyn Read>, bool) = if path == Path::new("-") {
            (Box::new(io::stdin()), false)
        } else {
            let (file, is_file) = open(path)?;
            (Box::new(file), is_file)
        };
        Ok(Self { path, skip_bad: asked.skip_bad, input: Some(input), can_reopen, kept: None })
    }

    /// The bytes of all objects.
    fn footprint(&mut self) -> Result<u64, Failure> {
        let (mut footprint, mut requests) = (Footprint::default(), Vec::new());
        let keep = !self.can_reopen;
        let skipped = self.read("measured", |request| {
            footprint.add(request);
            if keep {
                requests.push(request);
            }
        })?;
        if keep {
            self.kept = Some((requests, skipped));
        } else {
            self.input = Some(Box::new(open(self.path)?.0));
        }
        Ok(footprint.bytes)
    }

    fn play(&mut self, each: impl FnMut(Request)) -> Result<Skipped, Failure> {
        match self.kept.take() {
            Some((requests, skipped)) => {
                requests.into_iter().for_each(each);
                Ok(skipped)
            }
            None => self.read("replayed", each),
        }
    }

    fn read(&mut self, what: &'static str, mut each: impl FnMut(Request)) -> Result<Skipped, Failure> {
        let input = self.input.take().unwrap_or_else(|| Box::new(io::empty()));
        let mut progress = Progress::new(what);
        let read = trace::read(BufReader::with_capacity(1 << 18, input), self.skip_bad, |request| {
            each(request);
            progress.count();
        });
        drop(progress);
        read.map_err(|failure| {
            let path = if self.path == Path::new("-") { Path::new("standard input") } else { self.path };
            match failure {
                trace::Failure::Line(..) => Failure::new(format!(
                    "{}: {failure}\n--skip-bad leaves out lines that cannot be read",
                    path.display()
                )),
                trace::Failure::Input(error) => Failure::new(unreadable(path, &error)),
            }
        })
    }
}

/// The file, and whether it can be read again.
fn open(path: &Path) -> Result<(File, bool), Failure> {
    let opened = File::open(path).and_then(|file| file.metadata().map(|about| (file, about.is_file())));
    opened.map_err(|error| Failure::new(unreadable(path, &error)))
}

/// Tells people at a terminal how far it is.
struct Progress {
    what: &'static str,
    is_shown: bool,
    count: u64,
    told: Instant,
    has_told: bool,
}

impl Progress {
    const OFTEN: Duration = Duration::from_millis(500);

    fn new(what: &'static str) -> Self {
        let is_shown = io::stderr().is_terminal();
        Self { what, is_shown, count: 0, told: Instant::now(), has_told: false }
    }

    fn count(&mut self) {
        self.count += 1;
        if self.is_shown && self.count.is_multiple_of(1 << 14) && self.told.elapsed() >= Self::OFTEN {
            let number = report::grouped(self.count);
            drop(write!(io::stderr(), "\r{number} requests {}", self.what));
            self.told = Instant::now();
            self.has_told = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_told {
            // The line is taken back.
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
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
    fn an_unknown_policy_is_told_the_nearest() {
        assert_eq!(policy("s3-fifo"), Ok(Eviction::S3Fifo));
        assert_eq!(policy("s3fifo"), Err("did you mean `s3-fifo`?".to_owned()));
        assert_eq!(admission("second-request"), Ok(Admission::SecondRequest));
        assert!(admission("never").is_err());
    }
}
