//! What a journal has to have at its next start, by what it said before.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;

/// What is known of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its append failed, or nobody heard of it.
    InDoubt,
    /// It was acknowledged.
    Waiting(Id),
    /// It is done with, and may come back after a crash.
    Completed,
}

/// Writes by their numbers, from which everything else of them follows.
#[derive(Default)]
pub(super) struct Model {
    /// By URI, in the order of their appends; what is done with for good is not here any more.
    writes: BTreeMap<String, BTreeMap<u64, State>>,
    /// What the origin refused.
    refused: BTreeSet<u64>,
    /// Lines of the file of refused writes that somebody took away.
    taken: BTreeSet<u64>,
    last: u64,
}

/// The write of a number.
pub(super) fn numbered(number: u64) -> Write {
    let length = number.wrapping_mul(2_654_435_761) % 300;
    let body = vec![number as u8; length as usize];
    Write { idempotency: number.to_string(), ..write(&uri_of(number), &body) }
}

/// The number of a write, which is as it was.
pub(super) fn number_of(write: &Write) -> u64 {
    let number = write.idempotency.parse().unwrap();
    let expected = numbered(number);
    assert_eq!((&write.uri, &write.body), (&expected.uri, &expected.body), "{number} is not as it was");
    number
}

fn uri_of(number: u64) -> String {
    format!("/{}", number % 7 % 3)
}

fn is_waiting((_, state): &(&u64, &State)) -> bool {
    matches!(state, State::Waiting(_))
}

impl Model {
    /// A new number.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn note(&mut self, number: u64, state: State) {
        self.writes.entry(uri_of(number)).or_default().insert(number, state);
    }

    pub(super) fn refused(&mut self, number: u64) {
        self.note(number, State::Completed);
        self.refused.insert(number);
    }

    /// Somebody took the file of refused writes away, with these in it.
    pub(super) fn taken(&mut self, numbers: impl Iterator<Item = u64>) {
        self.taken.extend(numbers);
    }

    /// A sync has covered everything so far: what is done with does not come back, nor does what was never
    /// acknowledged.
    pub(super) fn synced(&mut self) {
        for writes in self.writes.values_mut() {
            writes.retain(|number, state| is_waiting(&(number, state)));
        }
    }

    /// What may be taken, where `held` are under way.
    pub(super) fn due(&self, held: &BTreeSet<u64>) -> BTreeSet<u64> {
        let oldest = self.writes.values().filter_map(|writes| writes.iter().find(is_waiting));
        oldest.map(|(number, _)| *number).filter(|number| !held.contains(number)).collect()
    }

    /// GETs are answered with the newest.
    pub(super) fn agrees(&self, journal: &Journal) {
        for (uri, writes) in &self.writes {
            let newest = writes.iter().rfind(is_waiting).map(|(number, _)| *number);
            assert_eq!(journal.latest(uri.as_bytes()).map(|entry| number_of(&entry.write)), newest);
        }
    }

    /// A life begins with these writes, and with these in the file of refused ones.
    pub(super) fn begins_with(&mut self, found: &[Arc<Entry>], noted: impl Iterator<Item = u64>) {
        let found: BTreeMap<u64, Id> = found.iter().map(|it| (number_of(&it.write), it.id)).collect();
        let in_order = found.values().is_sorted();
        assert!(in_order, "{found:?}");
        for number in found.keys() {
            let known = self.writes.get(&uri_of(*number)).is_some_and(|writes| writes.contains_key(number));
            assert!(known, "{number} is here again");
        }
        for writes in self.writes.values_mut() {
            let mut returned = None;
            for (number, state) in &*writes {
                let id = found.get(number);
                match state {
                    State::Waiting(own) => assert_eq!(id, Some(own), "{number} is lost"),
                    State::Completed if id.is_some() => returned = returned.or(Some(*number)),
                    State::Completed => {
                        assert_eq!(returned, None, "came back, and {number} behind it did not")
                    }
                    State::InDoubt => {}
                }
            }
            // The others are gone for good.
            writes.retain(|number, _| found.contains_key(number));
            writes.iter_mut().for_each(|(number, state)| *state = State::Waiting(found[number]));
        }
        self.refused.retain(|number| !found.contains_key(number));
        let noted: BTreeSet<u64> = noted.chain(self.taken.iter().copied()).collect();
        let nowhere: Vec<_> = self.refused.difference(&noted).collect();
        assert!(nowhere.is_empty(), "{nowhere:?} were refused by the origin, and are nowhere");
    }
}
