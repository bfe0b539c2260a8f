//! `pointsman check`: everything that is wrong with a configuration, and what it would change of a program
//! that runs.

use std::{
    borrow::Cow,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::{Value, json};

use super::{
    Failure, File, Format, Status,
    admin::{Ask, Endpoint, Question, Trouble},
    fleet, print, start,
};
use crate::{
    config::{Beside, CheckFormat, Config, Problems, check_report, load, parse_with, read_text_or_pipe},
    reload::plan,
    runtime::build::build_apart,
    schema::Problem,
};

/// What is checked: a file, or what a store has for many nodes.
struct Subject {
    /// As it is called.
    name: PathBuf,
    /// Where it is, or where a copy of it is kept.
    path: PathBuf,
    /// What the store has.
    shared: Option<String>,
}

/// Reads and builds the configuration, and prints every problem; with `against`, a plan if there is none.
pub(super) fn check(file: File, format: Format, against: Option<&Ask>) -> Status {
    // Which file leads to the endpoint is asked before the file is found, since the default may be meant.
    let named = file.clone();
    let subject = Subject::find(file)?;
    let report = match format {
        Format::Text => CheckFormat::Text,
        Format::Json => CheckFormat::Json,
    };
    let loaded = subject.load();
    let (text, status) = check_report(&subject.name, &loaded, report);
    if let Some(problem) = loaded.ok().and_then(|config| build_apart(config).err()) {
        print_problems(&Problems(vec![Problem::with_file(subject.name, problem, None)]), format)?;
        return Ok(ExitCode::from(2));
    }
    match against {
        Some(ask) if status == 0 => against_running(&subject, &Endpoint::find(ask, &named)?, format),
        Some(_) | None => {
            print(&text)?;
            Ok(ExitCode::from(status))
        }
    }
}

impl Subject {
    fn find(file: File) -> Result<Self, Failure> {
        match fleet::source(file.config.as_deref())? {
            Some(source) => Ok(Self {
                shared: Some(fleet::document(&source)?.text),
                path: fleet::copy_of(&source),
                name: source.url.into(),
            }),
            None => start::find(file).map(|path| Self { name: path.clone(), path, shared: None }),
        }
    }

    fn load(&self) -> Result<Config, Problems> {
        let Some(text) = &self.shared else { return load(&self.path) };
        let checked = parse_with(text, &self.path, Beside::Nothing);
        checked.map(|(config, _)| config).map_err(|mut problems| {
            // The copy may have another text.
            for problem in problems.0.iter_mut().filter(|problem| problem.file == self.path) {
                problem.file.clone_from(&self.name);
            }
            problems
        })
    }

    fn text(&self) -> Result<Cow<'_, str>, Problems> {
        match &self.shared {
            Some(text) => Ok(text.into()),
            None => read_text_or_pipe(&self.path).map(Cow::Owned),
        }
    }
}

fn print_problems(problems: &Problems, format: Format) -> Result<(), Failure> {
    print(&match format {
        Format::Text => {
            format!("{problems}\n\n{}\n", super::admin::counted(problems.0.len(), "problem"))
        }
        Format::Json => format!("{:#}\n", json!({"ok": false, "problems": problems.to_json()})),
    })
}

/// Sends the file's text to the running program and prints what it says.
fn against_running(subject: &Subject, endpoint: &Endpoint, format: Format) -> Status {
    let text = subject.text().map_err(Failure::usage)?;
    let is_json = format == Format::Json;
    match endpoint.ask(&Question::post("/api/v1/config/plan").with_toml(&text)) {
        Ok(plan) if is_json => print(&format!("{plan:#}\n"))?,
        Ok(plan) => {
            print(&plan::text(&plan))?;
            if let Some(theirs) = running_file(endpoint).filter(|theirs| is_other(&subject.path, theirs)) {
                // With standard error closed nobody reads it.
                let _ = writeln!(
                    std::io::stderr(),
                    "note: the running program uses {}, and this is {}",
                    theirs.display(),
                    subject.name.display()
                );
            }
        }
        Err(Trouble::Refused(422, answer)) => return refused(&answer, endpoint, is_json),
        Err(trouble) => return Err(endpoint.failure(&trouble, is_json)),
    }
    Ok(ExitCode::SUCCESS)
}

/// What is good here is not there: other files are there, or it is another version.
fn refused(answer: &Value, endpoint: &Endpoint, is_json: bool) -> Status {
    let trouble = Trouble::Refused(422, answer.clone());
    let failure = endpoint.failure(&trouble, is_json);
    match is_json {
        true => Ok(ExitCode::from(2)),
        false => Err(Failure::usage(format!(
            "the file is valid here, but not where the running program is:\n{}",
            failure.text()
        ))),
    }
}

/// The file of the running program.
fn running_file(endpoint: &Endpoint) -> Option<PathBuf> {
    let status = endpoint.ask(&Question::get("/api/v1/status")).ok()?;
    Some(status.get("config_file")?.as_str()?.into())
}

/// Whether the running program's file is surely another one than ours. Its name may start from a folder
/// that only it knows.
fn is_other(own: &Path, theirs: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match theirs.is_absolute() {
        true => real(theirs) != real(own),
        false => theirs.file_name() != own.file_name(),
    }
}
