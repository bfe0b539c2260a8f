//! `pointsman check`: everything that is wrong with a configuration.

use std::process::ExitCode;

use super::{File, Format, Status, print, start};
use crate::{
    config::{CheckFormat, Problems, check_report, load},
    settings::Problem,
};

/// Reads and builds the configuration, and prints every problem.
pub(super) fn check(file: File, format: Format) -> Status {
    let path = start::find(file)?;
    let report = match format {
        Format::Text => CheckFormat::Text,
        Format::Json => CheckFormat::Json,
    };
    let (text, status) = check_report(&path, report);
    let built = match load(&path) {
        Ok(config) => start::build(config).err(),
        Err(_) => None,
    };
    let Some(problem) = built else {
        print(&text);
        return Ok(ExitCode::from(status));
    };
    let problems = Problems(vec![Problem::with_file(path, problem, None)]);
    print(&match format {
        Format::Text => format!("{problems}\n\n1 problem\n"),
        Format::Json => {
            let report = serde_json::json!({"ok": false, "problems": problems.to_json()});
            format!("{report:#}\n")
        }
    });
    Ok(ExitCode::from(2))
}
