//! Follows the configuration that a store has for many nodes, by the same path as an edited file: a bad one is refused with
//! its problems, and the one before goes on.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    task::{JoinHandle, spawn_blocking, spawn_local},
    time::sleep,
};

use crate::{
    cluster::{
        fleet::{Fleet, SILENCE, Trial, Turn},
        store::{
            document::{Document, Mark, Reader},
            kept, stopped,
        },
    },
    config,
    moment::Moment,
    reload::{Failed, PANICKED, Reloader},
    runtime::worker::Shared,
};

/// How long a store that does not answer is left alone.
const AGAIN: Duration = Duration::from_secs(1);
/// What is watched is read anew after this time: the connection may be dead without a word.
const WATCH: Duration = Duration::from_secs(5);
/// What was not to be had is tried again after this time, as with a file.
const LATER: Duration = Duration::from_secs(5);
/// How often it is looked whether it is this node's turn.
const LOOK: Duration = Duration::from_millis(250);
/// What goes on going wrong is logged again after this time.
const AGAIN_LOGGED: Duration = Duration::from_secs(60);
/// Reasons of one revision that are told apart.
const MOST_REASONS: usize = 16;

/// Begins to tell of it, and to follow it for as long as the program runs.
pub(super) fn start(fleet: Arc<config::Fleet>, shared: Arc<Shared>, reloader: Reloader) -> JoinHandle<()> {
    {
        let mut told = shared.registry.fleet.lock();
        told.source.clone_from(&fleet.source.url);
        (told.in_force, told.read) = (fleet.in_force, fleet.in_force);
        told.problem.clone_from(&fleet.problem);
    }
    if let Some(problem) = &fleet.problem {
        tracing::error!("{problem}; the last good copy is in force");
    }
    spawn_local(follow(fleet, shared, reloader))
}

