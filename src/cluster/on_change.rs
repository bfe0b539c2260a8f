//! A program that is run when the role of this node changes: where an address is moved by an API.
//!
//! It runs on a thread of its own, one at a time. The newest state of each group wins: what was overtaken while another
//! ran is not told. A program that fails or takes too long is run again after a growing pause, and it is run again on a
//! primary whenever another node was primary in between, so it has to be one that may be run twice.

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::Receiver,
    runtime::{Builder, LocalOptions},
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{conf::OnChangeConf, role::Role, status::Status};
use crate::net::descriptors;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The role from now on.
    pub role: Role,
    /// The number of the election.
    pub fence: u64,
    /// What this node is called.
    pub node: String,
    /// The group.
    pub router: String,
    /// Its addresses, without prefixes.
    pub addresses: Vec<String>,
    /// Why the role changed.
    pub reason: String,
}

/// The way to the thread that runs the program.
#[derive(Debug)]
pub struct OnChange {
    conf: OnChangeConf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    /// By group, what is to be told of it.
    reports: BTreeMap<String, Report>,
    is_over: bool,
}

/// The first pause after a failure; each further is twice as long, up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);
/// How long a program that was killed may take to end.
const LAST: Duration = Duration::from_secs(1);
/// How long what a program said is waited for after its end: another that it started may keep the streams open.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Bytes of output that go to the log, of each run and stream.
const OUTPUT: u64 = 4096;

impl OnChange {
    /// Starts the thread. Without one nothing is told, and the log says so.
    pub fn start(conf: OnChangeConf, status: Arc<Status>) -> Option<Self> {
        let shared = Arc::new(Shared::default());
        let (of_thread, theirs) = (conf.clone(), shared.clone());
        let thread = std::thread::Builder::new().name("on-change".into());
        let started = thread.spawn(move || {
            match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime.block_on(serve(&of_thread, &theirs, &status)),
                Err(error) => tracing::error!("`on_change` cannot run: {error}"),
            }
        });
        let started = started.inspect_err(|error| tracing::error!("`on_change` cannot run: {error}")).ok()?;
        Some(Self { conf, shared, thread: Some(started) })
    }

    /// Whether it runs this program in this way.
    pub fn is(&self, conf: &OnChangeConf) -> bool {
        self.conf == *conf
    }

    /// Tells a change.
    pub fn tell(&self, report: Report) {
        self.shared.lock().reports.insert(report.router.clone(), report);
        self.shared.wake.notify_one();
    }

    /// The end: what is not told yet is, unless `is_dropped`; gives the thread, to be waited for.
    pub fn finish(mut self, is_dropped: bool) -> Option<JoinHandle<()>> {
        self.end(is_dropped);
        self.thread.take()
    }

    fn end(&self, is_dropped: bool) {
        let mut pending = self.shared.lock();
        pending.is_over = true;
        if is_dropped {
            pending.reports.clear();
        }
        drop(pending);
        self.shared.wake.notify_one();
    }
}

impl Drop for OnChange {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came since, and whether it is all.
    fn take(&self) -> (BTreeMap<String, Report>, bool) {
        let mut pending = self.lock();
        (std::mem::take(&mut pending.reports), pending.is_over)
    }

    /// Whether something newer is to be told of the group.
    fn is_overtaken(&self, router: &str) -> bool {
        self.lock().reports.contains_key(router)
    }
}

/// What is to be told of a group, and when it is tried.
struct Try {
    report: Report,
    /// How often it was tried.
    attempts: u32,
    due: Instant,
    pause: Duration,
}

/// Tells what comes, one after another; what failed waits for its time, and holds up no other group.
async fn serve(conf: &OnChangeConf, shared: &Shared, status: &Status) {
    let mut tries: BTreeMap<String, Try> = BTreeMap::new();
    loop {
        let (reports, is_over) = shared.take();
        let due = Instant::now();
        tries.extend(
            reports
                .into_iter()
                .map(|(router, report)| (router, Try { report, attempts: 0, due, pause: PAUSE })),
        );
        let next = tries.iter().min_by_key(|(_, one)| one.due).map(|(router, one)| (router.clone(), one.due));
        let Some((router, due)) = next else {
            if is_over {
                return;
            }
            shared.wake.notified().await;
            continue;
        };
        // At the end each is tried once more, at once.
        if due > Instant::now() && !is_over {
            let _ = timeout_at(due, shared.wake.notified()).await;
            continue;
        }
        let Some(mut one) = tries.remove(&router) else { continue };
        if tell(conf, status, &one).await || one.attempts >= conf.retries || shared.is_overtaken(&router) {
            continue;
        }
        if !shared.lock().is_over {
            one.attempts += 1;
            (one.due, one.pause) = (Instant::now() + one.pause, (one.pause * 2).min(LONGEST));
            tries.insert(router, one);
        }
    }
}

