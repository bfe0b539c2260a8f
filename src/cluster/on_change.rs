//! A program that is run when the role of this node changes: where an address is moved by an API.
//!
//! It runs on a thread of its own, one at a time, whatever becomes of the configuration. The newest state of each group
//! wins: a run for a role that the group does not have any more is stopped, and what was overtaken while another ran is not
//! told. A program that fails or takes too long is run again after a growing pause, and it is run again on a primary
//! whenever another node was primary in between, so it has to be one that may be run twice.

mod program;
mod report;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{Notify, oneshot},
    time::{Instant, timeout, timeout_at},
};

use self::program::{End, run};
pub use self::report::Report;
use super::{conf::OnChangeConf, status::Status};

/// The way to the thread that runs the program.
#[derive(Debug)]
pub struct OnChange {
    /// The program that is to be run; none where the configuration has none any more.
    conf: Option<Arc<OnChangeConf>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Closed when the thread has ended.
    ended: oneshot::Receiver<()>,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    /// By group, what is to be told of it, and to whom.
    reports: BTreeMap<String, (Report, Arc<OnChangeConf>)>,
    /// Groups of which something was to be told and has not been yet.
    untold: BTreeSet<String>,
    /// No program is configured any more: what is left is tried once more, at once.
    has_no_retries: bool,
    /// Nothing more comes.
    is_over: bool,
    /// Nothing more is run, and what runs is stopped.
    is_stopped: bool,
}

/// The first pause after a failure; each further is twice as long, up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);
/// How long the thread may take to stop what runs.
const STOPPING: Duration = Duration::from_secs(1);

impl OnChange {
    /// Starts the thread. Without one nothing is told, and the log says so.
    pub fn start(conf: OnChangeConf, status: Arc<Status>) -> Option<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let (held, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("on-change".into());
        let started = thread.spawn(move || {
            match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime.block_on(serve(&theirs, &status)),
                Err(error) => tracing::error!("`on_change` cannot run: {error}"),
            }
            drop::<oneshot::Sender<()>>(held);
        });
        let started = started.inspect_err(|error| tracing::error!("`on_change` cannot run: {error}")).ok()?;
        Some(Self { conf: Some(Arc::new(conf)), shared, thread: Some(started), ended })
    }

    /// Has this program run from now on, or none. One that runs is not stopped for that, and no other runs beside it. Gives
    /// whether it is another than before.
    pub fn configure(&mut self, conf: Option<&OnChangeConf>) -> bool {
        if self.conf.as_deref() == conf {
            return false;
        }
        self.conf = conf.cloned().map(Arc::new);
        self.shared.lock().has_no_retries = conf.is_none();
        self.shared.wake.notify_one();
        true
    }

    /// Tells a change.
    pub fn tell(&self, report: Report) {
        let Some(conf) = self.conf.clone() else { return };
        let mut pending = self.shared.lock();
        pending.untold.insert(report.router.clone());
        pending.reports.insert(report.router.clone(), (report, conf));
        drop(pending);
        self.shared.wake.notify_one();
    }

    /// The end of the program: what is not told yet is. Gives the thread, to be waited for.
    pub fn finish(mut self) -> Option<JoinHandle<()>> {
        self.end();
        self.thread.take()
    }

    /// Another program goes on: what runs is stopped, before that runs its own. Gives the groups of which something is
    /// untold.
    pub async fn stop(mut self) -> BTreeSet<String> {
        self.shared.lock().is_stopped = true;
        self.end();
        if timeout(STOPPING, &mut self.ended).await.is_err() {
            tracing::error!("a run of `on_change` could not be stopped within {STOPPING:?}");
        }
        std::mem::take(&mut self.shared.lock().untold)
    }

    fn end(&self) {
        self.shared.lock().is_over = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for OnChange {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came since.
    fn take(&self) -> BTreeMap<String, (Report, Arc<OnChangeConf>)> {
        std::mem::take(&mut self.lock().reports)
    }

    /// Waits until a run that tells this is of no use any more.
    async fn stopped(&self, report: &Report) {
        let is_over = || {
            let pending = self.lock();
            let newer = pending.reports.get(&report.router);
            pending.is_stopped || newer.is_some_and(|(newer, _)| !newer.says_as(report))
        };
        while !is_over() {
            self.wake.notified().await;
        }
    }

    /// This was told, or is given up: true where nothing newer is to be told of its group.
    fn is_done_with(&self, router: &str) -> bool {
        let mut pending = self.lock();
        let is_newest = !pending.reports.contains_key(router);
        if is_newest {
            pending.untold.remove(router);
        }
        is_newest
    }
}

/// What is to be told of a group, and when it is tried.
struct Try {
    report: Report,
    conf: Arc<OnChangeConf>,
    /// How often it was tried.
    attempts: u32,
    due: Instant,
    pause: Duration,
}

/// Tells what comes, one after another; what failed waits for its time, and holds up no other group.
async fn serve(shared: &Shared, status: &Status) {
    let mut tries: BTreeMap<String, Try> = BTreeMap::new();
    loop {
        let due = Instant::now();
        let new = |(report, conf)| Try { report, conf, attempts: 0, due, pause: PAUSE };
        tries.extend(shared.take().into_iter().map(|(router, report)| (router, new(report))));
        let Pending { is_over, is_stopped, has_no_retries, .. } = *shared.lock();
        if is_stopped {
            return;
        }
        let next = tries.iter().min_by_key(|(_, one)| one.due).map(|(router, one)| (router.clone(), one.due));
        let Some((router, due)) = next else {
            if is_over {
                return;
            }
            shared.wake.notified().await;
            continue;
        };
        // At the end each is tried once more, at once.
        if due > Instant::now() && !is_over && !has_no_retries {
            let _ = timeout_at(due, shared.wake.notified()).await;
            continue;
        }
        let Some(mut one) = tries.remove(&router) else { continue };
        let is_told = tell(shared, status, &one).await;
        let is_last = one.attempts >= one.conf.retries || {
            let pending = shared.lock();
            pending.is_over || pending.has_no_retries
        };
        match is_told {
            // It was overtaken, or another program is to tell it.
            None => {}
            Some(is_told) if is_told || is_last => drop(shared.is_done_with(&router)),
            Some(_) => {
                one.attempts += 1;
                (one.due, one.pause) = (Instant::now() + one.pause, (one.pause * 2).min(LONGEST));
                tries.insert(router, one);
            }
        }
    }
}

/// Runs the program for a report. False where it failed; none where it was stopped.
async fn tell(shared: &Shared, status: &Status, one: &Try) -> Option<bool> {
    let (role, router) = (one.report.role.name(), &one.report.router);
    let problem = match run(&one.conf, &one.report, shared.stopped(&one.report)).await {
        Ok(()) => None,
        Err(End::Failed(why)) => Some(format!("`on_change` for {role}: {why}")),
        Err(End::Stopped) => {
            tracing::warn!(group = %router, role, "a run of `on_change` was stopped: the role has changed again, or another program goes on");
            return None;
        }
    };
    let mut inner = status.lock();
    inner.group(router).into_iter().for_each(|group| group.on_change_problem.clone_from(&problem));
    drop(inner);
    match &problem {
        None => tracing::info!(group = %router, role, "`on_change` was run"),
        Some(problem) => tracing::error!(group = %router, attempt = one.attempts + 1, "{problem}"),
    }
    Some(problem.is_none())
}

#[cfg(test)]
mod tests;
