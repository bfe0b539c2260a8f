//! `pointsman schema`: the JSON Schema of the configuration file, for editors.

use std::process::ExitCode;

use super::print;
use crate::config;

/// Prints it.
pub(super) fn schema() -> ExitCode {
    print(&format!("{:#}\n", config::schema()));
    ExitCode::SUCCESS
}
