//! The proxy under test: the real binary, on ports that the kernel picks.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use super::{Client, PATIENCE, UPGRADE, client, eventually, eventually_within};

/// A running proxy; it is stopped when this is dropped.
pub struct Proxy {
    child: Child,
    addresses: HashMap<String, String>,
    folder: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
    /// How many threads read its log still.
    reading: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts the binary with this configuration. Listeners are found by name; the access log goes to
    /// standard output, the program's own log to standard error, both as JSON.
    pub fn start(config: &str) -> Self {
        Self::start_in(folder(), config)
    }

    /// The same in a folder that holds what the configuration refers to.
    pub fn start_in(folder: PathBuf, config: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.args(["run", "--config"]).arg(folder.join("pointsman.toml")).stdin(Stdio::null());
        Self::start_by(command, folder, config)
    }

    /// The same by another command, which finds the configuration in the folder as `pointsman.toml`, and
    /// with its own standard input.
    pub fn start_by(command: Command, folder: PathBuf, config: &str) -> Self {
        fs::write(folder.join("pointsman.toml"), config).unwrap();
        let tables = ["[[listener]]", "[admin]", "[cluster.peers]"];
        let expected = tables.iter().map(|table| config.matches(table).count()).sum();
        Self::begin(command, folder, expected)
    }

    /// Starts a command that runs the proxy, and waits until it listens at as many addresses as that.
    pub fn spawn(mut command: Command, folder: PathBuf, expected: usize) -> Self {
        command.stdin(Stdio::null());
        Self::begin(command, folder, expected)
    }

