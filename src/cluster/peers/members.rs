//! What is known of the other nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;

use super::{
    message::State,
    ring::{Node, Ring},
};
use crate::moment::Moment;

/// A peer that was not heard of for so long is taken for gone.
pub const GONE: Duration = Duration::from_secs(4);

/// The other nodes; read by the admin endpoint, and by workers that ask whether one is there.
#[derive(Debug, Default)]
pub struct Members {
    inner: Mutex<Inner>,
    /// Which of them owns what, for workers; made anew when something is heard.
    ring: ArcSwap<Ring>,
}

/// What is behind the lock.
#[derive(Debug, Default)]
pub struct Inner {
    /// By name: what each node said last.
    pub heard: BTreeMap<String, Heard>,
    /// By address: how telling it went last.
    pub told: BTreeMap<SocketAddr, Told>,
}

/// What a node said last.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Its words, without what was taken over.
    pub state: State,
    /// When.
    pub at: SystemTime,
    /// When, by the program's clock.
    pub moment: Moment,
    /// Upstreams with `relay` to a backend of which it has a way.
    pub ways: Arc<BTreeSet<String>>,
}

/// How telling a node went last.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// What it is called, once it has answered.
    pub node: Option<String>,
    /// Why it was not told.
    pub problem: Option<String>,
    /// Changes by the admin API that it has still to hear of.
    pub waiting: usize,
}

/// Names that are remembered.
const MOST: usize = 64;

impl Members {
    /// What it holds; to be held for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which node owns what. Takes no lock.
    pub fn ring(&self) -> Arc<Ring> {
        self.ring.load_full()
    }

    /// Makes the ring anew, of those that were heard lately and that hear this node, which has this name.
    pub fn renew_ring(&self, own: &str) {
        let inner = self.lock();
        let nodes: Vec<Node> = inner.reachable().collect();
        drop(inner);
        self.ring.store(Arc::new(Ring::new(own, nodes)));
    }
}

impl Heard {
    /// Whether the node was heard of lately.
    pub fn is_there(&self, now: Moment) -> bool {
        now.since(self.moment) < GONE
    }
}

impl Inner {
    /// Takes down what a node says; false where it said something later already. Of one that was not heard for as long as
    /// counts as gone nothing is later: it may have begun anew, by a clock that was set back.
    pub fn hear(&mut self, state: &State, at: SystemTime, moment: Moment) -> bool {
        let order = |state: &State| (state.incarnation, state.sequence);
        let before = self.heard.get(&state.node).filter(|before| before.is_there(moment));
        if before.is_some_and(|before| order(&before.state) >= order(state)) {
            return false;
        }
        self.heard.retain(|_, heard| moment.since(heard.moment) < 60 * GONE);
        if self.heard.len() >= MOST && !self.heard.contains_key(&state.node) {
            return false;
        }
        let state = State { entries: serde_json::Value::Null, ..state.clone() };
        let ways = self.heard.get(&state.node).map(|before| before.ways.clone()).unwrap_or_default();
        self.heard.insert(state.node.clone(), Heard { state, at, moment, ways });
        true
    }

    /// The nodes that are there.
    pub fn present(&self, now: Moment) -> impl Iterator<Item = &Heard> {
        self.heard.values().filter(move |heard| heard.is_there(now))
    }

    /// The nodes that are heard and that were told lately, with how long they count as there.
    fn reachable(&self) -> impl Iterator<Item = Node> {
        let told = self.told.iter().filter(|(_, told)| told.problem.is_none());
        told.filter_map(|(address, told)| {
            let name = told.node.as_deref()?;
            let heard = self.heard.get(name)?;
            Some(Node {
                name: name.into(),
                address: *address,
                until: heard.moment.plus(GONE),
                ways: heard.ways.clone(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(incarnation: u64, sequence: u64) -> State {
        State {
            node: "a".into(),
            incarnation,
            sequence,
            program: String::new(),
            is_primary: false,
            generation: 1,
            config_hash: String::new(),
            entries: serde_json::Value::Null,
        }
    }

    #[test]
    fn what_comes_late_or_twice_says_nothing() {
        let (mut inner, at) = (Inner::default(), SystemTime::now());
        let mut hear = |incarnation, sequence| inner.hear(&state(incarnation, sequence), at, Moment(1));
        assert!(hear(5, 2));
        assert!(!hear(5, 2) && !hear(5, 1) && !hear(4, 9));
        // It was started anew.
        assert!(hear(6, 1));
    }

    #[test]
    fn node_whose_clock_was_set_back_is_heard_once_gone() {
        let (mut inner, at) = (Inner::default(), SystemTime::now());
        let mut hear = |incarnation, moment: Moment| inner.hear(&state(incarnation, 1), at, moment);
        let begun = Moment(1);
        assert!(hear(5, begun));
        assert!(!hear(4, begun.plus(GONE / 2)));
        assert!(hear(4, begun.plus(GONE)));
        assert!(!hear(3, begun.plus(GONE)));
    }

    #[test]
    fn node_that_was_not_heard_for_long_is_gone() {
        let mut inner = Inner::default();
        let heard = Moment(1_000_000);
        inner.hear(&state(1, 1), SystemTime::now(), heard);
        assert_eq!(inner.present(heard.plus(GONE / 2)).count(), 1);
        assert_eq!(inner.present(heard.plus(GONE)).count(), 0);
    }

    #[test]
    fn ring_has_who_is_heard_and_hears() {
        let (members, heard) = (Members::default(), Moment(1_000_000));
        let owns = |at: Moment| (0..100).filter(|key| members.ring().owner(*key, at).is_some()).count();
        members.lock().hear(&state(1, 1), SystemTime::now(), heard);
        members.renew_ring("self");
        assert_eq!(owns(heard), 0, "it was never told");
        let address = "10.0.0.2:1".parse().unwrap();
        members.lock().told.insert(address, Told { node: Some("a".into()), ..Told::default() });
        members.renew_ring("self");
        assert!((20..80).contains(&owns(heard)));
        assert_eq!(owns(heard.plus(GONE)), 0, "it was not heard for long");
        members.lock().told.entry(address).or_default().problem = Some("broken".into());
        members.renew_ring("self");
        assert_eq!(owns(heard), 0, "it does not hear");
    }
}
