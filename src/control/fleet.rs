//! Follows the configuration that a store has for many nodes, by the same path as an edited file: a bad one is refused with
//! its problems, and the one before goes on.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    cluster::{
        fleet::{Fleet, Trial, Turn},
        store::document::{Document, Reader},
    },
    config::{self, Beside},
    moment::Moment,
    reload::{Failed, Reloader},
    runtime::worker::Shared,
};

/// How long a store that does not answer is left alone.
const AGAIN: Duration = Duration::from_secs(1);
/// What is watched is read anew after this time: the connection may be dead without a word.
const WATCH: Duration = Duration::from_secs(5);
/// How often it is looked whether it is this node's turn.
const LOOK: Duration = Duration::from_millis(250);

/// Follows it for as long as the program runs.
pub(super) async fn follow(fleet: Arc<config::Fleet>, shared: Arc<Shared>, reloader: Reloader) {
    {
        let mut told = shared.registry.fleet.lock();
        told.source.clone_from(&fleet.source.url);
        (told.in_force, told.read) = (fleet.revision, fleet.revision);
        told.problem.clone_from(&fleet.problem);
    }
    if let Some(problem) = &fleet.problem {
        tracing::error!("{problem}; the last good copy is in force");
    }
    let mut reader = fleet.source.open();
    let mut last = fleet.revision;
    loop {
        match next(&mut reader, last).await {
            Ok(Some(document)) => {
                last = document.revision;
                take(document, &shared, &reloader, &mut reader).await;
            }
            Ok(None) => {}
            Err(problem) => {
                note(&shared.registry.fleet, Some(problem));
                sleep(AGAIN).await;
            }
        }
    }
}

/// What the store has, where that is news.
async fn next(reader: &mut Reader, last: u64) -> Result<Option<Document>, String> {
    let document = reader.read().await?.ok_or("there is no such key in the store")?;
    if document.revision != last {
        return Ok(Some(document));
    }
    reader.changed(last, WATCH).await.map(|()| None)
}

fn note(fleet: &Fleet, problem: Option<String>) {
    let mut told = fleet.lock();
    if told.problem != problem {
        match &problem {
            Some(problem) => tracing::error!("the configuration of the fleet: {problem}"),
            None => tracing::info!("the configuration of the fleet can be read again"),
        }
        told.problem = problem;
    }
}

/// Takes a configuration over when it is this node's turn; another one that comes meanwhile takes its place.
async fn take(document: Document, shared: &Shared, reloader: &Reloader, reader: &mut Reader) {
    let fleet = &shared.registry.fleet;
    let mut trial = Trial::default();
    loop {
        match turn(&document, &mut trial, shared) {
            Turn::Now => break,
            Turn::Later => fleet.lock().is_waiting = true,
            Turn::Never(why) => {
                fleet.lock().is_waiting = false;
                note(fleet, Some(format!("revision {} is not applied: {why}", document.revision)));
                return;
            }
        }
        sleep(LOOK).await;
        // The next is looked at from the beginning.
        if let Ok(Some(now)) = reader.read().await
            && now.revision != document.revision
        {
            return;
        }
    }
    let revision = document.revision;
    let text: Arc<str> = document.text.into();
    let (given, path) = (text.clone(), reloader.in_force().path.clone());
    let checked = spawn_blocking(move || config::parse_with(&given, &path, Beside::Nothing).map(drop)).await;
    let replaced = match checked {
        Ok(Err(problems)) => Err(Failed::Problems(problems)),
        Ok(Ok(())) | Err(_) => reloader.replace(text, None).await,
    };
    {
        let mut told = fleet.lock();
        (told.is_waiting, told.read) = (false, revision);
        if replaced.is_ok() {
            told.in_force = revision;
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
        Err(failed) => note(fleet, Some(format!("revision {revision} is refused: {}", reason(&failed)))),
    }
}

fn reason(failed: &Failed) -> String {
    match failed {
        Failed::Problems(problems) => problems.to_string(),
        Failed::Refused(refusal) => refusal.message.clone(),
        Failed::Outdated => "the copy was edited meanwhile".into(),
    }
}

fn turn(document: &Document, trial: &mut Trial, shared: &Shared) -> Turn {
    let snapshot = shared.snapshot.load();
    let rollout = snapshot.config.cluster.as_ref().and_then(|cluster| cluster.rollout.as_ref());
    let Some(rollout) = rollout else { return Turn::Now };
    let own = shared.registry.cluster.status().read().node.clone();
    let now = Moment::now();
    let present: Vec<String> = {
        let members = shared.registry.members.lock();
        members.present(now).map(|heard| heard.state.node.clone()).collect()
    };
    let told = shared.registry.fleet.lock();
    let others = told.others.iter().filter(|(name, _)| present.contains(name));
    let others = others.map(|(name, report)| (name.clone(), *report)).collect();
    let first = usize::try_from(rollout.first).unwrap_or(usize::MAX);
    trial.look(&own, &others, (first, rollout.wait), document.revision, now)
}
