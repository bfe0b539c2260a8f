//! The last errors that a worker made answers of, for people who look.
//!
//! One writer, the worker, at the end of an exchange that failed; one reader, the admin endpoint. The mutex
//! is between these two and nobody else, and an exchange that went well does not touch it. A storm of
//! errors is cheap: records are overwritten in place, in the memory that they have, and after
//! `MOST_PER_SECOND` in a second the rest is only counted.

use std::sync::{Mutex, PoisonError};

use crate::error::Kind;

/// Records that are kept.
pub const KEPT: usize = 64;
/// Records that are written in a second; more than anyone reads, and each is a copy of some texts.
const MOST_PER_SECOND: u32 = 100;
/// Bytes of a path, and of a detail, that are kept.
const LONGEST: usize = 256;
/// Bytes of a method: an unknown one is the client's text.
const LONGEST_METHOD: usize = 32;

/// An exchange that ended in an error, as it is given to [`RecentErrors::note`].
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// Unix time in milliseconds.
    pub at: u64,
    /// The listener.
    pub listener: &'a str,
    /// The route, where one was found.
    pub route: Option<&'a str>,
    /// The upstream, where the route has one.
    pub upstream: Option<&'a str>,
    /// The backend that was asked last, where one was.
    pub backend: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The path, without the query: that may hold secrets.
    pub path: &'a str,
    /// What the client got.
    pub status: u16,
    /// What went wrong.
    pub kind: Kind,
    /// The error in a sentence, with its cause.
    pub detail: &'a str,
    /// The request's id.
    pub id: &'a str,
}

/// A record of a [`Failure`], whose texts are its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `Failure`; an absent name is empty")]
pub struct Record {
    pub at: u64,
    pub listener: String,
    pub route: String,
    pub upstream: String,
    pub backend: String,
    pub method: String,
    pub path: String,
    pub status: u16,
    pub kind: &'static str,
    pub detail: String,
    pub id: String,
}

impl Record {
    fn fill(&mut self, failure: &Failure<'_>) {
        let keep = |place: &mut String, text: &str, longest: usize| {
            place.clear();
            place.push_str(cut(text, longest));
        };
        self.at = failure.at;
        keep(&mut self.listener, failure.listener, LONGEST);
        keep(&mut self.route, failure.route.unwrap_or_default(), LONGEST);
        keep(&mut self.upstream, failure.upstream.unwrap_or_default(), LONGEST);
        keep(&mut self.backend, failure.backend.unwrap_or_default(), LONGEST);
        keep(&mut self.method, failure.method, LONGEST_METHOD);
        keep(&mut self.path, failure.path, LONGEST);
        self.status = failure.status;
        self.kind = failure.kind.label();
        keep(&mut self.detail, failure.detail, LONGEST);
        keep(&mut self.id, failure.id, LONGEST);
    }
}

/// The first so many bytes, or a few less: no character is cut in two.
fn cut(text: &str, longest: usize) -> &str {
    text.get(..text.floor_char_boundary(longest)).unwrap_or(text)
}

/// The last errors of one worker.
#[derive(Debug, Default)]
pub struct RecentErrors(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    records: Vec<Record>,
    /// Where the next record goes, once there are [`KEPT`].
    next: usize,
    second: u64,
    in_second: u32,
}

impl RecentErrors {
    /// Keeps a record of it; only by the worker that owns this.
    pub fn note(&self, failure: &Failure<'_>) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let second = failure.at / 1000;
        if ring.second != second {
            (ring.second, ring.in_second) = (second, 0);
        }
        if ring.in_second >= MOST_PER_SECOND {
            return;
        }
        ring.in_second += 1;
        if ring.records.len() < KEPT {
            ring.records.push(Record::default());
        }
        let place = ring.next;
        if let Some(record) = ring.records.get_mut(place) {
            record.fill(failure);
        }
        ring.next = (place + 1) % KEPT;
    }

    /// What is kept, in no order.
    pub fn read(&self) -> Vec<Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).records.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(at: u64) -> Failure<'static> {
        Failure {
            at,
            listener: "web",
            route: Some("all"),
            upstream: None,
            backend: None,
            method: "GET",
            path: "/",
            status: 502,
            kind: Kind::Connect,
            detail: "refused",
            id: "1",
        }
    }

    #[test]
    fn the_last_are_kept_and_the_oldest_overwritten() {
        let errors = RecentErrors::default();
        assert_eq!(errors.read(), []);
        (0..100).for_each(|number| errors.note(&failure(number * 1000)));
        let mut kept: Vec<u64> = errors.read().iter().map(|record| record.at / 1000).collect();
        kept.sort_unstable();
        assert_eq!(kept, (36..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_storm_is_limited_in_each_second() {
        let errors = RecentErrors::default();
        for at in 0..1000 {
            errors.note(&failure(5_000 + at));
        }
        assert_eq!(errors.read().iter().map(|record| record.at).max(), Some(5_099));
        errors.note(&failure(6_000));
        assert_eq!(errors.read().iter().map(|record| record.at).max(), Some(6_000));
        assert_eq!(errors.read().len(), KEPT);
    }

    #[test]
    fn a_reused_slot_holds_nothing_of_the_earlier_record() {
        let errors = RecentErrors::default();
        errors.note(&Failure { upstream: Some("app"), path: "/secret", ..failure(0) });
        (1..=KEPT as u64).for_each(|number| errors.note(&failure(number * 1000)));
        assert!(errors.read().iter().all(|it| it.upstream.is_empty() && it.path == "/"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let errors = RecentErrors::default();
        let (path, method) = ("/ü".repeat(1000), "M".repeat(1000));
        errors.note(&Failure { path: &path, method: &method, detail: &path, ..failure(0) });
        let record = errors.read().remove(0);
        assert_eq!((record.path.len(), record.method.len()), (256, 32));
        assert!(path.starts_with(&record.path) && record.path.ends_with('/'));
        assert_eq!(record.detail, record.path);
    }
}
