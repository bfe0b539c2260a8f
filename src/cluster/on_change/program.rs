//! One run of the program that is told of a change.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::Receiver,
    sync::oneshot,
    time::{sleep, timeout},
};

use super::report::Report;
use crate::{cluster::conf::OnChangeConf, net::descriptors};

/// How long a program that is told to end may take, before it is killed.
const GRACE: Duration = Duration::from_millis(400);
/// How long what a program said is waited for after its end: another that it started may keep the streams open.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Bytes of output that go to the log, of each run and stream.
const OUTPUT: u64 = 4096;

/// Why a run came to nothing.
#[derive(Debug)]
pub(super) enum End {
    /// It failed, or took too long. Why, for people.
    Failed(String),
    /// It was stopped before it had ended.
    Stopped,
}

/// Runs the program once, in a process group of its own: where it takes too long, or once `stopped` is ready, all that it
/// started and did not leave in another group is ended.
pub(super) async fn run(
    conf: &OnChangeConf,
    report: &Report,
    stopped: impl Future<Output = ()>,
) -> Result<(), End> {
    let values = values(report);
    let mut words = conf.command.iter().map(|word| filled(word, &values));
    let program = words.next().unwrap_or_default();
    let mut command = Command::new(&program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    for (name, value) in &values {
        command.env(format!("POINTSMAN_{}", name.to_uppercase()), value);
    }
    #[cfg(test)]
    let child = crate::sync::children::begin(|| command.spawn());
    #[cfg(not(test))]
    let child = command.spawn();
    let mut child = child.map_err(|error| End::Failed(format!("{program} cannot be started: {error}")))?;
    let output = child.stdout.take().map(OwnedFd::from);
    let errors = child.stderr.take().map(OwnedFd::from);
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let (is_under_way, is_over) = oneshot::channel::<()>();
    let ends = async {
        let end = tokio::select! {
            ended = ended(&child) => Ok(ended),
            () = sleep(conf.timeout) => {
                Err(End::Failed(format!("{program} took longer than {:?}", conf.timeout)))
            }
            () = stopped => Err(End::Stopped),
        };
        if end.is_err() {
            stop(&mut child).await;
        }
        drop(is_under_way);
        end
    };
    let reads = async {
        // What it started may keep these open for as long as it likes.
        let late = async {
            let _ = is_over.await;
            sleep(LAST_WORDS).await;
        };
        let both = async { tokio::join!(read(output, &mut said), read(errors, &mut complained)) };
        tokio::select! {
            _ = both => {}
            () = late => {}
        }
    };
    let (end, ()) = tokio::join!(ends, reads);
    log(&said, &program);
    log(&complained, &program);
    match end?.and_then(|()| child.wait()) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(End::Failed(format!("{program} exited with {status}"))),
        Err(error) => {
            let _ = child.kill();
            Err(End::Failed(format!("the end of {program} was not seen: {error}")))
        }
    }
}

/// Ends a program and its group: politely, and then for good.
async fn stop(child: &mut Child) {
    // Nobody else has its number before it is waited for.
    let group = Pid::from_child(child);
    let _ = kill_process_group(group, Signal::TERM);
    let _ = timeout(GRACE, ended(child)).await;
    // Also where the program itself is gone: what it started may go on.
    let _ = kill_process_group(group, Signal::KILL);
    // Where it does not end, the next one shall not wait for it.
    let _ = timeout(GRACE, ended(child)).await;
    let _ = child.try_wait();
}

/// Waits until a program has ended. By its descriptor, and not by tokio's processes: with those every turn of every event
/// loop, workers' too, looks for programs that have ended.
async fn ended(child: &Child) -> io::Result<()> {
    let descriptor = pidfd_open(Pid::from_child(child), PidfdFlags::NONBLOCK)?;
    descriptors::register(descriptor)?.readable().await.map(|_| ())
}

fn values(report: &Report) -> [(&'static str, String); 6] {
    [
        ("role", report.role.name().to_owned()),
        ("node", report.node.clone()),
        ("router", report.router.clone()),
        ("addresses", report.addresses.join(",")),
        ("fence", report.fence.to_string()),
        ("reason", report.reason.clone()),
    ]
}

/// `word` with its values in place of their names; what was put in is not looked at again.
fn filled(word: &str, values: &[(&'static str, String)]) -> String {
    let (mut text, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let value = after.split_once('}').and_then(|(name, after)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((value, after))
        });
        match value {
            Some((value, after)) => {
                text.push_str(value);
                rest = after;
            }
            None => {
                text.push('{');
                rest = after;
            }
        }
    }
    text + rest
}

/// Reads what a program says: the first bytes are kept in `text`, also where this is dropped before the end.
async fn read(stream: Option<OwnedFd>, text: &mut Vec<u8>) {
    let Some(mut stream) = stream.and_then(|stream| Receiver::from_owned_fd(stream).ok()) else { return };
    let mut first = (&mut stream).take(OUTPUT);
    while first.read_buf(text).await.is_ok_and(|length| length > 0) {}
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

/// Writes what a program said into the log.
fn log(text: &[u8], program: &str) {
    for line in String::from_utf8_lossy(text).lines().filter(|line| !line.trim().is_empty()) {
        tracing::info!(program, "output of `on_change`: {}", line.escape_debug());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::role::Role;

    #[test]
    fn words_are_filled_once() {
        let (node, router, reason) = ("n".into(), "r".into(), "why {role}".into());
        let addresses = vec!["10.0.0.1".into(), "10.0.0.2".into()];
        let report = Report { role: Role::Primary, fence: 3, node, router, addresses, reason };
        assert_eq!(
            filled("{role} {addresses} {x} {reason} {", &values(&report)),
            "primary 10.0.0.1,10.0.0.2 {x} why {role} {"
        );
    }
}
