//! One attempt at another generation: prepare, acquire, write, publish. Up to the last step nothing is
//! changed, and what goes wrong is reported.

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::task::{JoinError, spawn_blocking};

use super::{
    edit::{self, EditError, Over, Texts},
    engine::Engine,
    not_in_file,
    prepare::{Known, Order, Prepared},
    state::{Cause, Failed, Last, Outcome},
    watch,
    write::{self, WriteError},
};
use crate::{
    cluster::privilege,
    config::{
        self, Config, Problems, Step, include::Included, listen::ListenAddress, log::AccessLog as AccessTo,
    },
    listen::{
        admin_sockets::{self, Held},
        bind::Bound,
        unbound::Unbound,
    },
    runtime::{
        addresses::Addresses,
        overrides::{Change, Overrides, Reason, Refusal},
    },
    schema::Problem,
    telemetry::access_log::{Opened, Sink},
};

/// What to attempt.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// The text to take; the file's when there is none.
    pub(super) text: Option<Arc<str>>,
    /// What goes with `text`, as it is in force; without it the files that it includes are read.
    pub(super) included: Option<Arc<[Included]>>,
    /// A file that is replaced before `text` is published.
    pub(super) over: Option<Over>,
    /// What administrators change of it.
    pub(super) overrides: Overrides,
}

impl Engine {
    /// One attempt, from reading to publishing.
    pub(super) async fn attempt(&mut self, what: Attempt, cause: Cause) -> Result<Outcome, Failed> {
        let begun = Instant::now();
        // What an administrator changes says nothing of the files that it does not read: one may be refused meanwhile.
        let is_of_file = what.included.is_none() || (what.over.is_some() && self.state.last.load().ok);
        let of_store = what.text.clone().filter(|_| cause == Cause::Fleet);
        let result = self.prepare_and_publish(what).await;
        let is_again = of_store.is_some_and(|text| self.refused_copy.note(&text, &result));
        match &result {
            Ok((true, _)) if cause == Cause::Names => drop(self.state.names_followed.fetch_add(1, Relaxed)),
            Ok((true, _)) => drop(self.state.succeeded.fetch_add(1, Relaxed)),
            // A file that is tried again and again, since what it lacks may come, has failed once.
            Err(Failed::Problems(problems) | Failed::Lacking(problems))
                if is_again || (cause == Cause::File && self.is_known(problems)) => {}
            // Nobody asked for it, and the file has failed by itself.
            Err(Failed::Problems(_) | Failed::Lacking(_)) if cause == Cause::Names => {}
            Err(Failed::Problems(_) | Failed::Lacking(_)) => drop(self.state.failed.fetch_add(1, Relaxed)),
            Ok((false, _)) | Err(Failed::Refused(_) | Failed::Outdated) => {}
        }
        match result {
            Ok((is_changed, notes)) => {
                let generation = self.shared.snapshot.load().generation;
                let took = begun.elapsed();
                if is_changed {
                    tracing::info!(generation, cause = cause.name(), ?took, "configuration in force");
                    notes.iter().for_each(|note| tracing::warn!("{note}"));
                }
                if !is_changed && cause.is_asked_for() {
                    tracing::info!(generation, cause = cause.name(), "configuration unchanged");
                }
                if is_of_file && (is_changed || !self.state.last.load().ok) {
                    self.state.last.store(Arc::new(Last::new(cause, took, Vec::new(), notes.clone())));
                }
                Ok(Outcome { is_changed, generation, notes })
            }
            Err(failed) => {
                if let Some(problems) = failed.problems().filter(|_| is_of_file && cause.is_of_file()) {
                    if cause != Cause::File || !self.is_known(problems) {
                        self.refuse(problems, cause, begun.elapsed());
                    }
                    self.refused = self.attempted;
                }
                Err(failed)
            }
        }
    }

    /// Whether these files were refused for this already.
    fn is_known(&self, problems: &Problems) -> bool {
        self.refused == self.attempted && self.state.last.load().problems == problems.0
    }

    /// Keeps and logs what was wrong, once for as long as it stays the same.
    fn refuse(&self, problems: &Problems, cause: Cause, took: Duration) {
        let last = self.state.last.load();
        if last.problems != problems.0 {
            let generation = self.shared.snapshot.load().generation;
            let count = problems.0.len();
            let cause = cause.name();
            tracing::error!(
                generation,
                cause,
                count,
                "configuration refused; the previous one stays in force"
            );
            for problem in problems.0.iter().take(MOST_LOGGED) {
                let mut file = problem.file.display().to_string();
                // Of a file as a whole there is none.
                if problem.line > 0 {
                    file = format!("{file}:{}:{}", problem.line, problem.column);
                }
                tracing::error!(%file, hint = problem.hint.as_deref(), "{}", problem.message);
            }
        }
        self.state.last.store(Arc::new(Last::new(cause, took, problems.0.clone(), Vec::new())));
    }

