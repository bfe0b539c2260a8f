//! Sessions of datagrams against a list of them that is searched from end to end.

use std::time::Duration;

use super::seeds::{World, run};
use crate::{
    l4::session::{Due, Id, Table, Terms},
    moment::Moment,
};

const ONCE_FAILED: &[u64] = &[];

/// A session as it must be.
#[derive(Debug)]
struct Expected {
    id: Id,
    key: u32,
    terms: Terms,
    last: Moment,
    asked: Option<Moment>,
}

#[derive(Default)]
struct Sessions {
    table: Table<u32, u32>,
    expected: Vec<Expected>,
}

impl Sessions {
    fn check(&self) {
        assert_eq!(self.table.len(), self.expected.len());
        for it in &self.expected {
            assert_eq!(self.table.find(&it.key), Some(it.id));
            assert_eq!(self.table.get(it.id), Some((&it.key, &it.key)));
        }
        let of_idle = self.expected.iter().map(|it| it.last.plus(it.terms.idle));
        let of_answers = self.expected.iter().filter_map(|it| Some(it.asked?.plus(it.terms.answer)));
        assert_eq!(self.table.next(), of_idle.chain(of_answers).min());
        for group in 0..3 {
            let of_group = self.expected.iter().filter(|it| it.terms.group == group);
            let oldest = of_group.map(|it| it.last).min();
            assert_eq!(self.table.oldest(group).map(|(_, last)| last), oldest);
        }
    }

    fn begin(&mut self, world: &mut World) {
        let key = world.rng.u32(0..40);
        if self.table.find(&key).is_some() {
            return;
        }
        let seconds = |world: &mut World| Duration::from_secs(world.one_of(&[1, 5, 30]));
        let terms = Terms { group: world.rng.u32(0..3), idle: seconds(world), answer: seconds(world) };
        world.record(|| format!("{key} begins: {terms:?}"));
        let id = self.table.insert(key, terms, world.now, key).unwrap();
        self.expected.push(Expected { id, key, terms, last: world.now, asked: None });
    }

    fn happens_to_one(&mut self, world: &mut World) {
        if self.expected.is_empty() {
            return;
        }
        let at = world.rng.usize(0..self.expected.len());
        let (it, now) = (&mut self.expected[at], world.now);
        match world.rng.u8(0..8) {
            0..3 => {
                world.record(|| format!("a datagram of {}", it.key));
                self.table.touch(it.id, now);
                it.last = now;
            }
            3..5 => {
                world.record(|| format!("{} asks", it.key));
                self.table.ask(it.id, now);
                it.asked.get_or_insert(now);
            }
            5 => {
                world.record(|| format!("{} is answered", it.key));
                assert_eq!(self.table.answered(it.id), it.asked.take());
            }
            6 => {
                world.record(|| format!("{} is hastened", it.key));
                let idle = Duration::from_secs(2);
                self.table.hasten(it.id, idle, now);
                (it.terms.idle, it.last) = (it.terms.idle.min(idle), now);
            }
            _ => {
                let it = self.expected.swap_remove(at);
                world.record(|| format!("{} ends", it.key));
                assert_eq!(self.table.remove(it.id), Some((it.key, it.key)));
            }
        }
    }

    /// Everything that has come is said, in any order among what comes at once, and nothing else.
    fn time_passes(&mut self, world: &mut World) {
        world.wait(Duration::from_secs(20));
        while let Some(due) = self.table.due(world.now) {
            world.record(|| format!("{due:?}"));
            match due {
                Due::Unanswered(id, asked) => {
                    let it = self.expected.iter_mut().find(|it| it.id == id).unwrap();
                    assert_eq!(it.asked.take(), Some(asked));
                    assert!(asked.plus(it.terms.answer) <= world.now);
                }
                Due::Idle(id) => {
                    let at = self.expected.iter().position(|it| it.id == id).unwrap();
                    let it = self.expected.swap_remove(at);
                    assert!(it.last.plus(it.terms.idle) <= world.now);
                    assert!(it.asked.is_none_or(|asked| asked.plus(it.terms.answer) > world.now));
                    self.table.remove(id);
                }
            }
            self.check();
        }
        assert!(self.table.next().is_none_or(|next| next > world.now));
    }
}

fn simulate(world: &mut World) {
    let mut sessions = Sessions::default();
    for _ in 0..world.rng.usize(20..120) {
        match world.rng.u8(0..10) {
            0..3 => sessions.begin(world),
            3..8 => sessions.happens_to_one(world),
            _ => sessions.time_passes(world),
        }
        sessions.check();
    }
}

#[test]
fn sessions() {
    run("sessions", ONCE_FAILED, simulate);
}
