//! Output that nobody takes: pipes that are full from the start hold up no request, no reload and no stop.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Write, pipe},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::fs::{OFlags, fcntl_setfl};

use crate::support::{
    Client, Origin, PATIENCE,
    client::know_token,
    eventually, eventually_within,
    proxy::{config, folder},
};

/// A pipe that takes nothing more until somebody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    loop {
        match writer.write(&[b'\n'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer)
}

/// A proxy whose standard output and error are full pipes.
struct Unread {
    child: Child,
    /// They are held so that the pipes do not break.
    output: PipeReader,
    error: Option<PipeReader>,
    address: SocketAddr,
    admin: SocketAddr,
    folder: PathBuf,
    text: String,
}

impl Unread {
    fn start(origin: &Origin) -> Self {
        let folder = folder();
        let [address, admin] = [crate::support::free(), crate::support::free()];
        let text =
            config(&[origin.address()], &format!("[admin]\naddress = \"{admin}\"\ntoken_file = \"token\"\n"))
                .replace("127.0.0.1:0", &address.to_string())
                .replace("[runtime]\n", "[runtime]\ndrain_timeout = \"2s\"\n");
        fs::write(folder.join("pointsman.toml"), &text).unwrap();
        fs::write(folder.join("token"), "s3cret").unwrap();
        know_token(admin, "s3cret".to_owned());
        let ((output, stdout), (error, stderr)) = (full_pipe(), full_pipe());
        let child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(["run", "--config"])
            .arg(folder.join("pointsman.toml"))
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        let started = Self { child, output, error: Some(error), address, admin, folder, text };
        eventually("it listens", || [address, admin].iter().all(|it| TcpStream::connect(it).is_ok()));
        started
    }

    fn edit(&self, from: &str, to: &str) {
        fs::write(self.file(), self.text.replace(from, to)).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.join("pointsman.toml")
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Asks it to stop, and says how long that took.
    fn stop(mut self) -> Duration {
        let begun = Instant::now();
        self.signal("TERM");
        eventually("it ends", || self.child.try_wait().unwrap().is_some());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        begun.elapsed()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn has_line(file: &Path, part: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.contains(part))
}

#[test]
fn full_pipes_hold_up_no_request_and_no_stop() {
    let origin = Origin::named("hello");
    let proxy = Unread::start(&origin);
    let mut client = Client::connect(proxy.address);
    // More than the writer of the access log has room for in one buffer.
    for _ in 0..500 {
        assert_eq!(client.get("/a-target-that-is-long-enough-to-fill-a-buffer-soon").status, 200);
    }
    proxy.signal("HUP");
    let answer = Client::connect(proxy.admin).get_with("/api/v1/status", "localhost", "");
    assert_eq!(answer.status, 200, "the control side goes on");
    drop(client);
    let took = proxy.stop();
    assert!(took < PATIENCE / 2, "with 2 s to drain it took {took:?}");
}

#[test]
fn an_access_log_leaves_a_full_pipe_at_a_reload() {
    let origin = Origin::named("hello");
    let proxy = Unread::start(&origin);
    let mut client = Client::connect(proxy.address);
    for round in 0..3 {
        let file = proxy.folder.join(format!("access-{round}.log"));
        proxy.edit("[log]\n", &format!("[log]\naccess = \"{}\"\n", file.display()));
        let target = format!("/of-round-{round}");
        eventually("lines come to the file", || {
            assert_eq!(client.get(&target).status, 200);
            has_line(&file, &target)
        });
        // Back to the pipe that takes nothing.
        proxy.edit("", "");
        eventually("the pipe is in force again", || {
            let status = Client::connect(proxy.admin).get_with("/api/v1/status", "localhost", "").text();
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            status["generation"] == 3 + 2 * round
        });
    }
    drop(client);
    assert!(proxy.stop() < PATIENCE / 2);
}

#[test]
fn a_fifo_without_a_reader_is_refused_as_access_log() {
    let origin = Origin::named("hello");
    let proxy = Unread::start(&origin);
    let fifo = proxy.folder.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    proxy.edit("[log]\n", &format!("[log]\naccess = \"{}\"\n", fifo.display()));
    eventually("it is refused", || {
        let status = Client::connect(proxy.admin).get_with("/api/v1/status", "localhost", "").text();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["last_reload"]["ok"] == false
    });
    assert_eq!(Client::connect(proxy.address).get("/").status, 200);
    assert!(proxy.stop() < PATIENCE / 2);
}

#[test]
fn dropped_lines_of_the_log_are_counted_and_reported() {
    let origin = Origin::named("hello");
    let mut proxy = Unread::start(&origin);
    let mut admin = Client::connect(proxy.admin);
    let dropped = |admin: &mut Client| {
        let text = admin.get_with("/metrics", "localhost", "").text();
        let value = text.lines().find_map(|line| line.strip_prefix("pointsman_log_dropped_total "));
        value.unwrap().parse::<u64>().unwrap()
    };
    // More than a thousand lines, one for each request and reload.
    eventually_within(3 * PATIENCE, "lines are dropped", || {
        for _ in 0..100 {
            admin.send("POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(admin.response("POST").status, 200);
        }
        dropped(&mut admin) > 0
    });
    let lines = BufReader::new(proxy.error.take().unwrap()).lines().map_while(Result::ok);
    let mut lines = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok());
    let report = lines.find(|line| line["message"].as_str().is_some_and(|it| it.contains("dropped")));
    let report = report.unwrap();
    assert_eq!((&report["level"], report["lines"].as_u64()), (&"WARN".into(), Some(dropped(&mut admin))));
    // Whoever reads from here on need not be there.
    std::thread::spawn(move || lines.for_each(drop));
    drop(admin);
    assert!(proxy.stop() < PATIENCE / 2);
}

#[test]
fn a_start_that_fails_ends_with_full_pipes() {
    let folder = folder();
    let file = folder.join("pointsman.toml");
    let ((_output, stdout), (_error, stderr)) = (full_pipe(), full_pipe());
    fs::write(&file, "nonsense").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(["run", "--config"]).arg(&file).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let mut child = command.spawn().unwrap();
    let mut status = None;
    eventually("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(2));
    fs::remove_dir_all(folder).unwrap();
}
