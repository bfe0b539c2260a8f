//! Who has a place among the admin connections, and who leaves when all are taken: whoever has waited for longest.
//!
//! A connection waits when it sends no request, or does not take the answer to one; while an answer is being made it
//! stays. So nobody who holds connections open, however many, keeps others from asking, as long as few of them have their
//! answers made at a time. Nor does he keep many large answers by not taking them.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::moment::Moment;

/// Connections at a time.
const MOST_CONNECTIONS: usize = 128;
/// Requests at a time that are answered, save those for health and metrics: the rest of the places is for these.
const MOST_ASKING: usize = 64;

/// Bytes of answers that are made and not taken. When there are more, whoever has one and has waited for longest leaves.
const MOST_HELD: usize = 64 * 1024 * 1024;

/// The places of one socket.
#[derive(Debug)]
pub(super) struct Places {
    taken: RefCell<Vec<Rc<State>>>,
    asking: Semaphore,
}

#[derive(Debug)]
struct State {
    /// Since when it waits; `None` while an answer is being made.
    waits_since: Cell<Option<Moment>>,
    /// Bytes of answers that it has not taken yet.
    holds: Arc<AtomicUsize>,
    is_to_leave: Notify,
}

impl Default for Places {
    fn default() -> Self {
        Self { taken: RefCell::default(), asking: Semaphore::new(MOST_ASKING) }
    }
}

impl Places {
    /// A place for a new connection. When all are taken, the connection that waits for longest loses its own; `None`
    /// when none waits.
    pub(super) fn take(self: &Rc<Self>, now: Moment) -> Option<Place> {
        if self.taken.borrow().len() >= MOST_CONNECTIONS && !self.dismiss() {
            return None;
        }
        let waits_since = Cell::new(Some(now));
        let state = Rc::new(State { waits_since, holds: Arc::default(), is_to_leave: Notify::new() });
        self.taken.borrow_mut().push(state.clone());
        Some(Place { state, places: self.clone() })
    }

    /// Takes the place of the connection that waits for longest; `false` when none waits.
    pub(super) fn dismiss(&self) -> bool {
        self.dismiss_one(|_| true)
    }

    fn dismiss_one(&self, may_leave: impl Fn(&Rc<State>) -> bool) -> bool {
        let mut taken = self.taken.borrow_mut();
        let waiting = taken.iter().enumerate().filter(|(_, it)| may_leave(it));
        let waiting = waiting.filter_map(|(index, it)| Some((it.waits_since.get()?, index)));
        let Some((_, index)) = waiting.min() else { return false };
        taken.swap_remove(index).is_to_leave.notify_one();
        true
    }

    /// Lets those go who do not take their answers, as far as that is needed; not the one that has just got its own.
    fn shed(&self, own: &Rc<State>) {
        let held = |it: &Rc<State>| it.holds.load(Relaxed);
        let all = || self.taken.borrow().iter().map(held).sum::<usize>();
        while all() > MOST_HELD && self.dismiss_one(|it| held(it) > 0 && !Rc::ptr_eq(it, own)) {}
    }
}

/// A body that counts as long as it is held.
struct Held {
    body: Bytes,
    holds: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.holds.fetch_sub(self.body.len(), Relaxed);
    }
}

/// A connection's place; it is free when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    state: Rc<State>,
    places: Rc<Places>,
}

impl Place {
    /// Waits until the connection is to leave.
    pub(super) async fn lost(&self) {
        self.state.is_to_leave.notified().await;
    }

    /// Says that an answer is being made.
    pub(super) fn begin(&self) {
        self.state.waits_since.set(None);
    }

    /// Says that the answer is made; its body, which is counted from here on until it is written.
    pub(super) fn end(&self, now: Moment, body: Bytes) -> Bytes {
        self.state.waits_since.set(Some(now));
        self.state.holds.fetch_add(body.len(), Relaxed);
        self.places.shed(&self.state);
        Bytes::from_owner(Held { body, holds: self.state.holds.clone() })
    }

    /// A place among the requests that are answered; `None` when all are taken.
    pub(super) fn ask(&self) -> Option<SemaphorePermit<'_>> {
        self.places.asking.try_acquire().ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.state));
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_lost(place: &Place) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        std::pin::pin!(place.lost()).poll(&mut context) == Poll::Ready(())
    }

    #[test]
    fn whoever_waits_for_longest_leaves_for_a_new_connection() {
        let places = Rc::new(Places::default());
        let mut taken: Vec<Place> =
            (0..MOST_CONNECTIONS as u64).map(|at| places.take(Moment(at)).unwrap()).collect();
        // The first is being answered, and the second was a moment ago.
        taken[0].begin();
        taken[1].begin();
        taken[1].end(Moment(500), Bytes::new());
        taken.push(places.take(Moment(1000)).unwrap());
        let lost: Vec<usize> = (0..taken.len()).filter(|index| is_lost(&taken[*index])).collect();
        assert_eq!(lost, [2]);
        // Who left gives back nothing that it does not have any more.
        drop(taken.remove(2));
        assert_eq!(places.taken.borrow().len(), MOST_CONNECTIONS);
        taken.iter().for_each(Place::begin);
        assert!(places.take(Moment(2000)).is_none(), "all of them are being answered");
        drop(taken.pop());
        assert!(places.take(Moment(2000)).is_some());
    }

    #[test]
    fn who_does_not_take_a_large_answer_leaves_for_others() {
        let places = Rc::new(Places::default());
        let taken: Vec<Place> = (0..4).map(|at| places.take(Moment(at)).unwrap()).collect();
        let lost = || -> Vec<usize> { (0..4).filter(|index| is_lost(&taken[*index])).collect() };
        let answer = |index: usize, at: u64| {
            taken[index].begin();
            taken[index].end(Moment(at), vec![0; MOST_HELD / 2].into())
        };
        let answers = [answer(0, 10), answer(1, 11)];
        assert_eq!(lost(), [0; 0]);
        // The one before has taken its answer, and waits for nothing.
        let [first, second] = answers;
        drop(first);
        let third = answer(2, 12);
        assert_eq!(lost(), [0; 0]);
        // The last but one waits for longer than any, and has no answer.
        let fourth = answer(0, 13);
        assert_eq!(lost(), [1]);
        drop((second, third, fourth));
        assert!(taken.iter().all(|place| place.state.holds.load(Relaxed) == 0));
        // One that is larger than all may be together.
        let _large = taken[3].end(Moment(14), vec![0; MOST_HELD + 1].into());
        assert_eq!(lost(), [0; 0]);
    }

    #[test]
    fn fewer_ask_than_have_a_place() {
        let places = Rc::new(Places::default());
        let place = places.take(Moment(0)).unwrap();
        let asking: Vec<_> = (0..MOST_ASKING).map(|_| place.ask().unwrap()).collect();
        assert!(place.ask().is_none() && asking.len() < MOST_CONNECTIONS);
    }
}