    /// Whether there is a new generation, and what it cannot change.
    async fn prepare_and_publish(&mut self, what: Attempt) -> Result<(bool, Vec<String>), Failed> {
        let in_force = self.state.in_force.load_full();
        let path = in_force.path.clone();
        let lacking = |problem| Failed::Lacking(Problems(vec![problem]));
        let whole = |message| lacking(Problem::with_file(path.clone(), message, None));
        let Attempt { text, included, over, overrides } = what;
        let (is_of_file, are_read) = (text.is_none(), included.is_none());
        self.folders.done().await;
        let (shared, tickets) = (self.shared.clone(), self.tickets.clone());
        let names = self.names.clone();
        let known = match are_read {
            true => Known::Files(self.files.clone()),
            false => Known::Hashes(in_force.hashes.clone()),
        };
        let (file, beside) = (path.clone(), in_force.beside());
        let order = Order { path: file, text, included, beside, known, overrides, names, shared, tickets };
        let prepared = spawn_blocking(move || order.prepare()).await.map_err(panicked)??;
        if is_of_file {
            self.note_attempt(&prepared);
        }
        let is_same = prepared.hashes == in_force.hashes
            && prepared.overrides == in_force.overrides
            && prepared.names.is_same(&in_force.names);
        if is_same && over.is_none() {
            self.names = prepared.names;
            return Ok((false, Vec::new()));
        }
        let before = self.shared.snapshot.load_full();
        let next = &prepared.snapshot.config;
        if let Some((message, hint)) = next.cluster.as_ref().and_then(privilege::missing) {
            let steps = [Step::Key("cluster")];
            let text = (&*prepared.text, &*path);
            let problem = config::problem_at(text, &prepared.included, &steps, &message, Some(&hint));
            return Err(Problems(vec![problem]).into());
        }
        let unbound = |failure| lacking(late((&prepared.text, &path), &prepared.included, failure));
        let acquired = self
            .sockets
            .acquire(&prepared.snapshot, self.mailboxes.workers())
            .map_err(|failure| unbound(failure.beside(&before.config)))?;
        let (admin, new_files) = admin_sockets::next(&before.config, next).map_err(unbound)?;
        let dup = |bound: &Option<Bound>| bound.as_ref().map(Bound::try_clone).transpose();
        let served = admin.as_ref().try_map(dup).map_err(|error| whole(error.to_string()))?;
        let log = (before.config.log.access != next.log.access).then(|| sink(&next.log.access));
        let log = spawn_blocking(|| log.map(Opened::new).transpose()).await.map_err(panicked)?.map_err(
            |error| {
                let text = (&*prepared.text, &*path);
                lacking(no_access_log(text, &prepared.included, &error))
            },
        )?;
        if let Some(Over { path, old, new }) = over {
            let written = spawn_blocking(move || write::replace(&path, old.as_bytes(), new.as_bytes())).await;
            written.map_err(panicked)?.map_err(not_written)?;
            // The watcher shall not take this for an edit of another's. Where others were tried last, and refused, or are
            // edited meanwhile, they still are to be read.
            if are_read || self.attempted == in_force.hash {
                self.note_attempt(&prepared);
            }
        }
        let notes = notes(&before.config, next);
        if let Some(log) = log {
            self.log.switch(log);
        }
        let addresses = admin_sockets::addresses(next);
        let files = self.sockets.files();
        new_files.into_iter().for_each(|file| file.keep_among(&files));
        keep(&mut self.admin.whole, addresses.whole, admin.whole);
        keep(&mut self.admin.metrics, addresses.metrics, admin.metrics);
        self.names.clone_from(&prepared.names);
        self.publish(prepared, acquired, served, &before);
        Ok((true, notes))
    }

    /// Notes what was in the files that were tried.
    fn note_attempt(&mut self, prepared: &Prepared) {
        self.attempted = watch::fingerprint(&prepared.hashes);
        self.files.clone_from(&prepared.files);
    }

    /// Lays changes over what the file says.
    pub(super) async fn change(&mut self, changes: &[Change]) -> Result<Outcome, Failed> {
        let in_force = self.state.in_force.load_full();
        let overrides = with_all(in_force.overrides.clone(), changes, (&in_force.file, &in_force.names));
        let overrides = overrides.map_err(Failed::Refused)?;
        let (text, included) = (Some(in_force.text.clone()), Some(in_force.included.clone()));
        self.attempt(Attempt { text, included, over: None, overrides }, Cause::Override).await
    }

    /// Writes changes into the file.
    pub(super) async fn persist(&mut self, changes: &[Change]) -> Result<Outcome, Failed> {
        let in_force = self.state.in_force.load_full();
        not_in_file::refuse(changes, &in_force.file, (&in_force.overrides, &in_force.names))
            .map_err(Failed::Refused)?;
        let old = Texts::of(&in_force);
        let mut new = old.clone();
        for change in changes {
            new = edit::edit_texts(&new, change).map_err(not_edited)?;
        }
        let over = old.changed(&new).map_err(not_edited)?;
        // Where the file now says what an override said, the override goes.
        let sets = changes.iter().filter(|change| match change {
            Change::Weight { .. } | Change::State { .. } => true,
            Change::Add { .. } | Change::Remove { .. } => false,
        });
        let overrides = new
            .parse()
            .ok()
            .and_then(|file| with_all(in_force.overrides.kept(&file), sets, (&file, &in_force.names)).ok())
            .unwrap_or_else(|| in_force.overrides.clone());
        let (text, included) = (Some(new.text), Some(new.included));
        let attempt = Attempt { text, included, over: Some(over), overrides };
        self.attempt(attempt, Cause::Admin).await
    }

