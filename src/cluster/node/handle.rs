//! The way to the node from the rest of the program.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot,
};

use super::{before::Before, run};
use crate::cluster::{
    address::virtual_address::VirtualAddress, conf::ClusterConf, node::run::Command, role::Role,
    status::Status,
};

/// How long the node may take to leave: what it does then takes milliseconds.
pub const LEAVING: Duration = Duration::from_secs(2);

/// How long a program of `on_change` is waited for at the end.
const TOLD: Duration = Duration::from_secs(15);

/// The way to the node. The thread begins with the first configuration that has a cluster.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    status: Arc<Status>,
    commands: UnboundedSender<Command>,
    /// Until the thread begins.
    waiting: Mutex<Option<UnboundedReceiver<Command>>>,
    /// How often [`Handle::resume`] was called.
    asked: AtomicU64,
    /// Closed when the thread has ended.
    ended: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Default for Handle {
    fn default() -> Self {
        let (commands, waiting) = unbounded_channel();
        let waiting = Mutex::new(Some(waiting));
        Self {
            shared: Arc::new(Shared {
                status: Arc::default(),
                commands,
                waiting,
                ended: Mutex::default(),
                asked: AtomicU64::new(0),
            }),
        }
    }
}

impl Handle {
    /// What the node tells of itself.
    pub fn status(&self) -> &Arc<Status> {
        &self.shared.status
    }

    /// What is configured from now on. Roles survive; groups that are gone are released first. `before` is what the
    /// program before this one was, at the first time.
    pub fn set(&self, conf: Option<&ClusterConf>, before: Option<&Value>) {
        self.shared.status.set_on(conf.is_some());
        // Without a cluster in its file it still has to remove what the program before had.
        if conf.is_some() || before.is_some_and(|before| !Before::read(before).addresses().is_empty()) {
            self.begin();
        }
        self.tell(Command::Set(conf.cloned().map(Box::new), before.cloned().unwrap_or_default()));
    }

    /// Why this node cannot do its work; `None` when it can.
    pub fn unfit(&self, why: Option<String>) {
        self.tell(Command::Unfit(why));
    }

    /// Why this node should be primary only where no other is; `None` when nothing is in its way.
    pub fn weak(&self, why: Option<String>) {
        self.tell(Command::Weak(why));
    }

    /// Has another node be primary, where one is there, until [`Handle::resume`].
    pub fn step_down(&self) {
        self.tell(Command::StepDown);
    }

    /// How often it was asked to stand again: who steps down after a while sees whether that was taken back.
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Relaxed)
    }

    /// Stands for election as configured again.
    pub fn resume(&self) {
        self.shared.asked.fetch_add(1, Relaxed);
        self.tell(Command::Resume);
    }

    /// Ends the node, and waits until its addresses are released and its peers know. With `keep_addresses` another program
    /// on this machine goes on as what this one was.
    pub async fn leave(&self, keep_addresses: bool) {
        let (done, left) = oneshot::channel();
        if self.has_begun() && self.shared.commands.send(Command::Leave { keep_addresses, done }).is_ok() {
            let left = tokio::time::timeout(LEAVING, left).await;
            if left.is_err() {
                tracing::error!("the cluster's thread did not end within {LEAVING:?}");
            }
        }
    }

    /// Waits, for a bounded time, until the program of `on_change` has been run for what [`Handle::leave`] brought. For the
    /// end of the program, after that of the workers; blocks.
    pub fn finish(&self) {
        let ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It says nothing, and is closed at its end.
        if ended.is_some_and(|ended| ended.recv_timeout(TOLD) == Err(mpsc::RecvTimeoutError::Timeout)) {
            tracing::error!(
                "`on_change` was not done within {TOLD:?}: what runs goes on, and what it was to be told after that is not"
            );
        }
    }

    /// What the next program must know of this one: after [`Handle::leave`] it is that for good.
    pub fn to_hand_over(&self) -> Value {
        if !self.shared.status.is_on() {
            return Value::Null;
        }
        let inner = self.shared.status.read();
        let groups = inner.groups.iter().map(|group| {
            json!({
                "name": &*group.name,
                "is_primary": group.role == Role::Primary,
                "fence": group.fence,
                "addresses": group.addresses.iter().map(VirtualAddress::to_json).collect::<Vec<_>>(),
                "state": group.state,
                "is_untold": group.is_untold,
            })
        });
        let groups: Vec<Value> = groups.collect();
        json!({"groups": groups, "is_stepped_down": inner.is_stepped_down})
    }

    fn begin(&self) {
        let waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(commands) = waiting else { return };
        let status = self.shared.status.clone();
        let (held, ended) = mpsc::channel();
        *self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        let thread = std::thread::Builder::new().name("cluster".into());
        let life = move || {
            run::run(commands, status);
            drop::<mpsc::Sender<()>>(held);
        };
        if let Err(error) = thread.spawn(life) {
            tracing::error!("the cluster is not running: its thread cannot be started: {error}");
        }
    }

    fn tell(&self, command: Command) {
        // Before the beginning it would be kept for nobody, and after the end nobody listens.
        if self.has_begun() {
            let _ = self.shared.commands.send(command);
        }
    }

    fn has_begun(&self) -> bool {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}
