//! Changes made by the admin API on one node, which all nodes are to make.

use std::{
    collections::{HashMap, HashSet, VecDeque},
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
/// Bytes of changes that another program goes on with.
const MOST_HANDED: usize = 8 * 1024 * 1024;
/// Changes of others that are made at a time; each node asks for one after another.
const MOST_UNDER_WAY: usize = 64;

/// What each of the other nodes has still to hear of, and what was heard of them.
#[derive(Debug, Default)]
pub struct Commands {
    inner: Mutex<Inner>,
    /// Called when there is something to tell.
    pub called: Arc<Notify>,
    /// Called when a change of another node is under way no more.
    settled: Notify,
}

/// How far a change is that another node was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is to be made now.
    New,
    /// It is being made.
    UnderWay,
    /// It was made, or never can be.
    Done,
    /// It could not be made, or there are too many: the node asks again.
    NotNow,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: HashMap<SocketAddr, VecDeque<(Moment, Arc<Command>)>>,
    /// The changes of others that are done with, the oldest first.
    done: VecDeque<String>,
    /// Those that are being made.
    under_way: HashSet<String>,
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

    /// What the program after this one has to tell the others, and what it must not do again.
    pub fn to_hand_over(&self, now: Moment) -> Value {
        let inner = self.lock();
        let (mut waiting, mut bytes, mut lost) = (Vec::new(), 0, 0);
        for (other, changes) in &inner.waiting {
            for (since, command) in changes {
                bytes += command.target.len() + command.body.len() + 256;
                if bytes > MOST_HANDED {
                    lost += 1;
                    continue;
                }
                let age = u64::try_from(now.since(*since).as_millis()).unwrap_or(u64::MAX);
                waiting.push(json!({"other": other.to_string(), "age_ms": age, "change": command.to_json()}));
            }
        }
        json!({"waiting": waiting, "done": inner.done, "lost": lost})
    }

    /// Goes on with what the program before this one had to tell; what cannot be read of it is lost.
    pub fn take_over(&self, state: &Value, now: Moment) {
        let list = |key: &str| state.get(key).and_then(Value::as_array).into_iter().flatten();
        let read = |entry: &Value| {
            let other: SocketAddr = entry.get("other")?.as_str()?.parse().ok()?;
            let age = Duration::from_millis(entry.get("age_ms")?.as_u64()?);
            let command = Command::from_json(entry.get("change")?.to_string().as_bytes())?;
            Some((other, now.minus(age), Arc::new(command)))
        };
        let mut inner = self.lock();
        inner.lost += state.get("lost").and_then(Value::as_u64).unwrap_or_default();
        // In front of those that were asked for here meanwhile, in their order.
        for entry in list("waiting").rev() {
            match read(entry) {
                Some((other, since, command)) => {
                    inner.waiting.entry(other).or_default().push_front((since, command));
                }
                None => inner.lost += 1,
            }
        }
        for id in list("done").rev().filter_map(Value::as_str) {
            inner.done.push_front(id.to_owned());
        }
        let more = inner.done.len().saturating_sub(REMEMBERED);
        inner.done.drain(..more);
        drop(inner);
        self.called.notify_waiters();
    }

    /// A node is making that one: it is not lost meanwhile, however long that takes.
    pub fn under_way(&self, other: SocketAddr, command: &Command, now: Moment) {
        if let Some((since, first)) = self.lock().waiting.get_mut(&other).and_then(VecDeque::front_mut)
            && first.id == command.id
        {
            *since = now;
        }
    }

    /// Begins a change of another node, unless it was begun before. Where it is new, [`Commands::settle`] is to follow.
    pub fn begin(&self, id: &str) -> Progress {
        let mut inner = self.lock();
        match inner.progress(id) {
            Progress::NotNow if inner.under_way.len() < MOST_UNDER_WAY => {
                inner.under_way.insert(id.to_owned());
                Progress::New
            }
            other => other,
        }
    }

    /// A change of another node is under way no more. One that is done is remembered, so that it is made once; another may
    /// be begun again.
    pub fn settle(&self, id: &str, is_done: bool) {
        let mut inner = self.lock();
        inner.under_way.remove(id);
        if is_done {
            inner.done.push_back(id.to_owned());
            if inner.done.len() > REMEMBERED {
                inner.done.pop_front();
            }
        }
        drop(inner);
        self.settled.notify_waiters();
    }

    /// Waits until a change of another node is under way no more.
    pub async fn settled(&self, id: &str) -> Progress {
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            settled.as_mut().enable();
            match self.lock().progress(id) {
                Progress::UnderWay => {}
                other => return other,
            }
            settled.await;
        }
    }
}