    /// Writes a whole new text into the file; with `expected` only over that.
    pub(super) async fn replace(
        &mut self,
        text: Arc<str>,
        expected: Option<Arc<str>>,
    ) -> Result<Outcome, Failed> {
        let in_force = self.state.in_force.load_full();
        let path = in_force.path.clone();
        let read = spawn_blocking(move || {
            let old: Arc<str> = crate::config::read_text(&path)?.into();
            let is_other = expected.is_some_and(|expected| expected != old);
            Ok::<_, Problems>((old, is_other))
        });
        let (old, is_other) = read.await.map_err(panicked)?.map_err(Failed::Lacking)?;
        if is_other {
            return Err(Failed::Outdated);
        }
        let over = Some(Over { path: in_force.path.clone(), old, new: text.clone() });
        let overrides = in_force.overrides.clone();
        let attempt = Attempt { text: Some(text), included: None, over, overrides };
        // Where a store has the configuration nobody else writes a whole text.
        let cause = if in_force.store.is_some() { Cause::Fleet } else { Cause::Admin };
        self.attempt(attempt, cause).await
    }
}

/// `overrides` with every change, each made upon what those before it left.
fn with_all<'c>(
    overrides: Overrides,
    changes: impl IntoIterator<Item = &'c Change>,
    (file, names): (&Config, &Addresses),
) -> Result<Overrides, Refusal> {
    changes.into_iter().try_fold(overrides, |overrides, change| overrides.with(change, file, names))
}

/// The code of a refusal for a bug.
pub const PANICKED: &str = "panicked";

fn panicked(_: JoinError) -> Failed {
    refused(Reason::Failed, PANICKED, "building the configuration panicked", "report this bug")
}

fn not_written(error: WriteError) -> Failed {
    refused(error.reason(), error.code(), &error.to_string(), error.hint())
}

fn not_edited(error: EditError) -> Failed {
    match error {
        EditError::Problems(problems) => Failed::Problems(problems),
        EditError::Refused(refusal) => Failed::Refused(refusal),
        EditError::ByHand => {
            let hint = "change the file by hand, or leave `persist` out";
            refused(Reason::Conflict, "edit_by_hand", &error.to_string(), hint)
        }
    }
}

fn refused(reason: Reason, code: &'static str, message: &str, hint: &str) -> Failed {
    Failed::Refused(Refusal { reason, code, message: message.to_owned(), hint: hint.to_owned() })
}

/// Why the access log could not be opened, at the place that names it.
pub fn no_access_log(text: (&str, &Path), included: &[Included], error: &io::Error) -> Problem {
    let message = format!("cannot open the access log: {error}");
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Some(format!("it must be writable for {}", crate::schema::own_user()))
        }
        io::ErrorKind::NotFound => Some("create the folder that it is in".to_owned()),
        _ => None,
    };
    crate::config::problem_at(
        text,
        included,
        &[Step::Key("log"), Step::Key("access")],
        &message,
        hint.as_deref(),
    )
}

/// Problems of one refusal that the log has; the admin endpoint has all of them.
const MOST_LOGGED: usize = 20;

/// What a failure to get a socket is called, with the place of its address.
pub(super) fn late(text: (&str, &Path), included: &[Included], failure: Unbound) -> Problem {
    let hint = failure.hint.as_deref();
    crate::config::problem_at(text, included, &failure.steps(), &failure.message, hint)
}

/// Keeps a new socket of the admin endpoint, and none where there is no address any more.
fn keep(held: &mut Held, address: Option<&ListenAddress>, bound: Option<Bound>) {
    match (address, bound) {
        (Some(address), Some(bound)) => *held = Some((address.clone(), bound)),
        (None, _) => *held = None,
        (Some(_), None) => {}
    }
}

/// Where the access log goes.
pub fn sink(to: &AccessTo) -> Sink {
    match to {
        AccessTo::Off => Sink::Off,
        AccessTo::Stdout => Sink::Stdout,
        AccessTo::Stderr => Sink::Stderr,
        AccessTo::File(path) => Sink::File(path.clone()),
    }
}

/// What takes effect at the next start only, and what is worth a second look.
fn notes(before: &Config, next: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    if before.runtime.workers != next.runtime.workers {
        notes.push("`runtime.workers` takes effect at the next start or upgrade".to_owned());
    }
    if before.log.format != next.log.format {
        notes.push("`log.format` takes effect at the next start or upgrade".to_owned());
    }
    notes.extend(config::lost_certificates(before, next));
    notes.extend(config::notes(next));
    notes
}
