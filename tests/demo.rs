//! `pointsman demo` keeps its word: every command that it prints works as printed.
//!
//! It needs `curl`, as a newcomer does. Ports that are taken are replaced by the demonstration itself, so that
//! this test does not mind what else runs on the machine.
#![allow(clippy::unwrap_used, reason = "a test's helpers may stop as a test does")]

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// The demonstration, stopped when it goes out of scope.
struct Demo(Child);

impl Demo {
    /// Starts it, and gives the lines of its guide.
    fn start() -> (Self, Vec<String>, BufReader<ChildStdout>) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .arg("demo")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        // From here on it is stopped whatever happens.
        let demo = Self(child);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(out.read_line(&mut line).unwrap() > 0, "it ended early, after {lines:?}");
            let is_last = line.starts_with("Ctrl-C");
            lines.push(line.trim_end().to_owned());
            if is_last {
                return (demo, lines, out);
            }
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a program is there; if not, says that this test was skipped.
fn has(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok_and(|it| it.status.success());
    if let (false, Some(file)) = (is_there, std::env::var_os("POINTSMAN_SKIPPED")) {
        let mut file = OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "what the demonstration prints: {program} is not there").unwrap();
    }
    is_there
}

/// Runs a command as a newcomer's shell would, and gives what it printed.
fn shell(command: &str) -> (bool, String) {
    let output = Command::new("bash").args(["-c", command]).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn every_command_that_the_demonstration_prints_works() {
    if !has("curl") {
        return;
    }
    let (mut demo, guide, _out) = Demo::start();
    // Sockets are bound a moment after the guide is printed.
    let front = guide.iter().find_map(|line| line.split("running: ").nth(1)).unwrap();
    let front = front.split(',').next().unwrap();
    assert!(shell(&format!("curl -s --retry 20 --retry-connrefused --retry-delay 1 {front}/")).0);

    let commands: Vec<&String> = guide.iter().filter(|line| line.starts_with("  ")).collect();
    assert!(
        commands.len() > 10,
        "found {} commands: is the test looking in the right place?",
        commands.len()
    );
    for command in commands {
        let (is_good, printed) = shell(&command.replacen("curl ", "curl --fail-with-body ", 9));
        assert!(is_good && !printed.is_empty(), "{command}\nprinted: {printed}");
        if command.contains("/die") {
            // One line of the dying backend, and one answer for each of thirty requests.
            assert_eq!(printed.lines().count(), 31, "{printed}");
            assert!(printed.lines().all(|line| line.starts_with("backend ")), "{printed}");
            let back = printed.lines().skip(20).any(|line| line.starts_with("backend b"));
            assert!(back, "b did not come back:\n{printed}");
        }
    }

    kill_process(Pid::from_child(&demo.0), Signal::INT).unwrap();
    assert!(demo.0.wait().unwrap().success());
    let folder = guide.iter().find_map(|line| line.split("The configuration of all this: ").nth(1)).unwrap();
    assert!(!std::path::Path::new(folder).exists(), "{folder} is left");
}