impl Inner {
    fn progress(&self, id: &str) -> Progress {
        if self.under_way.contains(id) {
            return Progress::UnderWay;
        }
        if self.done.iter().any(|done| done == id) { Progress::Done } else { Progress::NotNow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::conf::LONGEST_NODE;

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
        assert_eq!(commands.begin(&command.id), Progress::New);
        assert_eq!(commands.begin(&command.id), Progress::UnderWay);
        commands.settle(&command.id, true);
        assert_eq!(commands.begin(&command.id), Progress::Done);
    }

    #[test]
    fn change_of_a_node_with_the_longest_name_is_read() {
        let (commands, other) = (Commands::default(), "10.0.0.2:1".parse().unwrap());
        commands.lock().last = u64::MAX - 1;
        let now = Moment(u64::MAX);
        commands.tell([other].into_iter(), PURGE, &"n".repeat(LONGEST_NODE), now);
        let command = commands.next(other, now).unwrap();
        let read = Command::from_json(command.to_json().to_string().as_bytes());
        assert_eq!(read.as_ref(), Some(&*command));
    }

    #[test]
    fn changes_that_wait_go_on_in_the_next_program() {
        let (before, other) = (Commands::default(), "10.0.0.2:1".parse().unwrap());
        let at = |seconds| Moment(1).plus(Duration::from_secs(seconds));
        before.tell([other].into_iter(), PURGE, "a", at(1));
        before.tell([other].into_iter(), ("POST", "/second", ""), "a", at(300));
        assert_eq!(before.begin("b-1-1"), Progress::New);
        before.settle("b-1-1", true);
        let state = before.to_hand_over(at(310));
        let after = Commands::default();
        after.tell([other].into_iter(), ("POST", "/third", ""), "a", at(311));
        after.take_over(&state, at(311));
        assert_eq!(after.begin("b-1-1"), Progress::Done, "it would be made twice");
        let first = after.next(other, at(320)).unwrap();
        assert_eq!(Some(&first), before.next(other, at(320)).as_ref());
        // Its life goes on, and is not begun again.
        let second = after.next(other, at(700)).unwrap();
        assert_eq!((second.target.as_str(), after.lost()), ("/second", 1));
        after.told(other, &second);
        assert_eq!(after.next(other, at(700)).unwrap().target, "/third");
        // Of one that says nothing, or nothing that can be read.
        after.take_over(&Value::Null, at(700));
        after.take_over(&json!({"waiting": [{"other": "nobody"}], "done": 1}), at(700));
        assert_eq!((after.waiting(other), after.lost()), (1, 2));
    }

    #[test]
    fn change_that_could_not_be_made_may_be_begun_again() {
        let commands = Commands::default();
        let begin = |id: usize| commands.begin(&id.to_string());
        assert_eq!(begin(0), Progress::New);
        commands.settle("0", false);
        assert_eq!(begin(0), Progress::New);
        // No more than so many, and none of them is forgotten for it.
        (1..MOST_UNDER_WAY).for_each(|id| assert_eq!(begin(id), Progress::New));
        assert_eq!(begin(MOST_UNDER_WAY), Progress::NotNow);
        assert_eq!(begin(1), Progress::UnderWay);
        commands.settle("1", true);
        assert_eq!(begin(MOST_UNDER_WAY), Progress::New);
    }

    #[test]
    fn change_that_is_being_made_elsewhere_is_not_lost() {
        let (commands, now) = (Commands::default(), Moment(1));
        let other: SocketAddr = "10.0.0.2:1".parse().unwrap();
        commands.tell([other].into_iter(), PURGE, "a", now);
        let command = commands.next(other, now).unwrap();
        commands.under_way(other, &command, now.plus(LIFE));
        assert_eq!(commands.next(other, now.plus(LIFE * 2)), Some(command));
        assert_eq!(commands.next(other, now.plus(LIFE * 3)), None);
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
