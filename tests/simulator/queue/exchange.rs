//! An exchange, and how far it is.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake},
};

use crate::{
    error::Result,
    moment::Moment,
    net::{Deadline, Waiter},
    sync::{Pause, with_pauses},
    upstream::{Permit, WorkerUpstream, acquire::Acquire},
};

/// Something that was woken.
#[derive(Default)]
pub(super) struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// One who waits for as long as it is polled, and takes the time from the simulation.
pub(in crate::simulator) struct Patient {
    deadline: Deadline,
    now: Rc<Cell<Moment>>,
}

impl Waiter for Patient {
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    fn now(&self) -> Moment {
        self.now.get()
    }
}

/// An exchange that asks for a place.
pub(in crate::simulator) type Pick = Pin<Box<dyn Future<Output = Result<(Permit, Moment)>>>>;

/// Asks a worker for a place, as attempts do.
pub(in crate::simulator) fn pick(
    worker_upstream: Rc<WorkerUpstream>,
    tried: Vec<usize>,
    sticky: Option<usize>,
    now: Rc<Cell<Moment>>,
) -> Pick {
    Box::pin(async move {
        let mut waiter = Patient { deadline: Deadline::new(), now };
        let acquire =
            Acquire { worker_upstream: &worker_upstream, key: 0, sticky, end: None, connect_timeout: None };
        acquire.pick(&tried, &mut waiter).await
    })
}

/// How far an exchange is.
pub(super) enum Step {
    /// It asks for a place: it sleeps, or other workers come between two of its steps.
    Asks(Pick, Option<Pause>),
    /// It has a place at a backend.
    Holds(Permit),
}

pub(super) struct Exchange {
    pub(super) number: usize,
    /// The worker, with the generation that it came with.
    pub(super) worker: Rc<WorkerUpstream>,
    pub(super) tried: Vec<usize>,
    pub(super) woken: Arc<Woken>,
    pub(super) step: Step,
}

impl Exchange {
    /// Does what it does next; the error is how it ends.
    pub(super) fn go_on(&mut self) -> Result<()> {
        let Step::Asks(pick, at) = &mut self.step else { return Ok(()) };
        self.woken.0.store(false, SeqCst);
        let waker = self.woken.clone().into();
        let (polled, left_at) = with_pauses(|| pick.as_mut().poll(&mut Context::from_waker(&waker)));
        *at = left_at;
        if let Poll::Ready(result) = polled {
            self.step = Step::Holds(result?.0);
        }
        Ok(())
    }

    pub(super) fn can_go_on(&self) -> bool {
        matches!(self.step, Step::Asks(..)) && self.woken.0.load(SeqCst)
    }

    /// Whether it stands in the queue, unless it was called.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Asks(_, None | Some(Pause::Joined)))
    }

    /// Whether it can be dropped: between being called and looking it is not polled by anybody else.
    pub(super) fn can_leave(&self) -> bool {
        self.is_waiting() || self.holds()
    }

    pub(super) fn holds(&self) -> bool {
        matches!(self.step, Step::Holds(_))
    }

    pub(super) fn name(&self) -> &'static str {
        match &self.step {
            Step::Asks(_, Some(Pause::Joined)) => "waits",
            Step::Asks(_, Some(Pause::Called)) => "is called",
            Step::Asks(_, Some(Pause::CalledForNothing)) => "was called for nothing",
            Step::Asks(_, None) => "sleeps",
            Step::Holds(_) => "has a place",
        }
    }
}
