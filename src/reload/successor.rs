//! The next program while it proves itself: a child of this one, which ends it where it does not prove itself, and passes
//! a stop on to it, since whoever asked meant the service and not one of two processes
//! ([decision 023](../../docs/decisions/023-upgrade-proof.md)).

use std::{
    io::{ErrorKind, Read},
    os::unix::net::UnixStream,
    process::Child,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);
/// How long it is looked for the end of one that closed its connection: that closes a moment before it can be waited for.
pub(super) const CLOSED: Duration = Duration::from_millis(500);

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
    /// What it is to do next, for people; by the thread that proves it, for whoever waits for that.
    awaited: &'static str,
}

impl State {
    /// It, while it has not ended: until that was looked for, no other process has its number.
    fn running(&mut self) -> Option<&mut Child> {
        let child = self.child.as_mut()?;
        matches!(child.try_wait(), Ok(None)).then_some(child)
    }

    /// Kills it and takes it out, to be waited for without the lock: the control loop takes that, and the kernel may take its
    /// time.
    #[must_use]
    fn kill(&mut self) -> Option<Child> {
        let mut child = self.child.take()?;
        let _ = child.kill();
        Some(child)
    }
}

impl Successor {
    /// Takes it on. Ended at once where the service is stopping already; the error is for people.
    pub(super) fn begin(&self, child: Child) -> Result<u32, String> {
        let mut state = self.lock();
        let pid = child.id();
        state.child = Some(child);
        if !state.is_stopping {
            return Ok(pid);
        }
        let killed = state.kill();
        drop(state);
        wait(killed);
        Err("this program was told to stop".to_owned())
    }

    /// Takes note of what it is to do next, in words that go on from "waiting for the new program".
    pub(super) fn awaits(&self, what: &'static str) {
        self.lock().awaited = what;
    }

    /// What it is to do next.
    pub(super) fn awaited(&self) -> &'static str {
        self.lock().awaited
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

    /// It does not take over, and is ended; unless it is ending by itself, since the service stops. Blocks.
    pub(super) fn refuse(&self) {
        let mut state = self.lock();
        let killed = if state.is_stopping { None } else { state.kill() };
        drop(state);
        wait(killed);
    }

    /// The same; gives how it ended, if it did by itself a moment ago. `pipe` is the way to it. Blocks.
    pub(super) fn refuse_ended(&self, pipe: &UnixStream) -> Option<String> {
        // First, since nothing is known any more of the end of one that was refused. One that lives may serve already.
        let ended = is_closed(pipe).then(|| self.ended()).flatten();
        self.refuse();
        ended
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

/// Whether the other end of a connection over which nothing else is to be read is closed.
fn is_closed(mut pipe: &UnixStream) -> bool {
    let read = pipe.set_nonblocking(true).and_then(|()| pipe.read(&mut [0; 1024]));
    match read {
        Ok(count) => count == 0,
        // Where it left something unread it is a reset.
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Waits for the end of one that was killed. Blocks.
fn wait(killed: Option<Child>) {
    // It is gone, or somebody else has waited for it.
    let _ = killed.map(|mut child| child.wait());
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn begun(script: &str) -> Successor {
        let successor = Successor::default();
        let mut shell = Command::new("sh");
        // One that reads goes on for as long as nothing comes.
        let child = crate::sync::children::begin(|| shell.args(["-c", script]).stdin(Stdio::piped()).spawn())
            .unwrap();
        successor.begin(child).unwrap();
        successor
    }

    /// It was refused first and asked then, which took half a second and gave nothing.
    #[test]
    fn refused_one_is_asked_first_how_it_ended() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let successor = begun("read line");
        assert_eq!(successor.refuse_ended(&ours), None, "it ended by no will of its own");
        assert!(successor.has_ended());
        let successor = begun("exit 7");
        // Children that other tests begin would have a copy of that end for a moment.
        let _none = crate::sync::children::none();
        drop(theirs);
        while !successor.has_ended() {
            std::thread::yield_now();
        }
        let told = successor.refuse_ended(&ours);
        assert!(told.as_deref().is_some_and(|told| told.contains("exit status: 7")), "{told:?}");
        assert!(successor.ended().is_none(), "nothing is known of it any more");
    }

    #[test]
    fn one_that_was_killed_is_waited_for_without_the_lock() {
        let successor = begun("read line");
        let killed = successor.lock().kill();
        assert!(successor.has_ended(), "nothing of it counts");
        successor.stop();
        wait(killed);
    }
}
