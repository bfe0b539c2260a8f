//! `pointsman upgrade`: has the installed program take the place of the running one.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Failure, Status,
    admin::{Question, Running},
    print,
};
use crate::reload::upgrade::LONGEST;

/// Longer than the running program may take; a reload that goes on there comes first.
const PATIENCE: Duration = LONGEST.saturating_add(Duration::from_secs(20));

/// Asks for it, waits until the next program serves, and prints its process.
pub(super) fn upgrade(running: &Running) -> Status {
    let endpoint = running.endpoint()?;
    let (sender, done) = mpsc::channel();
    let asked = endpoint.clone();
    thread::spawn(move || {
        // Whoever waits for it is there for as long as the program is.
        let _ = sender.send(asked.ask(&Question::post("/api/v1/upgrade").patient(PATIENCE)));
    });
    let begun = Instant::now();
    let answer = loop {
        match done.recv_timeout(Duration::from_secs(1)) {
            Ok(answer) => break answer,
            Err(mpsc::RecvTimeoutError::Timeout) => progress(begun.elapsed().as_secs()),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(Failure::new("the connection broke")),
        }
    };
    progress_over();
    let answer = answer.map_err(|trouble| endpoint.failure(&trouble, running.json))?;
    match running.json {
        true => print(&format!("{answer:#}\n"))?,
        false => {
            let pid = answer.get("pid").and_then(Value::as_u64).unwrap_or_default();
            print(&format!("upgraded: process {pid} serves; the previous one finishes what it has\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says on a terminal that it still goes on.
fn progress(seconds: u64) {
    let mut error = std::io::stderr();
    if error.is_terminal() {
        let _ = write!(error, "\rwaiting for the new program: {seconds} s");
        let _ = error.flush();
    }
}

fn progress_over() {
    let mut error = std::io::stderr();
    if error.is_terminal() {
        let _ = write!(error, "\r\x1b[K");
    }
}
