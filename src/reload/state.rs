//! What is known of reloads: how the last one went, and what is in force.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;

use crate::{
    config::{Beside, Config, Problems, include::Included},
    runtime::{
        ListenerId,
        addresses::Addresses,
        overrides::{Overrides, Refusal},
    },
    schema::Problem,
    telemetry::clock,
};

use super::plan::Hashes;

/// Written by the engine, read by everyone.
#[derive(Debug)]
pub(super) struct State {
    pub(super) last: ArcSwap<Last>,
    pub(super) in_force: ArcSwap<InForce>,
    /// Attempts that made a generation.
    pub(super) succeeded: AtomicU64,
    /// Attempts that problems ended.
    pub(super) failed: AtomicU64,
    /// Generations that other addresses of names made.
    pub(super) names_followed: AtomicU64,
}

impl State {
    pub(super) fn new(last: Last, in_force: InForce) -> Self {
        let (last, in_force) = (ArcSwap::from_pointee(last), ArcSwap::from_pointee(in_force));
        Self {
            last,
            in_force,
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            names_followed: AtomicU64::new(0),
        }
    }
}

/// What made a reload begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The program started.
    Start,
    /// A file was edited.
    File,
    /// `SIGHUP`.
    Signal,
    /// `POST /api/v1/reload`.
    Reload,
    /// `PUT /api/v1/config`, or a change of a backend that is written into the file.
    Admin,
    /// The store has another text.
    Fleet,
    /// An administrator changed a backend.
    Override,
    /// A name of backends has other addresses.
    Names,
}

impl Cause {
    /// Whether it is an edit, or someone who asks for the file as it is: what is wrong then is wrong with
    /// the file, and not with what a request brought along.
    pub(super) fn is_of_file(self) -> bool {
        match self {
            Self::Start | Self::File | Self::Signal | Self::Reload => true,
            Self::Admin | Self::Fleet | Self::Override | Self::Names => false,
        }
    }

    /// Whether somebody waits to hear that nothing changed.
    pub(super) fn is_asked_for(self) -> bool {
        match self {
            Self::Signal | Self::Reload | Self::Admin | Self::Fleet => true,
            Self::Start | Self::File | Self::Override | Self::Names => false,
        }
    }

    /// Its name in log and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Signal => "signal",
            Self::Reload => "reload",
            Self::Admin => "admin",
            Self::Fleet => "fleet",
            Self::Override => "override",
            Self::Names => "names",
        }
    }
}

/// How the last attempt went.
#[derive(Clone, Debug)]
pub struct Last {
    /// Whether it is in force.
    pub ok: bool,
    /// What made it begin.
    pub cause: Cause,
    /// When it ended, as RFC 3339 has it.
    pub at: String,
    /// When it ended, in seconds since 1970.
    pub at_unix: f64,
    /// How long it took.
    pub took: Duration,
    /// What was wrong.
    pub problems: Vec<Problem>,
    /// What does not take effect before the next start or upgrade.
    pub notes: Vec<String>,
}

impl Last {
    pub(super) fn new(cause: Cause, took: Duration, problems: Vec<Problem>, notes: Vec<String>) -> Self {
        let mut at = Vec::new();
        clock::write_iso(&mut at);
        let at_unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            ok: problems.is_empty(),
            cause,
            at: String::from_utf8_lossy(&at).into_owned(),
            at_unix: at_unix.as_secs_f64(),
            took,
            problems,
            notes,
        }
    }
}

/// What the current generation was made of.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The configuration file.
    pub path: PathBuf,
    /// The key in a store that many nodes read, where the file is a copy of what is there.
    pub store: Option<Arc<str>>,
    /// What was in it.
    pub text: Arc<str>,
    /// What it includes.
    pub included: Arc<[Included]>,
    /// What that means, without what administrators changed.
    pub file: Arc<Config>,
    /// What administrators changed.
    pub overrides: Overrides,
    /// The addresses that names of backends led to.
    pub names: Addresses,
    /// For each listener where it really listens.
    pub addresses: HashMap<ListenerId, String>,
    /// Hash of all the files that it was made of.
    pub hash: u64,
    /// Of each of them.
    pub hashes: Hashes,
}

