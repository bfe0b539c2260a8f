//! How a verb ends, and how it prints.

use std::{
    fmt,
    io::{self, Write},
    process::{ExitCode, Termination},
};

use crate::telemetry::{clock, program_log::write_at_the_end};

/// What a verb gives.
pub(super) type Status = Result<ExitCode, Failure>;

/// Why a verb ended early: a text for people, and the exit status. Told on its way out.
#[derive(Debug)]
pub struct Failure {
    pub(super) text: String,
    pub(super) status: u8,
}

impl Failure {
    /// A failure of what was asked for; ends with status 1.
    pub fn new(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), status: 1 }
    }

    /// Tells it as [`Termination::report`] does, and waits for who reads for a second at most.
    pub fn report_in_time(self) -> ExitCode {
        write_at_the_end(self.text);
        ExitCode::from(self.status)
    }

    /// The same as a line of the log in JSON.
    #[must_use]
    pub fn as_line(self) -> Self {
        let mut time = Vec::new();
        clock::write_iso(&mut time);
        let time = String::from_utf8_lossy(&time);
        let line = serde_json::json!({"timestamp": time, "level": "ERROR", "message": self.text});
        Self { text: line.to_string(), ..self }
    }

    /// What is printed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A failure of who asks, or of the configuration; ends with status 2.
    pub fn usage(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), status: 2 }
    }
}

impl Termination for Failure {
    fn report(self) -> ExitCode {
        // With standard error closed nobody reads it.
        let _ = writeln!(std::io::stderr(), "{}", self.text);
        ExitCode::from(self.status)
    }
}

/// Prints to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// The same, where the text is not what was asked for.
pub(super) fn tell(text: &str) {
    let _nobody_waits_for_it = print(text);
}

/// What printing came to. Whoever closed the pipe has read enough.
pub(super) fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
