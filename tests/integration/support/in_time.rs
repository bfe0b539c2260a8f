//! Commands that a test waits for, with a limit: a client that hangs fails its test, and holds up no other.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, Output, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a command may take, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(120);

/// A command that is waited for with a limit.
pub trait InTime {
    /// Runs it as `Command::output` does; it is killed, with all that it began, when it takes two minutes.
    fn in_time(&mut self) -> io::Result<Output>;
}

impl InTime for Command {
    fn in_time(&mut self) -> io::Result<Output> {
        let child = self.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let group = Pid::from_child(&child);
        let (end, ended) = mpsc::channel::<()>();
        let watch = thread::spawn(move || {
            let is_late = ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
            if is_late {
                let _ = kill_process_group(group, Signal::KILL);
            }
            is_late
        });
        let output = child.wait_with_output();
        drop(end);
        assert!(!watch.join().unwrap(), "{self:?} did not end in {LIMIT:?}: {output:?}");
        output
    }
}
