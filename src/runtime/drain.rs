//! Stopping by and by: what stage it is at, for everyone who must know.

use tokio::sync::watch;

/// How far stopping has come. Stages only go forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Serving.
    #[default]
    Running,
    /// `/readyz` says 503; connections are still accepted (`drain_delay`).
    Unready,
    /// Nothing new is accepted; what is under way goes on (`drain_timeout`).
    Draining,
    /// What is left is closed.
    Closing,
}

/// Moves everyone from stage to stage.
#[derive(Debug)]
pub struct Drain {
    stage: watch::Sender<Stage>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { stage: watch::Sender::new(Stage::Running) }
    }
}

impl Drain {
    /// Goes on to a stage; going back is ignored.
    pub fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let is_later = to > *stage;
            if is_later {
                *stage = to;
            }
            is_later
        });
    }

    /// The present stage.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// A receiver to wait for a stage with.
    pub fn subscribe(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }
}

/// Waits until `stage` is reached.
pub async fn reached(receiver: &mut watch::Receiver<Stage>, stage: Stage) {
    // An error means that nobody can advance it any more: the program is over.
    let _ = receiver.wait_for(|now| *now >= stage).await;
}
