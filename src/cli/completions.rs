//! `pointsman completions`: what a shell needs to complete the command line.

use std::process::ExitCode;

use super::{Status, print};

/// Prints the script for a shell; `command` has the definitions.
pub(super) fn completions(shell: clap_complete::Shell, mut command: clap::Command) -> Status {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "pointsman", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
