//! Where changes are made that are asked for: during an upgrade there are two programs, and each answers at the same
//! sockets. One at a time makes them, so that none is acknowledged by a program that ends, or missed by the one that goes on.

use std::{
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

/// Which program makes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Maker {
    /// This one.
    #[default]
    Own,
    /// The one before this one, which has not let go yet, and goes on where this one fails.
    Before,
    /// The one that has taken this one's place.
    Next,
}

/// Which program makes changes.
#[derive(Debug, Default)]
pub struct Changes {
    maker: watch::Sender<Maker>,
    /// Whether that is [`Maker::Next`], for the path of a request, where nobody may take a lock.
    are_left: AtomicBool,
}

impl Changes {
    /// That one makes them from here on.
    pub fn leave_to(&self, maker: Maker) {
        self.are_left.store(maker == Maker::Next, Release);
        self.maker.send_replace(maker);
    }

    /// Whether they are made where this one does not hear of them: what it has stored may have been purged.
    pub fn are_left(&self) -> bool {
        self.are_left.load(Acquire)
    }

    /// Which one does.
    pub fn maker(&self) -> Maker {
        *self.maker.borrow()
    }

    /// Waits until the program before this one has let go, though not for longer than this; then which one makes them.
    pub async fn settled(&self, most: Duration) -> Maker {
        let mut receiver = self.maker.subscribe();
        let has_let_go = receiver.wait_for(|maker| *maker != Maker::Before);
        // Where it has not, and where the sender is gone with the program, it is what it is.
        let _ = timeout(most, has_let_go).await;
        self.maker()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_before_is_waited_for_and_no_other() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let (changes, most) = (Changes::default(), Duration::from_secs(5));
            assert_eq!(changes.settled(most).await, Maker::Own);
            changes.leave_to(Maker::Before);
            assert_eq!(changes.settled(most).await, Maker::Before);
            let (maker, ()) = tokio::join!(changes.settled(most), async {
                tokio::time::sleep(most / 2).await;
                changes.leave_to(Maker::Own);
            });
            assert_eq!(maker, Maker::Own);
            assert!(!changes.are_left());
            changes.leave_to(Maker::Next);
            assert!(changes.are_left());
            let begun = tokio::time::Instant::now();
            assert_eq!(changes.settled(most).await, Maker::Next);
            assert_eq!(begun.elapsed(), Duration::ZERO);
        });
    }
}
