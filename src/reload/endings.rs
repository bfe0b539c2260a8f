//! Listeners that a generation has left out: what is left of their connections ends after the time to drain.
//!
//! Previous stop: `reload::publish`; next stop: the mailbox of each worker.

use std::{collections::HashMap, time::Duration};

use tokio::task::{AbortHandle, spawn_local};

use crate::{
    listen::mailbox::{Mailboxes, Message},
    runtime::ListenerId,
};

/// By listener that is gone: what ends its connections, in time. One that comes back, and goes again, has all of that time
/// again.
#[derive(Debug, Default)]
pub(super) struct Endings(HashMap<ListenerId, AbortHandle>);

impl Endings {
    /// Leaves listeners alone that are there again.
    pub(super) fn leave_alone(&mut self, is_there: impl Fn(ListenerId) -> bool) {
        self.0.retain(|slot, ending| {
            let is_there = is_there(*slot);
            if is_there {
                ending.abort();
            }
            !is_there && !ending.is_finished()
        });
    }

    /// Ends what is left of connections over these listeners, which are gone, after this time.
    pub(super) fn begin(&mut self, gone: Vec<ListenerId>, after: Duration, mailboxes: &Mailboxes) {
        for slot in gone {
            let mailboxes = mailboxes.clone();
            let ending = spawn_local(async move {
                tokio::time::sleep(after).await;
                for worker in 0..mailboxes.workers() {
                    // A worker ends only with the program.
                    let _ = mailboxes.send(worker, Message::End(slot));
                }
            });
            self.0.insert(slot, ending.abort_handle());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        runtime::{Builder, LocalOptions},
        sync::mpsc::unbounded_channel,
        time::{Instant, sleep},
    };

    use super::*;

    #[test]
    fn each_time_that_a_listener_goes_counts_by_itself() {
        let builder = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build_local(LocalOptions::default());
        builder.unwrap().block_on(async {
            let (sender, mut mailbox) = unbounded_channel();
            let (mailboxes, mut endings) = (Mailboxes::new(vec![sender]), Endings::default());
            let (begun, drain) = (Instant::now(), Duration::from_secs(30));
            endings.begin(vec![1, 2], drain, &mailboxes);
            sleep(Duration::from_secs(10)).await;
            // The first is back, and goes again; the other stays away.
            endings.leave_alone(|slot| slot == 1);
            sleep(Duration::from_secs(10)).await;
            endings.leave_alone(|_| false);
            endings.begin(vec![1], drain, &mailboxes);
            for (expected, seconds) in [(2, 30), (1, 50)] {
                let Some(Message::End(slot)) = mailbox.recv().await else { panic!("not an end") };
                assert_eq!((slot, begun.elapsed().as_secs()), (expected, seconds));
            }
            sleep(drain * 2).await;
            assert!(mailbox.try_recv().is_err());
        });
    }
}
