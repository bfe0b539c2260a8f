//! An exchange, and how far it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Wake,
};

use crate::upstream::{Permit, queue::Place};

/// Something that was woken.
#[derive(Default)]
pub(super) struct Woken(pub(super) AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// How far an exchange is.
pub(super) enum Step {
    /// It is in the queue and has not looked yet.
    Joined(Place),
    /// It was not called yet, and sleeps.
    Asleep(Place),
    /// It was called.
    Called,
    /// It was called for nothing, and is to be at the front again.
    Again,
    /// It has a place at a backend.
    Holds(Permit),
}

pub(super) struct Exchange {
    pub(super) number: usize,
    pub(super) worker: usize,
    pub(super) tried: Vec<usize>,
    pub(super) woken: Arc<Woken>,
    pub(super) step: Step,
}

impl Exchange {
    pub(super) fn can_go_on(&self) -> bool {
        match &self.step {
            Step::Joined(_) | Step::Called | Step::Again => true,
            Step::Asleep(_) => self.woken.0.load(SeqCst),
            Step::Holds(_) => false,
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Joined(_) | Step::Asleep(_))
    }

    /// Whether it can be dropped: between being called and looking it is not polled by anybody else.
    pub(super) fn can_leave(&self) -> bool {
        !matches!(self.step, Step::Called | Step::Again)
    }

    pub(super) fn holds(&self) -> bool {
        matches!(self.step, Step::Holds(_))
    }
}

impl Step {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Joined(_) => "waits",
            Self::Asleep(_) => "sleeps",
            Self::Called => "is called",
            Self::Again => "was called for nothing",
            Self::Holds(_) => "has a place",
        }
    }
}
