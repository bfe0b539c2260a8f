//! Changes made by the admin API on one node, which all nodes are to make.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::moment::Moment;

/// A change, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its own name: who hears it twice does it once.
    pub id: String,
    /// The method.
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// The body.
    pub body: String,
}

/// A change that a node has not heard of for so long is let go: it was gone, and begins anew.
const LIFE: Duration = Duration::from_secs(600);
/// Changes that wait for one node.
const MOST: usize = 256;
/// Changes of others that are remembered.
const REMEMBERED: usize = 4096;

/// What each of the other nodes has still to hear of, and what was heard of them.
#[derive(Debug, Default)]
pub struct Commands {
    inner: Mutex<Inner>,
    /// Called when there is something to tell.
    pub called: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: HashMap<SocketAddr, VecDeque<(Moment, Arc<Command>)>>,
    /// The changes that were made, the oldest first.
    made: VecDeque<String>,
    /// Changes that some node never heard of.
    lost: u64,
    last: u64,
}

impl Command {
    /// As it is sent.
    pub fn to_json(&self) -> Value {
        json!({"version": super::message::VERSION, "id": self.id, "method": self.method, "target": self.target, "body": self.body})
    }

    /// What was sent; none where it is not what a peer says.
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let message: Value = serde_json::from_slice(bytes).ok()?;
        let text = |key: &str| message.get(key).and_then(Value::as_str).map(str::to_owned);
        if message.get("version")?.as_u64()? != super::message::VERSION {
            return None;
        }
        Some(Self {
            id: text("id").filter(|id| (1..=128).contains(&id.len()))?,
            method: text("method")?,
            target: text("target")?,
            body: text("body")?,
        })
    }
}

impl Commands {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has all these nodes told of a change.
    pub fn tell(
        &self,
        others: impl Iterator<Item = SocketAddr>,
        (method, target, body): (&str, &str, &str),
        node: &str,
        now: Moment,
    ) {
        let mut inner = self.lock();
        inner.last += 1;
        // The moment tells two starts of the program apart.
        let id = format!("{node}-{}-{}", now.0, inner.last);
        let (method, target, body) = (method.to_owned(), target.to_owned(), body.to_owned());
        let command = Arc::new(Command { id, method, target, body });
        for other in others {
            let waiting = inner.waiting.entry(other).or_default();
            waiting.push_back((now, command.clone()));
            if waiting.len() > MOST {
                waiting.pop_front();
                inner.lost += 1;
            }
        }
        drop(inner);
        self.called.notify_waiters();
    }

    /// The next change that a node has to hear of.
    pub fn next(&self, other: SocketAddr, now: Moment) -> Option<Arc<Command>> {
        let mut inner = self.lock();
        let mut lost = 0;
        let next = inner.waiting.get_mut(&other).and_then(|waiting| {
            while waiting.front().is_some_and(|(since, _)| now.since(*since) > LIFE) {
                waiting.pop_front();
                lost += 1;
            }
            waiting.front().map(|(_, command)| command.clone())
        });
        inner.lost += lost;
        next
    }

    /// A node has heard of that one.
    pub fn told(&self, other: SocketAddr, command: &Command) {
        let mut inner = self.lock();
        if let Some(waiting) = inner.waiting.get_mut(&other)
            && waiting.front().is_some_and(|(_, first)| first.id == command.id)
        {
            waiting.pop_front();
        }
    }

    /// Forgets what was for nodes that are not there any more.
    pub fn keep(&self, others: &[SocketAddr]) {
        self.lock().waiting.retain(|other, _| others.contains(other));
    }

    /// How many changes a node has still to hear of.
    pub fn waiting(&self, other: SocketAddr) -> usize {
        self.lock().waiting.get(&other).map_or(0, VecDeque::len)
    }

    /// How many changes some node never heard of.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Whether a change is new here; it is remembered.
    pub fn is_new(&self, command: &Command) -> bool {
        let mut inner = self.lock();
        if inner.made.contains(&command.id) {
            return false;
        }
        inner.made.push_back(command.id.clone());
        if inner.made.len() > REMEMBERED {
            inner.made.pop_front();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURGE: (&str, &str, &str) = ("POST", "/api/v1/caches/c/purge", "{\"all\":true}");

    #[test]
    fn every_node_hears_of_each_change_in_order_and_once() {
        let (commands, now) = (Commands::default(), Moment(1));
        let others: [SocketAddr; 2] = ["10.0.0.2:1".parse().unwrap(), "10.0.0.3:1".parse().unwrap()];
        commands.tell(others.into_iter(), PURGE, "a", now);
        commands.tell(others.into_iter(), ("POST", "/second", ""), "a", now);
        for other in others {
            let first = commands.next(other, now).unwrap();
            assert_eq!(first.target, PURGE.1);
            // As long as it was not heard, it is told again.
            assert_eq!(commands.next(other, now).as_deref(), Some(&*first));
            commands.told(other, &first);
            assert_eq!(commands.next(other, now).unwrap().target, "/second");
            assert_eq!(commands.waiting(other), 1);
        }
        let command = commands.next(others[0], now).unwrap();
        let sent = command.to_json().to_string();
        assert_eq!(Command::from_json(sent.as_bytes()).as_ref(), Some(&*command));
        assert!(commands.is_new(&command) && !commands.is_new(&command));
    }

    #[test]
    fn node_that_is_gone_costs_no_more_than_a_bound() {
        let (commands, now) = (Commands::default(), Moment(1));
        let other: SocketAddr = "10.0.0.2:1".parse().unwrap();
        (0..MOST + 10).for_each(|_| commands.tell([other].into_iter(), PURGE, "a", now));
        assert_eq!((commands.waiting(other), commands.lost()), (MOST, 10));
        assert_eq!(commands.next(other, now.plus(LIFE * 2)), None);
        assert_eq!((commands.waiting(other), commands.lost()), (0, 10 + MOST as u64));
        commands.tell([other].into_iter(), PURGE, "a", now);
        commands.keep(&[]);
        assert_eq!(commands.waiting(other), 0);
    }
}
