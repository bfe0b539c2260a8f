//! Changes that other nodes' admin APIs were asked for: each is made here as if it was asked for here, and goes no further.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tokio::{sync::oneshot, task::spawn_local, time::timeout};

use super::context::Peers;
use crate::{
    cluster::peers::commands::{Command, Commands, Progress},
    moment::Moment,
    telemetry::repeated::Repeated,
};

/// How long the other node waits for an answer; what is not made by then it asks for again.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);

/// Where the answer goes: a status and a body.
type Answer = oneshot::Sender<(u16, Bytes)>;

/// Makes a change that another node asks for, and answers that node.
pub(super) fn take(peers: &Peers, command: Command, answer: Answer) {
    let (id, node) = (command.id.clone(), peers.clone());
    make(peers.shared.registry.commands.clone(), id, answer, async move { obey(&node, &command).await });
}

/// Makes a change by `making`, which says whether that is done with, unless it is being made already. Answers 200 once it is
/// done with, 202 while it is being made, and 503 where it cannot be made now.
fn make(commands: Arc<Commands>, id: String, answer: Answer, making: impl Future<Output = bool> + 'static) {
    if commands.begin(&id) == Progress::New {
        let begun = Begun { commands: commands.clone(), id: id.clone(), is_done: false };
        spawn_local(async move { begun.end(making.await) });
    }
    spawn_local(async move {
        let progress = timeout(ANSWERED_WITHIN, commands.settled(&id)).await.unwrap_or(Progress::UnderWay);
        let answered = match progress {
            Progress::Done => (200, Bytes::from_static(b"{}")),
            Progress::New | Progress::UnderWay => (202, Bytes::from_static(b"{}")),
            Progress::NotNow => (503, Bytes::from_static(b"it cannot be made now\n")),
        };
        // The peer may have gone.
        let _ = answer.send(answered);
    });
}

/// A change that is being made. It is settled however its making ends.
struct Begun {
    commands: Arc<Commands>,
    id: String,
    is_done: bool,
}

impl Begun {
    fn end(mut self, is_done: bool) {
        self.is_done = is_done;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.commands.settle(&self.id, self.is_done);
    }
}

static PUT_OFF: Repeated = Repeated::new();

/// Makes a change; false where that may succeed later.
async fn obey(peers: &Peers, command: &Command) -> bool {
    let Command { id, method, target, body } = command;
    let status = peers.admin.clone().obey(method, target, body).await;
    let result = match status {
        status if status.is_success() => "made",
        status if passes(status) => "put_off",
        _ => "failed",
    };
    peers.shared.registry.cluster.status().count("peer_commands", result);
    let status = status.as_u16();
    if result != "put_off" {
        tracing::info!(
            %id, %method, request_target = %target, status,
            "a change was requested at another node"
        );
    } else if let Some(times) = PUT_OFF.count(Moment::now()) {
        tracing::warn!(
            times, %id, %method, request_target = %target, status,
            "a change that was requested at another node cannot be made now; that node asks again"
        );
    }
    result != "put_off"
}

/// Whether a failure says nothing of the change itself: too much else is under way, or something went wrong here.
fn passes(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::{sync::Notify, task::LocalSet};

    use super::*;

    /// What a node is answered that asks for a change, which is made so.
    async fn ask(commands: &Arc<Commands>, making: impl Future<Output = bool> + 'static) -> u16 {
        let (answer, answered) = oneshot::channel();
        make(commands.clone(), "a-1".to_owned(), answer, making);
        answered.await.unwrap().0
    }

    #[tokio::test(start_paused = true)]
    async fn change_that_takes_long_is_made_once_and_acknowledged_then() {
        let all = LocalSet::new();
        all.run_until(async {
            let (commands, go) = (Arc::new(Commands::default()), Arc::new(Notify::new()));
            let making = {
                let go = go.clone();
                async move {
                    go.notified().await;
                    true
                }
            };
            assert_eq!(ask(&commands, making).await, 202);
            assert_eq!(ask(&commands, async { panic!("it is made twice") }).await, 202);
            go.notify_one();
            assert_eq!(ask(&commands, async { panic!("it is made twice") }).await, 200);
            assert_eq!(ask(&commands, async { panic!("it is made twice") }).await, 200);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn change_that_cannot_be_made_now_is_made_later() {
        let all = LocalSet::new();
        all.run_until(async {
            let commands = Arc::new(Commands::default());
            assert_eq!(ask(&commands, async { false }).await, 503);
            assert_eq!(ask(&commands, async { panic!("as a task does that fails") }).await, 503);
            assert_eq!(ask(&commands, async { true }).await, 200);
            assert_eq!(ask(&commands, pending()).await, 200);
        })
        .await;
    }

    #[test]
    fn what_a_busy_node_says_is_put_off() {
        for passing in [429, 500, 503] {
            assert!(passes(StatusCode::from_u16(passing).unwrap()));
        }
        for lasting in [200, 202, 400, 404, 409] {
            assert!(!passes(StatusCode::from_u16(lasting).unwrap()));
        }
    }
}
