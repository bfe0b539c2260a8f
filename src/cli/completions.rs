//! `pointsman completions`: what a shell needs to complete the command line.

use std::process::ExitCode;

use super::{command, print};

/// Prints the script for a shell.
pub(super) fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "pointsman", &mut script);
    print(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