/// Runs the program for a report. False where it failed.
async fn tell(conf: &OnChangeConf, status: &Status, one: &Try) -> bool {
    let (role, router) = (one.report.role.name(), &one.report.router);
    let problem = run(conf, &one.report).await.err().map(|why| format!("`on_change` for {role}: {why}"));
    let mut inner = status.lock();
    inner.group(router).into_iter().for_each(|group| group.on_change_problem.clone_from(&problem));
    drop(inner);
    match &problem {
        None => tracing::info!(group = %router, role, "`on_change` was run"),
        Some(problem) => tracing::error!(group = %router, attempt = one.attempts + 1, "{problem}"),
    }
    problem.is_none()
}

/// Runs the program once. The error is for people.
async fn run(conf: &OnChangeConf, report: &Report) -> Result<(), String> {
    let values = values(report);
    let mut words = conf.command.iter().map(|word| filled(word, &values));
    let program = words.next().unwrap_or_default();
    let mut command = Command::new(&program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, value) in &values {
        command.env(format!("POINTSMAN_{}", name.to_uppercase()), value);
    }
    #[cfg(test)]
    let child = crate::sync::children::begin(|| command.spawn());
    #[cfg(not(test))]
    let child = command.spawn();
    let mut child = child.map_err(|error| format!("{program} cannot be started: {error}"))?;
    let output = child.stdout.take().map(OwnedFd::from);
    let errors = child.stderr.take().map(OwnedFd::from);
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let (is_under_way, is_over) = oneshot::channel::<()>();
    let ends = async {
        let ended = timeout(conf.timeout, ended(&child)).await;
        drop(is_under_way);
        ended
    };
    let reads = async {
        // What it started may keep these open for as long as it likes.
        let late = async {
            let _ = is_over.await;
            sleep(LAST_WORDS).await;
        };
        let both = async { tokio::join!(read(output, &mut said), read(errors, &mut complained)) };
        tokio::select! {
            _ = both => {}
            () = late => {}
        }
    };
    let (end, ()) = tokio::join!(ends, reads);
    log(&said, &program);
    log(&complained, &program);
    let Ok(ended) = end else {
        // Where it does not end, the next one shall not wait for it.
        let _ = child.kill();
        let _ = timeout(LAST, ended(&child)).await;
        let _ = child.try_wait();
        return Err(format!("{program} took longer than {:?}", conf.timeout));
    };
    match ended.and_then(|()| child.wait()) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} exited with {status}")),
        Err(error) => {
            let _ = child.kill();
            Err(format!("the end of {program} was not seen: {error}"))
        }
    }
}

/// Waits until a program has ended. By its descriptor, and not by tokio's processes: with those every turn of every event
/// loop, workers' too, looks for programs that have ended.
async fn ended(child: &Child) -> io::Result<()> {
    let descriptor = pidfd_open(Pid::from_child(child), PidfdFlags::NONBLOCK)?;
    descriptors::register(descriptor)?.readable().await.map(|_| ())
}

