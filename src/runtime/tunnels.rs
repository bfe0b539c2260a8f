//! A worker's tunnels whose ends can be told that it is over: WebSockets.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use slab::Slab;
use tokio::sync::Notify;

use super::registry::ListenerId;

/// The tunnels of one worker that end in good order.
#[derive(Debug, Default)]
pub struct Tunnels {
    entries: RefCell<Slab<Entry>>,
    /// One has ended.
    ended: Notify,
}

#[derive(Debug)]
struct Entry {
    slot: ListenerId,
    closing: Rc<Closing>,
}

/// Whether a tunnel is to end, and whom that is told.
#[derive(Debug, Default)]
struct Closing {
    is_wanted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A tunnel that is open; its entry goes with it.
#[derive(Debug)]
pub struct OpenTunnel {
    tunnels: Rc<Tunnels>,
    key: usize,
    closing: Rc<Closing>,
}

impl Tunnels {
    /// Makes an entry for a tunnel over this listener.
    pub fn enter(self: &Rc<Self>, slot: ListenerId) -> OpenTunnel {
        let closing = Rc::<Closing>::default();
        let key = self.entries.borrow_mut().insert(Entry { slot, closing: closing.clone() });
        OpenTunnel { tunnels: self.clone(), key, closing }
    }

    /// Has those end whose listener `is_meant`; gives how many they are.
    pub fn close(&self, is_meant: impl Fn(ListenerId) -> bool) -> usize {
        let entries = self.entries.borrow();
        let meant = entries.iter().filter(|(_, entry)| is_meant(entry.slot));
        let end = |(_, entry): (usize, &Entry)| {
            entry.closing.is_wanted.set(true);
            // Only noted as runnable: it runs in its turn.
            entry.closing.waker.take().into_iter().for_each(Waker::wake);
        };
        meant.map(end).count()
    }

    /// Waits until none is left that is to end.
    pub async fn closed(&self) {
        loop {
            // Made before the look, so that no end is missed.
            let ended = self.ended.notified();
            if !self.entries.borrow().iter().any(|(_, entry)| entry.closing.is_wanted.get()) {
                return;
            }
            ended.await;
        }
    }
}

impl OpenTunnel {
    /// Ready when it is to end. Asked whenever something is carried, so that it costs a look.
    pub fn poll_closing(&self, cx: &Context<'_>) -> Poll<()> {
        if self.closing.is_wanted.get() {
            return Poll::Ready(());
        }
        let mut waker = self.closing.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
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
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn those_of_a_listener_are_told_and_waited_for() {
        let tunnels = Rc::new(Tunnels::default());
        let (one, other) = (tunnels.enter(1), tunnels.enter(2));
        let woken = [Arc::<Woken>::default(), Arc::default()];
        let wakers = woken.clone().map(Waker::from);
        let mut contexts = wakers.each_ref().map(Context::from_waker);
        let count = |index: usize| woken[index].0.load(Ordering::Relaxed);
        // Asked twice, as it is while something is carried.
        for _ in 0..2 {
            assert!(
                one.poll_closing(&contexts[0]).is_pending() && other.poll_closing(&contexts[1]).is_pending()
            );
        }
        assert_eq!(tunnels.close(|slot| slot == 1), 1);
        assert_eq!((count(0), count(1)), (1, 0));
        assert_eq!(one.poll_closing(&contexts[0]), Poll::Ready(()));
        assert!(other.poll_closing(&contexts[1]).is_pending());
        let mut closed = pin!(tunnels.closed());
        assert!(closed.as_mut().poll(&mut contexts[0]).is_pending());
        drop(one);
        assert_eq!(closed.as_mut().poll(&mut contexts[0]), Poll::Ready(()), "the other goes on");
    }
}
