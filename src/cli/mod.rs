//! The command line: one file per verb; `run` is in `main.rs`, since it is what the program is for.
//!
//! Every verb prints to standard output what was asked for and to standard error what went wrong, and
//! gives the exit status that `docs/getting-started.md` promises. Output goes through [`print`], since
//! a reader that closed the pipe is no reason to panic.

pub mod admin;
mod answers;
pub mod backend;
pub mod cache;
mod certificates;
mod check;
mod cluster;
mod completions;
pub mod demo;
mod explain;
mod fleet;
mod healthcheck;
mod man;
mod options;
mod outcome;
pub mod purge;
mod reload;
mod schema;
pub mod start;
pub mod status;
mod table;
mod upgrade;
mod watch;

use std::{
    path::PathBuf,
    process::{ExitCode, Termination},
};

use clap::{CommandFactory, Parser, Subcommand};

use self::{
    admin::{Ask, Running},
    backend::{Backend, Wish},
    outcome::{Status, print, printed, tell},
    purge::Purge,
    status::Show,
};
pub use self::{
    options::{File, Format, Request},
    outcome::Failure,
};
use crate::cluster::guard;

/// A load-balancing reverse proxy.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, about, long_about = None, after_help = FIRST_STEPS)]
#[command(propagate_version = true, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const FIRST_STEPS: &str = "\
First steps:
  pointsman demo                        see it at work, with nothing to prepare
  pointsman check --config my.toml      show every problem in a configuration
  pointsman run --config my.toml        run the proxy
  pointsman status --watch              see what it does

Signals: SIGTERM and SIGINT drain and stop (a second one stops at once), SIGHUP reloads, SIGUSR1 reopens
the access log, SIGUSR2 upgrades.";

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the proxy.
    ///
    /// Exits with 0 after a clean drain, 1 when it cannot start, 2 when the configuration is not valid.
    Run(File),
    /// Undo what a primary has done when it no longer can; started by `run` only.
    #[command(hide = true)]
    Guard,
    /// Report every problem in a configuration, without opening a socket.
    ///
    /// Exits with 0 when it is valid, 2 when there are problems, 1 when it is valid but the running program
    /// cannot be asked, or when the store that has it does not answer.
    Check {
        #[command(flatten)]
        #[doc(hidden)]
        file: File,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// Also show what it would change in a running Pointsman, which is not touched.
        #[arg(long)]
        against_running: bool,
        #[command(flatten)]
        #[doc(hidden)]
        ask: Ask,
    },
    /// Run three demonstration backends and a proxy in front of them, and show what to try.
    Demo,
    /// Show which route and backend a request would get, and why.
    ///
    /// Exits with 0, or 3 when no route matches the request.
    Explain(Request),
    /// Create a demonstration CA and certificates in a folder.
    Certificates {
        /// The folder; it is created if it does not exist.
        dir: PathBuf,
    },
    /// Ask a running Pointsman whether it is ready, for a container's HEALTHCHECK.
    ///
    /// Exits with 0 when it is ready, 1 when it is not.
    Healthcheck {
        /// The admin endpoint: http://ADDRESS:PORT, or unix:PATH [default: $POINTSMAN_ADMIN, else what the
        /// configuration says, else unix:/run/pointsman/admin.sock where that exists, else http://127.0.0.1:9900].
        #[arg(long, value_name = "URL")]
        admin: Option<String>,
        #[command(flatten)]
        #[doc(hidden)]
        file: File,
    },
    /// Show the state of a running Pointsman.
    ///
    /// Exits with 0, or 1 when it refuses or cannot be reached.
    Status(Show),
    /// Make a running Pointsman reload its configuration file.
    ///
    /// Exits with 0 when the file is in force; 1 when it is not valid and the previous one stays in force, or when
    /// the program refuses or cannot be reached.
    Reload(Running),
    /// Drain a backend: it gets nothing new, and what is in flight runs to its end.
    ///
    /// Exits with 0, or 1 when the running program refuses or cannot be reached.
    Drain(Backend),
    /// Put a backend back into service.
    ///
    /// Exits with 0, or 1 when the running program refuses or cannot be reached.
    Enable(Backend),
    /// Disable a backend.
    ///
    /// Exits with 0, or 1 when the running program refuses or cannot be reached.
    Disable(Backend),
    /// Change a backend's weight.
    ///
    /// Exits with 0, or 1 when the running program refuses or cannot be reached.
    Weight {
        #[command(flatten)]
        #[doc(hidden)]
        backend: Backend,
        /// Its weight relative to the others; 0 = gets nothing new.
        weight: u32,
    },
    /// Purge a URL, a prefix, a tag or everything from a cache of a running Pointsman.
    ///
    /// Responses in flight are served to their end, and not stored. Exits with 0, or 1 when the running
    /// program refuses or cannot be reached.
    Purge(Purge),
    /// Replace the running program with the installed one, without losing a connection.
    ///
    /// Exits with 0 when the new one serves; 1 when it does not, and the old one keeps running.
    Upgrade(Running),
    /// Show the role of a running Pointsman in its cluster, its peers, and the last change.
    ///
    /// Exits with 0, or 1 when it cannot be reached.
    Cluster(Running),
    /// Let another node of the cluster be primary, if there is one, until `resume`.
    ///
    /// Exits with 0, or 1 when the running program refuses or cannot be reached.
    StepDown(Running),
    /// Let a node that stepped down stand for election again.
    ///
    /// Exits with 0, or 1 when the running program refuses or cannot be reached.
    Resume(Running),
    /// Compare eviction policies on a trace of requests, without a cache.
    #[command(subcommand)]
    Cache(cache::Cache),
    /// Print the JSON Schema of the configuration file.
    Schema,
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

