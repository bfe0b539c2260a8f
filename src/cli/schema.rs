//! `pointsman schema`: the JSON Schema of the configuration file, for editors.

use std::process::ExitCode;

use super::{Status, print};
use crate::config;

/// Prints it.
pub(super) fn schema() -> Status {
    print(&format!("{:#}\n", config::schema()))?;
    Ok(ExitCode::SUCCESS)
}
