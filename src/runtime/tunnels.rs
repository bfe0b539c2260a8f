//! A worker's tunnels whose ends can be told that it is over: WebSockets.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use slab::Slab;
use tokio::sync::Notify;

use super::registry::ListenerId;

/// The tunnels of one worker that end in good order.
#[derive(Debug, Default)]
pub struct Tunnels {
    entries: RefCell<Slab<Entry>>,
    /// Some of them are to end.
    closing: Notify,
    /// One has ended.
    ended: Notify,
}

#[derive(Debug)]
struct Entry {
    slot: ListenerId,
    is_closing: Rc<Cell<bool>>,
}

/// A tunnel that is open; its entry goes with it.
#[derive(Debug)]
pub struct OpenTunnel {
    tunnels: Rc<Tunnels>,
    key: usize,
    is_closing: Rc<Cell<bool>>,
}

impl Tunnels {
    /// Makes an entry for a tunnel over this listener.
    pub fn enter(self: &Rc<Self>, slot: ListenerId) -> OpenTunnel {
        let is_closing = Rc::new(Cell::new(false));
        let key = self.entries.borrow_mut().insert(Entry { slot, is_closing: is_closing.clone() });
        OpenTunnel { tunnels: self.clone(), key, is_closing }
    }

    /// Has those end whose listener `is_meant`; gives how many they are.
    pub fn close(&self, is_meant: impl Fn(ListenerId) -> bool) -> usize {
        let entries = self.entries.borrow();
        let meant = entries.iter().filter(|(_, entry)| is_meant(entry.slot));
        let count = meant.inspect(|(_, entry)| entry.is_closing.set(true)).count();
        self.closing.notify_waiters();
        count
    }

    /// Waits until none is left that is to end.
    pub async fn closed(&self) {
        loop {
            // Made before the look, so that no end is missed.
            let ended = self.ended.notified();
            if !self.entries.borrow().iter().any(|(_, entry)| entry.is_closing.get()) {
                return;
            }
            ended.await;
        }
    }
}

impl OpenTunnel {
    /// Waits until it is to end.
    pub async fn closing(&self) {
        loop {
            let closing = self.tunnels.closing.notified();
            if self.is_closing.get() {
                return;
            }
            closing.await;
        }
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.tunnels.entries.borrow_mut().try_remove(self.key);
        self.tunnels.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    #[test]
    fn those_of_a_listener_are_told_and_waited_for() {
        let tunnels = Rc::new(Tunnels::default());
        let (one, other) = (tunnels.enter(1), tunnels.enter(2));
        let mut cx = Context::from_waker(Waker::noop());
        {
            let (mut first, mut second) = (pin!(one.closing()), pin!(other.closing()));
            assert!(first.as_mut().poll(&mut cx).is_pending() && second.as_mut().poll(&mut cx).is_pending());
            assert_eq!(tunnels.close(|slot| slot == 1), 1);
            assert_eq!(first.as_mut().poll(&mut cx), Poll::Ready(()));
            assert!(second.as_mut().poll(&mut cx).is_pending());
        }
        let mut closed = pin!(tunnels.closed());
        assert!(closed.as_mut().poll(&mut cx).is_pending());
        drop(one);
        assert_eq!(closed.as_mut().poll(&mut cx), Poll::Ready(()), "the other goes on");
    }
}
