//! The next program while it proves itself: a child of this one, which ends it where it does not prove itself, and passes
//! a stop on to it, since whoever asked meant the service and not one of two processes
//! ([decision 023](../../docs/decisions/023-upgrade-proof.md)).

use std::{
    process::Child,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);
/// How long it is looked for the end of one that closed its connection: that closes a moment before it can be waited for.
const CLOSED: Duration = Duration::from_millis(500);

/// The next program, where there is one. Shared by the thread that proves it and the control loop.
#[derive(Debug, Default)]
pub struct Successor {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    /// The service is to end: whatever comes now ends too, in its own time.
    is_stopping: bool,
}

impl State {
    /// It, while it has not ended: until that was looked for, no other process has its number.
    fn running(&mut self) -> Option<&mut Child> {
        let child = self.child.as_mut()?;
        matches!(child.try_wait(), Ok(None)).then_some(child)
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Successor {
    /// Takes it on. Ended at once where the service is stopping already; the error is for people.
    pub(super) fn begin(&self, child: Child) -> Result<u32, String> {
        let mut state = self.lock();
        let pid = child.id();
        state.child = Some(child);
        match state.is_stopping {
            true => {
                state.kill();
                Err("this program was told to stop".to_owned())
            }
            false => Ok(pid),
        }
    }

    /// How it ended, if it did a moment ago. Blocks.
    pub(super) fn ended(&self) -> Option<String> {
        self.ends_within(CLOSED).map(|status| format!("it exited ({status})"))
    }

    /// Waits for as long as it must live; the error, for people, is that it did not. Blocks.
    pub(super) fn lives_for(&self, time: Duration) -> Result<(), String> {
        match self.ends_within(time) {
            Some(status) => Err(format!("it reported that it serves, then exited ({status})")),
            None => Ok(()),
        }
    }

    fn ends_within(&self, time: Duration) -> Option<std::process::ExitStatus> {
        let end = Instant::now() + time;
        loop {
            let status = self.lock().child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if status.is_some() || Instant::now() >= end {
                return status;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// It does not take over, and is ended; unless it is ending by itself, since the service stops.
    pub(super) fn refuse(&self) {
        let mut state = self.lock();
        if !state.is_stopping {
            state.kill();
        }
    }

    /// It is the service now, and nothing of this program.
    pub fn hand_over(&self) {
        self.lock().child = None;
    }

    /// The service is to end: the next program too, by the signal that asks for it. It finishes what it has accepted.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.is_stopping = true;
        let Some(child) = state.running() else { return };
        tracing::info!(pid = child.id(), "the new program stops too");
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
    }

    /// Whether nothing of it runs.
    pub fn has_ended(&self) -> bool {
        self.lock().running().is_none()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