    fn begin(mut command: Command, folder: PathBuf, expected: usize) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (sender, listening) = mpsc::channel();
        let error = BufReader::new(child.stderr.take().unwrap());
        let reading = Arc::new(AtomicUsize::new(2));
        let (kept, is_read) = (log.clone(), reading.clone());
        std::thread::spawn(move || {
            let mut token = None;
            for line in error.lines().map_while(Result::ok) {
                note_token(&line, &mut token);
                let _ = sender.send(line.clone());
                kept.lock().unwrap().push(line);
            }
            is_read.fetch_sub(1, Ordering::SeqCst);
        });
        let output = BufReader::new(child.stdout.take().unwrap());
        let (kept, is_read) = (log.clone(), reading.clone());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
            is_read.fetch_sub(1, Ordering::SeqCst);
        });
        let mut proxy = Self { child, addresses: HashMap::new(), folder, log, reading };
        // One that fails is known at once; in a network namespace it may wait for the kernel, which takes another one away.
        let end = Instant::now() + UPGRADE;
        while proxy.addresses.len() < expected {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = listening.recv_timeout(left) else {
                panic!("the proxy did not start:\n{}", proxy.log().join("\n"));
            };
            proxy.note_address(&line);
        }
        proxy
    }

    fn note_address(&mut self, line: &str) {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { return };
        let fields = &line;
        let name = match fields["message"].as_str() {
            Some("listening") => fields["listener"].as_str().unwrap(),
            Some("admin listening") => "admin",
            Some("metrics listening") => "metrics",
            _ => return,
        };
        self.addresses.insert(name.to_owned(), fields["address"].as_str().unwrap().to_owned());
    }

    /// Where a listener listens.
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.addresses[listener].parse().unwrap()
    }

    /// A connection to the listener `web`.
    pub fn connect(&self) -> Client {
        Client::connect(self.address("web"))
    }

    /// One request over a connection of its own to the listener `web`.
    pub fn get(&self, target: &str) -> super::client::Response {
        self.connect().get(target)
    }

    /// Where a listener that came with a reload listens: the last that the log names.
    pub fn listening(&self, listener: &str) -> SocketAddr {
        let mut found = None;
        eventually(&format!("{listener} listens"), || {
            let lines = self.log();
            let lines = lines.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let of_listener = |line: &serde_json::Value| {
                line["message"].as_str().is_some_and(|it| it.starts_with("listening"))
                    && line["listener"] == listener
            };
            found = lines.rev().find(of_listener).and_then(|line| line["address"].as_str()?.parse().ok());
            found.is_some()
        });
        found.unwrap()
    }

    /// Writes another configuration over the one that is there, in place.
    pub fn edit(&self, config: &str) {
        fs::write(self.folder.join("pointsman.toml"), config).unwrap();
    }

    /// How many lines of the log have this in them.
    pub fn count_logged(&self, part: &str) -> usize {
        self.log().iter().filter(|line| line.contains(part)).count()
    }

    /// Waits for as many lines as that.
    pub fn until_logged(&self, part: &str, times: usize) {
        self.until_logged_within(PATIENCE, part, times);
    }

    /// The same with a time of its own.
    pub fn until_logged_within(&self, time: Duration, part: &str, times: usize) {
        let what = format!("{times} × {part} in the log");
        eventually_within(time, &what, || self.count_logged(part) >= times);
    }

    /// Waits until as many programs as that have taken over, one from the other.
    pub fn until_upgraded(&self, times: usize) {
        eventually_within(UPGRADE, "another program took over", || self.upgraded().len() >= times);
    }

    /// Waits until as many upgrades as that have failed.
    pub fn until_not_upgraded(&self, times: usize) {
        self.until_logged_within(UPGRADE, "the upgrade failed, and this program keeps running", times);
    }

    /// The folder of the configuration.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Every line of both logs so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The access log's lines so far.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let lines = self.log();
        let lines = lines.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(|line| line.get("status").is_some()).collect()
    }

    /// Waits for an access log line of this target.
    pub fn logged(&self, target: &str) -> serde_json::Value {
        let mut found = None;
        eventually(&format!("a log line of {target}"), || {
            found = self.access_log().into_iter().find(|line| line["target"] == target);
            found.is_some()
        });
        found.unwrap()
    }

    /// Sends a signal, by its name, to the process that serves now.
    pub fn signal(&self, name: &str) {
        let pid = self.upgraded().last().copied().unwrap_or(u64::from(self.pid()));
        let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// The processes that took over, one from the other.
    pub fn upgraded(&self) -> Vec<u64> {
        let lines = self.log();
        let lines = lines.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines
            .filter(|line| line["message"] == "handed over")
            .filter_map(|line| line["pid"].as_u64())
            .collect()
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.hear_out(end);
                return status;
            }
            assert!(Instant::now() < end, "the proxy does not end:\n{}", self.log().join("\n"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until all that it said is in the log; whoever took over from it goes on saying things.
    fn hear_out(&self, end: Instant) {
        while self.upgraded().is_empty() && self.reading.load(Ordering::SeqCst) > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Processor's time that it has used, of all its threads.
    pub fn cpu(&self) -> std::time::Duration {
        let status = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name before them may hold anything.
        let fields = status.rsplit(')').next().unwrap().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        std::time::Duration::from_secs(ticks)
            / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most resident memory so far, in bytes.
    pub fn highest_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            running_in(&self.folder).iter().for_each(|pid| tell_threads(pid));
            tell_ended(self.pid(), &self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Programs that took over: they run with the file of this test's own folder, and so does nobody else.
        for pid in running_in(&self.folder) {
            let _ = Command::new("kill").args(["-KILL", &pid]).stderr(Stdio::null()).status();
        }
        if std::thread::panicking() {
            eprintln!("the proxy's log:\n{}", self.log().join("\n"));
        }
        // The token of an address that nobody has any more.
        for line in self.log().iter().filter_map(|it| serde_json::from_str::<serde_json::Value>(it).ok()) {
            if let Some(file) = line["token_file"].as_str() {
                let _ = fs::remove_file(file);
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Remembers the token that a program says it has made, once it says where it listens.
fn note_token(line: &str, token: &mut Option<String>) {
    let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { return };
    if line["message"].as_str().is_some_and(|it| it.starts_with("listening"))
        && let Some(address) = line["address"].as_str().and_then(|address| address.parse().ok())
    {
        // The port may have been an admin endpoint's.
        client::forget_token(address);
    }
    if line["message"] == "admin token" {
        *token = fs::read_to_string(line["token_file"].as_str().unwrap()).ok();
    }
    if line["message"] == "admin listening"
        && let Some(token) = token.take()
        && let Ok(address) = line["address"].as_str().unwrap().parse()
    {
        client::know_token(address, token.trim().to_owned());
    }
}

/// Processes that were started with a file in this folder.
fn running_in(folder: &Path) -> Vec<String> {
    let folder = format!("{}/", folder.display());
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let is_there = |process: &PathBuf| {
        fs::read(process.join("cmdline")).is_ok_and(|it| String::from_utf8_lossy(&it).contains(&folder))
    };
    let pid =
        |process: PathBuf| process.file_name()?.to_str()?.parse::<u32>().ok().map(|pid| pid.to_string());
    processes.filter(is_there).filter_map(pid).collect()
}

/// Says of each thread of a process what it waits for: one that says nothing may hang.
fn tell_threads(pid: &str) {
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let state = read("stat").rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?');
        eprintln!("process {pid}, {}: {state} {}", read("comm").trim(), read("wchan"));
    }
}

/// Says which of the processes that take part in upgrades have ended: one that was killed has said nothing of it.
fn tell_ended(first: u32, log: &[String]) {
    let lines = log.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let named: BTreeSet<u64> = lines.filter_map(|line| line["pid"].as_u64()).collect();
    for pid in named.into_iter().chain([first.into()]) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        if stat.is_err() || stat.is_ok_and(|it| it.contains(") Z ")) {
            eprintln!("process {pid} has ended");
        }
    }
}

/// A new folder of this test's own. What test programs that have ended left behind goes with the first.
pub fn folder() -> PathBuf {
    folder_in(&std::env::temp_dir())
}

/// The same in another place, of which `/dev/shm` is swept too.
pub fn folder_in(place: &Path) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    static SWEPT: Once = Once::new();
    SWEPT.call_once(remove_left_behind);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = place.join(format!("pointsman-test-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn remove_left_behind() {
    let places = [std::env::temp_dir(), PathBuf::from("/dev/shm")];
    for entry in places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten().flatten() {
        let name = entry.file_name();
        let of = name.to_str().and_then(|name| name.strip_prefix("pointsman-test-")?.split('-').next());
        if of.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another account's stays.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A configuration with a listener `web`, a route for everything, and an upstream `u` of these
/// backends. `more` is put at its end, so that it can add to the upstream.
pub fn config(backends: &[SocketAddr], more: &str) -> String {
    config_of(&backends.iter().map(ToString::to_string).collect::<Vec<_>>(), "", more)
}

/// The same with addresses as text, and with options of the listener.
pub fn config_of(backends: &[String], listener: &str, more: &str) -> String {
    let mut text = format!(
        "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\n\
         [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{listener}\n\
         [[route]]\nname = \"all\"\nupstream = \"u\"\n[[upstream]]\nname = \"u\"\n"
    );
    let (upstream, tables) = more.split_once("---\n").unwrap_or(("", more));
    text.push_str(upstream);
    for (number, address) in backends.iter().enumerate() {
        text.push_str(&format!("[[upstream.backend]]\nname = \"b{number}\"\naddress = \"{address}\"\n"));
    }
    text + tables
}