async fn follow(fleet: Arc<config::Fleet>, shared: Arc<Shared>, reloader: Reloader) {
    let begun = Moment::now();
    let mut reader = fleet.source.open();
    let (mut last, mut failures) = (fleet.seen, Failures::default());
    loop {
        let next = next(&mut reader, last).await;
        note_store(&shared.registry.fleet, next.as_ref().err(), &mut failures);
        match next {
            Ok(Some(document)) => {
                last = document.mark();
                take(document, (&shared, begun), &reloader, &mut reader).await;
            }
            Ok(None) => {}
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// What the store has, where that is news.
async fn next(reader: &mut Reader, last: Mark) -> Result<Option<Document>, String> {
    let document = reader.read().await?.ok_or("there is no such key in the store")?;
    if document.mark() != last {
        return Ok(Some(document));
    }
    reader.changed(WATCH).await.map(|()| None)
}

/// Notes whether the store can be read, which says nothing of what was read last. Of several servers each says something
/// else.
fn note_store(fleet: &Fleet, problem: Option<&String>, failures: &mut Failures) {
    let before = std::mem::replace(&mut fleet.lock().unreadable, problem.cloned());
    match problem {
        Some(problem) => {
            if let Some(times) = failures.count(problem, Moment::now()) {
                tracing::error!(times, "the configuration of the fleet: {problem}");
            }
        }
        None if before.is_some() => {
            *failures = Failures::default();
            tracing::info!("the configuration of the fleet can be read again");
        }
        None => {}
    }
}

/// Notes what is wrong with what was read last.
fn note(fleet: &Fleet, problem: Option<String>) {
    let mut told = fleet.lock();
    if told.problem != problem {
        if let Some(problem) = &problem {
            tracing::error!("the configuration of the fleet: {problem}");
        }
        told.problem = problem;
    }
}

/// Why a revision could not be applied so far, or the store not be read: each reason is logged when it is new, and then once a minute.
#[derive(Debug, Default)]
struct Failures {
    reasons: Vec<Reason>,
}

#[derive(Debug)]
struct Reason {
    why: String,
    /// Since the last line.
    times: u64,
    logged: Option<Moment>,
}

impl Failures {
    /// Counts one. Gives how often it came since the last line, this time included, when a line is due.
    fn count(&mut self, why: &str, now: Moment) -> Option<u64> {
        let is_known = self.reasons.iter().any(|reason| reason.why == why);
        if !is_known && self.reasons.len() < MOST_REASONS {
            self.reasons.push(Reason { why: why.to_owned(), times: 0, logged: None });
        }
        // Those that are too many are told as one.
        let index = self.reasons.iter().position(|reason| reason.why == why).unwrap_or(MOST_REASONS - 1);
        let reason = self.reasons.get_mut(index)?;
        reason.times += 1;
        let is_due = reason.logged.is_none_or(|last| now.since(last) >= AGAIN_LOGGED);
        is_due.then(|| {
            reason.logged = Some(now);
            std::mem::take(&mut reason.times)
        })
    }
}

/// Takes a configuration over when it is this node's turn; another one that comes meanwhile takes its place.
async fn take(
    document: Document,
    (shared, begun): (&Shared, Moment),
    reloader: &Reloader,
    reader: &mut Reader,
) {
    let fleet = &shared.registry.fleet;
    let (mut trial, mut failures) = (Trial::default(), Failures::default());
    let mark = document.mark();
    loop {
        let pause = match turn(&document, &mut trial, (shared, begun)) {
            Turn::Now if apply(&document, fleet, reloader, &mut failures).await => return,
            Turn::Now => LATER,
            Turn::Later => {
                let mut told = fleet.lock();
                // What was wrong was so with the one before.
                (told.is_waiting, told.problem) = (true, None);
                LOOK
            }
            Turn::Never(why) => {
                fleet.lock().is_waiting = false;
                let why = format!("revision {} is not applied: {why}", document.revision);
                // Before anybody is told: whoever has seen it finds it stopped after a new start too.
                keep_stopped(reloader.in_force().path.clone(), document, why.clone()).await;
                note(fleet, Some(why));
                return;
            }
        };
        sleep(pause).await;
        // The next is looked at from the beginning.
        if let Ok(Some(now)) = reader.read().await
            && now.mark() != mark
        {
            return;
        }
    }
}

/// Has a configuration in force. False where it cannot be now, and may be another time: to the others it is as if this node
/// had not had its turn yet.
async fn apply(document: &Document, fleet: &Fleet, reloader: &Reloader, failures: &mut Failures) -> bool {
    let revision = document.revision;
    put_back(reloader, failures).await;
    let replaced = reloader.replace_copy(document.text.as_str().into()).await;
    let is_over = replaced.as_ref().err().is_none_or(is_for_good);
    {
        let mut told = fleet.lock();
        told.is_waiting = false;
        if is_over {
            // What was read and is not in force was refused.
            told.read = document.mark();
        }
        if replaced.is_ok() {
            told.in_force = document.mark();
        }
    }
    match replaced {
        Ok(outcome) => {
            tracing::info!(
                revision,
                generation = outcome.generation,
                "the configuration of the fleet is in force"
            );
            note(fleet, None);
        }
        Err(failed) if is_over => {
            note(fleet, Some(format!("revision {revision} is refused: {}", reason(&failed))));
        }
        Err(failed) => {
            let problem = format!("revision {revision} cannot be applied yet: {}", reason(&failed));
            if let Some(times) = failures.count(&problem, Moment::now()) {
                tracing::error!(times, "the configuration of the fleet: {problem}");
            }
            fleet.lock().problem = Some(problem);
        }
    }
    is_over
}

/// Whether it is refused for good: for its text, or for a privilege that it needs.
fn is_for_good(failed: &Failed) -> bool {
    match failed {
        Failed::Problems(_) => true,
        // A bug would come again every time.
        Failed::Refused(refusal) => refusal.code == PANICKED,
        Failed::Lacking(_) | Failed::Outdated => false,
    }
}

/// Writes the copy anew where somebody took it away: what replaces it is compared with it.
async fn put_back(reloader: &Reloader, failures: &mut Failures) {
    let in_force = reloader.in_force();
    if in_force.store.is_none() {
        return;
    }
    let written = spawn_blocking(move || match in_force.path.exists() {
        true => Ok(()),
        false => kept::write(&in_force.path, in_force.text.as_bytes()),
    });
    if let Err(error) = written.await.map_err(io::Error::other).flatten() {
        let problem = format!("the last good copy is gone, and cannot be written again: {error}");
        if let Some(times) = failures.count(&problem, Moment::now()) {
            tracing::warn!(times, "{problem}");
        }
    }
}

/// Keeps for the next start what this one has seen of it.
async fn keep_stopped(copy: PathBuf, document: Document, why: String) {
    let noted = spawn_blocking(move || stopped::note(&copy, &document, &why)).await;
    if let Err(error) = noted.map_err(io::Error::other).flatten() {
        tracing::warn!("a restart may apply what was stopped, because that cannot be noted: {error}");
    }
}

fn reason(failed: &Failed) -> String {
    match failed {
        Failed::Problems(problems) | Failed::Lacking(problems) => problems.to_string(),
        Failed::Refused(refusal) => refusal.message.clone(),
        Failed::Outdated => "the copy was edited meanwhile".into(),
    }
}

fn turn(document: &Document, trial: &mut Trial, (shared, begun): (&Shared, Moment)) -> Turn {
    let snapshot = shared.snapshot.load();
    let Some(cluster) = &snapshot.config.cluster else { return Turn::Now };
    let Some(rollout) = &cluster.rollout else { return Turn::Now };
    let own = shared.registry.cluster.status().read().node.clone();
    let now = Moment::now();
    let present: Vec<String> = {
        let members = shared.registry.members.lock();
        members.present(now).map(|heard| heard.state.node.clone()).collect()
    };
    // A program that has just begun does not know yet who is there, and would be the first of those that it knows.
    let expected = cluster.peers.as_ref().map_or(0, |peers| peers.others().count());
    if present.len() < expected && now.since(begun) < SILENCE {
        return Turn::Later;
    }
    let told = shared.registry.fleet.lock();
    let others = told.others.iter().filter(|(name, _)| present.contains(name));
    let others = others.map(|(name, report)| (name.clone(), *report)).collect();
    let first = usize::try_from(rollout.first).unwrap_or(usize::MAX);
    trial.look(&own, &others, (first, rollout.wait), document.mark(), now)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::HashMap, rc::Rc};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        runtime::LocalRuntime,
        task::yield_now,
        time::timeout,
    };

    use super::*;
    use crate::{
        admin::tests::{CONFIG, shared},
        cluster::store::document::Source,
        config::Problems,
        reload::Request,
        runtime::overrides::{Reason, Refusal},
    };

    /// A store that has one text, of the write 7, and is out of order while that is so.
    async fn store(is_ill: Rc<Cell<bool>>) -> Source {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let is_ill = is_ill.clone();
                spawn_local(async move {
                    while stream.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {
                        // The second line, of what is watched, says that it was written again.
                        let (status, body) = match is_ill.get() {
                            true => (503, "{}"),
                            false => (200, "{\"kvs\":[{\"value\":\"YQ==\",\"mod_revision\":\"7\"}]}\n\n"),
                        };
                        let length = body.len();
                        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{body}");
                        stream.write_all(head.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Source::parse(&format!("etcd://{address}/key")).unwrap().unwrap()
    }

    /// A port that was taken for an hour: whoever waits for his turn between two attempts tells the same again.
    #[test]
    fn what_goes_on_failing_is_logged_once_a_minute() {
        let at = |seconds| Moment(0).plus(Duration::from_secs(seconds));
        let mut failures = Failures::default();
        let counts = [1, 6, 11, 60, 61, 66].map(|second| failures.count("the port is taken", at(second)));
        assert_eq!(counts, [Some(1), None, None, None, Some(4), None]);
        assert_eq!(failures.count("the disk is full", at(71)), Some(1));
        let counts = [76, 81, 120, 121].map(|second| failures.count("the port is taken", at(second)));
        assert_eq!(counts, [None, None, None, Some(5)]);
        // Reasons that never come to an end are no reason to log without end.
        let lines = (0..100).filter_map(|number| failures.count(&format!("reason {number}"), at(122)));
        assert_eq!(lines.count(), MOST_REASONS - 2);
    }

    #[test]
    fn store_that_answers_again_is_no_problem_any_more() {
        LocalRuntime::new().unwrap().block_on(async {
            let is_ill = Rc::new(Cell::new(true));
            let source = store(is_ill.clone()).await;
            let refused = "revision 7 is refused: it has no route".to_owned();
            let seen = Document { text: "a".into(), revision: 7 }.mark();
            let fleet = config::Fleet { source, in_force: BEFORE, seen, problem: Some(refused.clone()) };
            let shared = shared(CONFIG);
            let reloader = Reloader::without_engine(CONFIG, HashMap::new());
            let following = start(Arc::new(fleet), shared.clone(), reloader);
            let until = async |wanted: &dyn Fn(&str) -> bool| {
                let is_so = async {
                    while !shared.registry.fleet.lock().problems().is_some_and(|it| wanted(&it)) {
                        sleep(Duration::from_millis(1)).await;
                    }
                };
                let in_time = timeout(Duration::from_secs(20), is_so).await;
                assert!(in_time.is_ok(), "{:?}", shared.registry.fleet.lock().problems());
            };
            until(&|problem| problem.contains("503") && problem.contains(&refused)).await;
            is_ill.set(false);
            // What is wrong with what was read stays.
            until(&|problem| problem == refused).await;
            following.abort();
        });
    }

    const BEFORE: Mark = Mark { revision: 6, text: 1 };

    /// etcd that was made anew counts writes from the beginning: what was put into it was never read.
    #[test]
    fn another_text_with_the_number_of_the_last_is_news() {
        LocalRuntime::new().unwrap().block_on(async {
            let mut reader = store(Rc::default()).await.open();
            let before = Document { text: "b".into(), revision: 7 };
            let found = next(&mut reader, before.mark()).await.unwrap();
            assert_eq!(found.as_ref().map(|it| (&*it.text, it.revision)), Some(("a", 7)));
            let seen = timeout(Duration::from_secs(20), next(&mut reader, found.unwrap().mark())).await;
            assert!(seen.is_ok_and(|seen| matches!(seen, Ok(None) | Err(_))), "it is read twice");
        });
    }

    /// A full disk, a port that was taken for a moment: the others stopped for good, and this node never tried it again.
    #[test]
    fn what_cannot_be_had_is_tried_again_and_not_refused() {
        LocalRuntime::new().unwrap().block_on(async {
            let source = store(Rc::default()).await;
            let fleet = config::Fleet { source, in_force: BEFORE, seen: BEFORE, problem: None };
            let shared = shared(CONFIG);
            let (reloader, mut requests) = Reloader::asking(CONFIG, HashMap::new());
            let following = start(Arc::new(fleet), shared.clone(), reloader);
            let told = || {
                let told = shared.registry.fleet.lock();
                (told.read.revision, told.in_force.revision, told.problem.clone().unwrap_or_default())
            };
            let refused = |reason, code, message: &str| {
                let (message, hint) = (message.into(), String::new());
                Failed::Refused(Refusal { reason, code, message, hint })
            };
            let full = refused(Reason::Failed, "not_written", "the disk is full");
            // During an upgrade both programs may write there.
            let busy = refused(Reason::Conflict, "busy", "another process is writing there");
            let nothing = || Problems(Vec::new());
            for (failed, read) in [
                (full, 6),
                (busy, 6),
                (Failed::Outdated, 6),
                (Failed::Lacking(nothing()), 6),
                (Failed::Problems(nothing()), 7),
            ] {
                let asked = timeout(Duration::from_secs(20), requests.recv()).await.expect("it is not tried");
                let Some(Request::Replace(text, None, answer)) = asked else { panic!("{asked:?}") };
                assert_eq!(&*text, "a");
                answer.send(Err(failed)).unwrap();
                for _ in 0..100 {
                    yield_now().await;
                }
                let result = if read == 6 { "cannot be applied yet" } else { "is refused" };
                let (is_read, in_force, problem) = told();
                assert_eq!((is_read, in_force), (read, 6), "{problem}");
                assert!(problem.contains(result), "{problem}");
                tokio::time::pause();
                tokio::time::advance(LATER * 2).await;
                tokio::time::resume();
            }
            for _ in 0..100 {
                yield_now().await;
            }
            assert!(requests.try_recv().is_err(), "what was refused is tried again");
            following.abort();
        });
    }
}
