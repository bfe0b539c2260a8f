//! `pointsman status --watch`: lines where there is no terminal, and a view of it where there is one.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::support::{InTime, Origin, Proxy, UPGRADE, eventually, eventually_within, proxy::config, skipped};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// The watching program; it is ended when this is dropped.
struct Watching(Child);

impl Watching {
    fn start(proxy: &Proxy, more: &[&str]) -> (Self, BufReader<ChildStdout>) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(["status", "--watch", "--interval", "0.2", "--admin"])
            .arg(format!("http://{}", proxy.address("admin")))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        (Self(child), lines)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn line(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    assert!(lines.read_line(&mut line).unwrap() > 0, "it ended");
    line
}

#[test]
fn a_pipe_gets_lines_through_an_upgrade_until_closed() {
    let origin = Origin::named("one");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    let (mut watching, mut lines) = Watching::start(&proxy, &[]);
    let first = line(&mut lines);
    assert!(first.contains("generation 1") && first.contains("1 of 1 backends up"), "{first}");
    assert!(!first.contains('\x1b'), "{first}");
    eventually("requests are seen", || {
        (0..10).for_each(|_| assert_eq!(proxy.get("/").status, 200));
        let line = line(&mut lines);
        !line.starts_with("0 ")
            && line.contains(" requests/s, 0 errors/s, p50 ")
            && line.contains(" ms, p99 ")
    });
    proxy.signal("USR2");
    eventually_within(UPGRADE, "the next program is seen", || line(&mut lines).contains("generation 2"));
    eventually("and its rates", || line(&mut lines).contains(" requests/s"));
    drop(lines);
    let mut status = None;
    eventually("it ends", || {
        status = watching.0.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());
}

#[test]
fn json_is_an_object_for_each_look() {
    let origin = Origin::named("one");
    let mut proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    let (_watching, mut lines) = Watching::start(&proxy, &["--json"]);
    let mut json = || serde_json::from_str::<Value>(&line(&mut lines)).unwrap();
    let first = json();
    assert_eq!((&first["pid"], &first["per_second"]), (&proxy.pid().into(), &Value::Null));
    let second = json();
    assert!(second["per_second"]["requests"].is_number() && second["at"].as_u64() > first["at"].as_u64());
    // The endpoint is gone: that is said, and no more.
    proxy.signal("TERM");
    proxy.wait();
    eventually("it says so", || json()["trouble"].as_str().is_some_and(|it| it.contains("trying again")));
}

#[test]
fn a_terminal_is_drawn_on_resized_and_given_back() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped("python3");
    }
    let origin = Origin::named("one");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    (0..20).for_each(|_| assert_eq!(proxy.get("/").status, 200));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/support/terminal.py");
    let admin = format!("http://{}", proxy.address("admin"));
    // A key, ctrl-C as the terminal sends it, and signals from elsewhere.
    for end in ["q", "ctrl-c", "TERM", "INT"] {
        let output = Command::new("python3")
            .args([script, end, env!("CARGO_BIN_EXE_pointsman"), &admin])
            .env("TERM", "xterm")
            .in_time()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{end}: {printed}");
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(seen["status"], 0, "{end}");
        assert_eq!((&seen["raw"], &seen["restored"]), (&true.into(), &true.into()), "{end}: keys");
        let all = seen["all"].as_str().unwrap();
        assert!(all.contains("\x1b[?1049h") && all.contains("\x1b[?25l"), "{end}");
        let after = all.rsplit("\x1b[?1049h").next().unwrap();
        assert!(after.contains("\x1b[?25h") && after.ends_with("\x1b[?1049l"), "{end}: {after:?}");
        let large = seen["large"].as_str().unwrap();
        assert!(large.contains("u/b0") && large.contains("requests"), "{end}: {large:?}");
        let small: Vec<&str> =
            seen["small"].as_str().unwrap().lines().map(|line| line.trim_end_matches('\r')).collect();
        assert!(small.len() <= 6 && small.iter().all(|line| line.chars().count() <= 30), "{end}: {small:?}");
    }
}