fn values(report: &Report) -> [(&'static str, String); 6] {
    [
        ("role", report.role.name().to_owned()),
        ("node", report.node.clone()),
        ("router", report.router.clone()),
        ("addresses", report.addresses.join(",")),
        ("fence", report.fence.to_string()),
        ("reason", report.reason.clone()),
    ]
}

/// `word` with its values in place of their names; what was put in is not looked at again.
fn filled(word: &str, values: &[(&'static str, String)]) -> String {
    let (mut text, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let value = after.split_once('}').and_then(|(name, after)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((value, after))
        });
        match value {
            Some((value, after)) => {
                text.push_str(value);
                rest = after;
            }
            None => {
                text.push('{');
                rest = after;
            }
        }
    }
    text + rest
}

/// Reads what a program says: the first bytes are kept in `text`, also where this is dropped before the end.
async fn read(stream: Option<OwnedFd>, text: &mut Vec<u8>) {
    let Some(mut stream) = stream.and_then(|stream| Receiver::from_owned_fd(stream).ok()) else { return };
    let mut first = (&mut stream).take(OUTPUT);
    while first.read_buf(text).await.is_ok_and(|length| length > 0) {}
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

/// Writes what a program said into the log.
fn log(text: &[u8], program: &str) {
    for line in String::from_utf8_lossy(text).lines().filter(|line| !line.trim().is_empty()) {
        tracing::info!(program, "output of `on_change`: {}", line.escape_debug());
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, kill_process};

    use super::*;
    use crate::cluster::status::GroupStatus;

    fn report(router: &str, role: Role) -> Report {
        let addresses = vec!["10.0.0.1".into(), "10.0.0.2".into()];
        let (node, router, reason) = ("n".into(), router.into(), "why {role}".into());
        Report { role, fence: 3, node, router, addresses, reason }
    }

    #[test]
    fn words_are_filled_once() {
        let values = values(&report("r", Role::Primary));
        assert_eq!(
            filled("{role} {addresses} {x} {reason} {", &values),
            "primary 10.0.0.1,10.0.0.2 {x} why {role} {"
        );
    }

    fn wait_for(path: &std::path::Path, lines: usize) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let found: Vec<String> = text.lines().map(str::to_owned).collect();
            if found.len() >= lines {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{found:?}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn group_whose_program_fails_holds_up_no_other() {
        let path = std::env::temp_dir().join(format!("pointsman-on-change-two-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let script =
            format!("[ $POINTSMAN_ROUTER != bad ] && echo $POINTSMAN_ROUTER {{role}} >> {}", path.display());
        let conf = OnChangeConf {
            command: vec!["/bin/sh".into(), "-c".into(), script],
            timeout: Duration::from_secs(10),
            retries: 1000,
        };
        let on_change = OnChange::start(conf, Arc::new(Status::default())).unwrap();
        on_change.tell(report("bad", Role::Primary));
        on_change.tell(report("good", Role::Primary));
        assert_eq!(wait_for(&path, 1), ["good primary"]);
        on_change.tell(report("good", Role::Standby));
        assert_eq!(wait_for(&path, 2)[1], "good standby");
        // The end waits for no pause.
        on_change.finish(false).unwrap().join().unwrap();
        let _ = std::fs::remove_file(&path);
    }

    #[test]
    fn program_has_ended_though_what_it_started_goes_on() {
        let path = std::env::temp_dir().join(format!("pointsman-on-change-bg-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        // Longer than the lines are waited for: the second would be late where the first was not over.
        let conf = OnChangeConf {
            command: vec![
                "/bin/sh".into(),
                "-c".into(),
                format!("sleep 300 & echo \"{{role}} $!\" >> {}", path.display()),
            ],
            timeout: Duration::from_secs(60),
            retries: 3,
        };
        let status = Arc::new(Status::default());
        let mut group = GroupStatus::new("r".into(), Vec::new());
        group.on_change_problem = Some("it failed before".into());
        status.lock().groups.push(group);
        let on_change = OnChange::start(conf, status.clone()).unwrap();
        on_change.tell(report("r", Role::Primary));
        wait_for(&path, 1);
        on_change.tell(report("r", Role::Standby));
        wait_for(&path, 2);
        on_change.finish(false).unwrap().join().unwrap();
        let lines = wait_for(&path, 2);
        let told: Vec<(&str, &str)> = lines.iter().map(|line| line.split_once(' ').unwrap()).collect();
        for (_, pid) in &told {
            let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
        }
        assert_eq!(told.iter().map(|(role, _)| *role).collect::<Vec<_>>(), ["primary", "standby"]);
        assert_eq!(status.read().groups[0].on_change_problem, None);
        let _ = std::fs::remove_file(&path);
    }

    #[test]
    fn program_that_fails_is_run_again_and_the_newest_wins() {
        let path = std::env::temp_dir().join(format!("pointsman-on-change-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        // The first run fails; its line is there nevertheless.
        let script = format!(
            "echo \"{{role}} $POINTSMAN_FENCE\" >> {0}; [ $(wc -l < {0}) -gt 1 ] || {{ echo bad >&2; exit 3; }}",
            path.display()
        );
        let conf = OnChangeConf {
            command: vec!["/bin/sh".into(), "-c".into(), script],
            timeout: Duration::from_secs(10),
            retries: 5,
        };
        let status = Arc::new(Status::default());
        let on_change = OnChange::start(conf.clone(), status).unwrap();
        assert!(on_change.is(&conf));
        on_change.tell(report("r", Role::Primary));
        assert_eq!(wait_for(&path, 2)[..2], ["primary 3", "primary 3"]);
        on_change.tell(report("r", Role::Standby));
        assert_eq!(wait_for(&path, 3)[2], "standby 3");
        let _ = std::fs::remove_file(&path);
    }
}
