//! How many sessions of datagrams an upstream has.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

/// Sessions of datagrams of an upstream, over all workers and generations.
#[derive(Debug, Default)]
pub struct Sessions {
    open: AtomicU32,
    has_answered: AtomicBool,
}

impl Sessions {
    /// A place for one of at most so many; `None` when there is none.
    pub fn enter(self: &Arc<Self>, most: u32) -> Option<SessionPlace> {
        let before = self.open.fetch_add(1, Relaxed);
        let place = SessionPlace(self.clone());
        // Dropping the place takes the count back.
        (before < most).then_some(place)
    }

    /// Says that a backend answered.
    pub fn note_answer(&self) {
        if !self.has_answered.load(Relaxed) {
            self.has_answered.store(true, Relaxed);
        }
    }

    /// Whether a backend has ever answered. Where none has, silence says nothing of any: what is spoken may be a
    /// protocol without answers, such as syslog's. Where one has, see `docs/decisions/048-silence-to-strangers.md`.
    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Relaxed)
    }
}

/// A session's place among those of its upstream.
#[derive(Debug)]
pub struct SessionPlace(Arc<Sessions>);

impl Drop for SessionPlace {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_sessions_than_may_be_have_a_place() {
        let sessions = Arc::new(Sessions::default());
        let held: Vec<_> = (0..3).map(|_| sessions.enter(3).unwrap()).collect();
        assert!(sessions.enter(3).is_none() && sessions.enter(3).is_none());
        drop(held);
        assert!(sessions.enter(1).is_some());
        assert_eq!(sessions.open.load(Relaxed), 0);
    }
}
