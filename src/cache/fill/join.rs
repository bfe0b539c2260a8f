//! Joining: who asks for something waits for the fetch of it that is under way, or leads a new one.

use std::{sync::Arc, time::Duration};

use super::{
    answer::Answer,
    fills::{Fill, Fills, Mark},
    reader::Reader,
    source::Source,
    state::Phase,
};
use crate::{
    cache::{
        key::Key,
        origin_id::OriginId,
        vary::{Selector, Vary},
    },
    fields::Fields,
    moment::Moment,
};

/// What somebody wants who may join a fill.
pub struct Want<'a> {
    /// What is asked for.
    pub key: &'a Key,
    /// The fields of the request.
    pub request: &'a Fields,
    /// Who is to be asked. A fetch that asks another is not joined: a reload may have changed that, just since the other
    /// one does not answer.
    pub origin: OriginId,
    /// The variant that it would be, where something is stored that varies.
    pub expected: Option<Key>,
    /// Whether an answer whose head has come already will do.
    pub accepts: &'a dyn Fn(&Answer) -> bool,
    /// The present.
    pub now: Moment,
    /// One that has brought nothing for so long is not joined: another is begun beside it.
    pub patience: Duration,
}

/// What becomes of somebody who wants to join.
#[derive(Debug)]
pub enum Joined {
    /// It leads a new fetch.
    Lead(Source, Reader),
    /// It waits for one that is under way.
    Wait(Reader),
    /// Neither: `alone` said so.
    Alone,
}

impl Fills {
    /// Joins a fill that is under way, or begins one. `alone` is asked, under the lock that keeps others from
    /// beginning one, before a new one is begun: true when something has been stored meanwhile, or when this one may
    /// not lead.
    pub fn join(self: &Arc<Self>, want: &Want<'_>, alone: impl FnOnce() -> bool) -> Joined {
        let mut selector = Selector::new(want.request);
        let mut table = loop {
            let table = self.table(want.key);
            let fills = table.get(&want.key.hash()).map(Vec::as_slice).unwrap_or_default();
            let mut unknown = Vec::new();
            for fill in fills.iter().rev() {
                match fill.join(want, &selector) {
                    Ok(Some(reader)) => return Joined::Wait(reader),
                    Ok(None) => {}
                    Err(vary) => unknown.push(vary),
                }
            }
            if unknown.is_empty() {
                break table;
            }
            // What the request has of its fields is found out once, and not under the locks.
            drop(table);
            selector.learn(unknown);
        };
        if alone() {
            return Joined::Alone;
        }
        let fill = self.begin((want.key.clone(), want.origin), want.expected.clone(), None);
        table.entry(want.key.hash()).or_default().push(fill.clone());
        drop(table);
        let reader = Reader::new(fill.clone());
        Joined::Lead(Source::new(fill), reader)
    }

    /// Begins a fill that nobody joins, of what was asked for at `asked` ([`Fills::mark`]).
    pub fn begin_alone(self: &Arc<Self>, key: &Key, asked: Mark) -> (Source, Reader) {
        let fill = self.begin((key.clone(), OriginId::default()), None, Some(asked));
        self.table(key).entry(key.hash()).or_default().push(fill.clone());
        // Behind the entry in the table: what comes from now on finds the fill there.
        fill.state().rules.extend(self.purges_since(key, asked.purges));
        let reader = Reader::new(fill.clone());
        (Source::new(fill), reader)
    }
}

impl Fill {
    /// A reader, if this one may join. The error is the Vary of which the selector is to learn first.
    fn join(self: &Arc<Self>, want: &Want<'_>, selector: &Selector<'_>) -> Result<Option<Reader>, Vary> {
        if self.is_alone || self.origin != want.origin || self.key != *want.key {
            return Ok(None);
        }
        let mut state = self.state();
        // What was purged is not for those who ask after the purge.
        if !state.rules.is_empty() {
            return Ok(None);
        }
        // Its backend may hang; those who wait already go on by themselves after their own time.
        if want.now.since(state.progressed) > want.patience {
            return Ok(None);
        }
        let is_joinable = match &state.phase {
            Phase::Asking | Phase::Orphaned => self.expected.is_none() || self.expected == want.expected,
            Phase::Coming(answer) => {
                answer.is_open
                    && !state.tape.is_paced
                    && state.tape.end_is_whole != Some(false)
                    && selector
                        .matches(&answer.entry.vary, &answer.variant)
                        .ok_or_else(|| answer.entry.vary.clone())?
                    && (want.accepts)(answer)
            }
            Phase::Stored(..) | Phase::Released | Phase::Failed(_) => false,
        };
        if !is_joinable {
            return Ok(None);
        }
        // Under the same lock, so that it is not given up for lack of readers meanwhile.
        let index = state.readers.insert(0);
        drop(state);
        Ok(Some(Reader::counted(self.clone(), index)))
    }
}