/// Reads the command line; prints help, version or what is wrong with it, and ends the program then.
pub fn arguments() -> Arguments {
    Arguments::parse()
}

/// Does what a verb other than `run` says.
pub fn perform(verb: Verb) -> ExitCode {
    let status = match verb {
        // `main` takes it before this; from anywhere else there is nothing to run.
        Verb::Run(_) => Err(Failure::usage("`run` is the program itself")),
        Verb::Guard => return guard::process::run(),
        Verb::Check { file, format, against_running, ask } => {
            check::check(file, format, against_running.then_some(&ask))
        }
        Verb::Demo => demo::demo(),
        Verb::Explain(request) => explain::explain(request),
        Verb::Certificates { dir } => certificates::certificates(&dir),
        Verb::Healthcheck { admin, file } => healthcheck::healthcheck(admin, &file),
        Verb::Status(show) => status::status(&show),
        Verb::Reload(running) => reload::reload(&running),
        Verb::Drain(backend) => backend::change(&backend, Wish::Drain),
        Verb::Enable(backend) => backend::change(&backend, Wish::Enable),
        Verb::Disable(backend) => backend::change(&backend, Wish::Disable),
        Verb::Weight { backend, weight } => backend::change(&backend, Wish::Weight(weight)),
        Verb::Purge(purge) => purge::purge(&purge),
        Verb::Upgrade(running) => upgrade::upgrade(&running),
        Verb::Cluster(running) => cluster::show(&running),
        Verb::StepDown(running) => cluster::step_down(&running),
        Verb::Resume(running) => cluster::resume(&running),
        Verb::Cache(asked) => cache::cache(asked),
        Verb::Schema => schema::schema(),
        Verb::Completions { shell } => completions::completions(shell, command()),
        Verb::Man => man::man(command()),
    };
    status.unwrap_or_else(Termination::report)
}

/// The definitions above, for completions and the manual.
fn command() -> clap::Command {
    Arguments::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        command().debug_assert();
    }

    #[test]
    fn a_request_is_read_as_curl_would_have_it() {
        let line =
            ["pointsman", "explain", "GET", "http://a/", "-H", "X-A: b", "-H", "c: d", "--from", "::1"];
        let Verb::Explain(request) = Arguments::parse_from(line).verb else { panic!("another verb") };
        assert_eq!(request.headers, ["X-A: b", "c: d"]);
        assert!(request.from.is_loopback());
    }
}
