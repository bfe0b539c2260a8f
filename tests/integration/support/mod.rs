//! Starting the real binary, scripted backends, and raw clients.

pub mod browser;
pub mod client;
pub mod frames;
pub mod h2;
pub mod http2_origin;
pub mod in_time;
pub mod origin;
pub mod otlp;
pub mod ports;
pub mod proxy;
pub mod tls;

pub use client::Client;
pub use in_time::InTime;
pub use origin::{Origin, Reply, Request};
pub use ports::{free, free as nobody};
pub use proxy::Proxy;

use std::{
    io,
    time::{Duration, Instant},
};

/// How long anything that must happen may take, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long an upgrade, or a start, may take: longer than the program before waits for the next one to serve and to prove it.
/// Where a machine's disk stands still, nobody starts.
pub const UPGRADE: Duration = Duration::from_secs(75);

/// Waits until `is_so`, looking again and again; panics when it does not come about.
pub fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, is_so);
}

/// The same with a time of its own.
pub fn eventually_within(time: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while !is_so() {
        assert!(Instant::now() < end, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Makes a program of this script. A process of its own writes it: a child that some other test starts meanwhile would hold
/// open what is written here, and what is open for writing cannot be run.
pub fn write_script(program: &std::path::Path, script: &str) {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$2\" >\"$1\" && chmod 755 \"$1\"", "sh"]);
    assert!(shell.arg(program).arg(script).status().unwrap().success());
}

/// A program of the Python packages that `tests/run` installs; `None`, and a line that says so, without.
pub fn python_tool(name: &str) -> Option<std::path::PathBuf> {
    let folder = match std::env::var_os("POINTSMAN_PYTHON_TOOLS") {
        Some(folder) => std::path::PathBuf::from(folder),
        None => std::path::Path::new(env!("CARGO_BIN_EXE_pointsman"))
            .ancestors()
            .nth(2)
            .unwrap()
            .join("python-tools"),
    };
    let program = folder.join("bin").join(name);
    if !program.exists() {
        skipped(name);
    }
    program.exists().then_some(program)
}

/// Says that a test was skipped, past the harness, which shows what failed tests print and no other; and
/// to `tests/run`, which counts it.
pub fn skipped(program: &str) {
    let line = format!("{program} is not installed\n");
    let file = std::env::var_os("POINTSMAN_SKIPPED");
    let file = file.map(|file| std::fs::OpenOptions::new().append(true).open(file).unwrap());
    let _ = match file {
        Some(mut file) => std::io::Write::write_all(&mut file, line.as_bytes()),
        None => std::io::Write::write_all(&mut std::io::stderr(), format!("skipped: {line}").as_bytes()),
    };
}

/// What a call gives, which is made again where the machine stopped for a moment: one with a time limit is not taken up
/// again by the kernel.
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
