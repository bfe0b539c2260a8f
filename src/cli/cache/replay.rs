//! `pointsman cache replay`: the hit ratios of eviction policies on a trace.
//!
//! A trace is read once, and not kept. Sizes in percent need to know all objects beforehand: a file is then read
//! twice, and the requests of what can be read only once are kept, 16 bytes each.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use super::{
    asked::{AskedSize, Replay as Asked},
    report,
};
use crate::{
    cache::conf::Eviction,
    cli::Failure,
    replay::{
        Footprint, Replay, Simulation,
        trace::{self, Request, Skipped},
    },
    schema::unreadable,
};

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
            "{}: it has no usable request{}",
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
                    "{}: {failure}\nuse --skip-bad to skip lines that cannot be read",
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

/// Shows at a terminal how far it is.
struct Progress {
    what: &'static str,
    is_shown: bool,
    count: u64,
    shown_at: Instant,
    has_shown: bool,
}

impl Progress {
    const OFTEN: Duration = Duration::from_millis(500);

    fn new(what: &'static str) -> Self {
        let is_shown = io::stderr().is_terminal();
        Self { what, is_shown, count: 0, shown_at: Instant::now(), has_shown: false }
    }

    fn count(&mut self) {
        self.count += 1;
        if self.is_shown && self.count.is_multiple_of(1 << 14) && self.shown_at.elapsed() >= Self::OFTEN {
            let number = report::grouped(self.count);
            drop(write!(io::stderr(), "\r{number} requests {}", self.what));
            self.shown_at = Instant::now();
            self.has_shown = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_shown {
            // The line is taken back.
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }
}