impl InForce {
    /// The file, and what it is a copy of.
    pub(super) fn place(&self) -> (PathBuf, Option<Arc<str>>) {
        (self.path.clone(), self.store.clone())
    }

    /// What another text in the place of this one may include.
    pub(super) fn beside(&self) -> Beside<'static> {
        if self.store.is_some() { Beside::Nothing } else { Beside::OnDisk }
    }
}

/// How a reload that was asked for went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether there is a new generation; not so when nothing changed.
    pub is_changed: bool,
    /// The generation that holds.
    pub generation: u64,
    /// What does not take effect before the next start or upgrade.
    pub notes: Vec<String>,
}

/// Why a reload that was asked for changed nothing.
#[derive(Clone, Debug)]
pub enum Failed {
    /// The configuration is not good, or names what this node may not do.
    Problems(Problems),
    /// It may be good, and files that it names, sockets, folders, the log or the copy are not to be had now; another time
    /// they may be.
    Lacking(Problems),
    /// It cannot be done.
    Refused(Refusal),
    /// The file is not the text any more that was to be replaced.
    Outdated,
}

impl Failed {
    /// What is wrong with a configuration, or missing for it.
    pub fn problems(&self) -> Option<&Problems> {
        match self {
            Self::Problems(problems) | Self::Lacking(problems) => Some(problems),
            Self::Refused(_) | Self::Outdated => None,
        }
    }
}

impl From<Problems> for Failed {
    fn from(problems: Problems) -> Self {
        if problems.has_lacking() { Self::Lacking(problems) } else { Self::Problems(problems) }
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;
    use crate::config;

    /// A certificate that came a moment after the key of a fleet had been written: the node never tried it again, and the
    /// others stopped for good.
    #[test]
    fn what_cannot_be_read_now_is_not_wrong_for_good() {
        let folder = env::temp_dir().join(format!("pointsman-lacking-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("empty"), "").unwrap();
        let path = folder.join("fleet.toml");
        let is_for_good = |listener: &str, route: &str, more: &str| {
            let text = format!(
                "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\n{listener}\n\
                 [[route]]\nname = \"all\"\n{route}\n{more}\n"
            );
            match Failed::from(config::parse(&text, &path).unwrap_err()) {
                Failed::Problems(_) => true,
                Failed::Lacking(_) => false,
                other => panic!("{other:?}"),
            }
        };
        let answer = "respond = { status = 200 }";
        let pair = "protocol = \"https\"\ncertificate = [{ chain = \"a.pem\", key = \"a.key\" }]";
        let folder_of_pairs = "protocol = \"https\"\ncertificates = \"fleet\"";
        for (listener, route, more) in [
            (pair, answer, ""),
            (&*pair.replace("a.pem", "empty"), answer, ""),
            (folder_of_pairs, answer, ""),
            ("", "respond = { status = 200, file = \"page.html\" }", ""),
            ("error_pages = { 404 = \"page.html\" }", answer, ""),
            ("", answer, "[admin]\ntoken_file = \"nowhere\""),
            ("", answer, "[admin]\ntoken_file = \"empty\""),
            ("", answer, "[log]\naccess = \"nowhere/access.log\""),
        ] {
            assert!(!is_for_good(listener, route, more), "{listener} {route} {more}");
        }
        assert!(is_for_good("", answer, "[[nonsense]]"));
        // What is missing may come, and yet the text will not be good.
        assert!(is_for_good(pair, answer, "= ="));
        assert!(is_for_good("", "upstream = \"nowhere\"", ""));
        assert!(is_for_good("", answer, "[admin]\ntoken_file = \"env:POINTSMAN_NO_SUCH_VARIABLE\""));
        fs::remove_dir_all(&folder).unwrap();
    }
}
