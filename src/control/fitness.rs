//! Whether this node can do its work, for the cluster: workers that hang and descriptors that are used up make it unfit
//! (another one shall be primary), backends that are all down make it weak (another one that has some shall be).
//!
//! A worker answers by its mailbox, which its loop reads between everything else it does: what a request to a listener of
//! its own would show too, without a line in anybody's log.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    balance,
    listen::mailbox::{Mailboxes, Message},
    moment::Moment,
    net::descriptors,
    runtime::{Snapshot, worker::Shared},
};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// How long a worker may take to answer: nothing that it does takes a tenth of it.
const ANSWER: Duration = Duration::from_secs(2);
/// How often in a row something must be so that can pass by itself.
const IN_A_ROW: u32 = 4;

/// Looks again and again, and tells the cluster's node, where there is one.
pub(super) async fn watch(shared: Arc<Shared>, mailboxes: Mailboxes) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut without_descriptors, mut without_backends) = (0, 0);
    loop {
        looks.tick().await;
        let node = &shared.registry.cluster;
        if !node.status().is_on() {
            continue;
        }
        let hangs = worker_that_hangs(&mailboxes, ANSWER).await;
        without_descriptors = count(without_descriptors, are_descriptors_used_up());
        without_backends = count(without_backends, are_all_down(&shared.snapshot.load(), Moment::now()));
        let unfit = hangs.map(|worker| format!("worker {worker} does not answer"));
        let none_left = || "no file descriptors are left".to_owned();
        node.unfit(unfit.or_else(|| (without_descriptors >= IN_A_ROW).then(none_left)));
        let all_down = || "every backend of every upstream is down".to_owned();
        node.weak((without_backends >= IN_A_ROW).then(all_down));
    }
}

fn count(before: u32, is_so: bool) -> u32 {
    if is_so { before.saturating_add(1) } else { 0 }
}

/// The first worker that does not answer within so long.
async fn worker_that_hangs(mailboxes: &Mailboxes, within: Duration) -> Option<usize> {
    for worker in 0..mailboxes.workers() {
        let (answer, answered) = oneshot::channel();
        let is_sent = mailboxes.send(worker, Message::Describe(0, answer)).is_ok();
        if !is_sent || !matches!(timeout(within, answered).await, Ok(Ok(_))) {
            return Some(worker);
        }
    }
    None
}

/// Whether connections get none any more.
fn are_descriptors_used_up() -> bool {
    descriptors::next_is_free(&std::io::stdin()).is_err()
}

/// Whether there are backends, and nobody can be sent to any of them.
fn are_all_down(snapshot: &Snapshot, now: Moment) -> bool {
    let of_clients =
        snapshot.upstreams.iter().enumerate().filter(|(index, _)| snapshot.peers != Some(*index));
    let backends = of_clients.map(|(_, upstream)| &upstream.backends);
    let mut backends = backends.filter(|backends| !backends.is_empty()).peekable();
    backends.peek().is_some() && backends.all(|backends| balance::are_all_down(backends, now))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use tokio::{runtime::LocalRuntime, sync::mpsc::unbounded_channel, task::spawn_local};

    use super::*;
    use crate::admin::tests::{CONFIG, shared};

    #[test]
    fn worker_that_does_not_answer_is_found() {
        LocalRuntime::new().unwrap().block_on(async {
            let ((first, mut answers), (second, hangs)) = (unbounded_channel(), unbounded_channel());
            let mailboxes = Mailboxes::new(vec![first.clone(), second]);
            spawn_local(async move {
                while let Some(Message::Describe(0, answer)) = answers.recv().await {
                    let _ = answer.send((Vec::new(), 0));
                }
            });
            tokio::time::pause();
            assert_eq!(worker_that_hangs(&mailboxes, ANSWER).await, Some(1));
            drop(hangs);
            assert_eq!(worker_that_hangs(&Mailboxes::new(vec![first]), ANSWER).await, None);
        });
    }

    #[test]
    fn one_backend_that_is_up_is_enough() {
        let snapshot = shared(CONFIG).snapshot.load_full();
        let now = Moment::now();
        assert!(!are_all_down(&snapshot, now));
        let until = now.plus(Duration::from_secs(30));
        let backends: Vec<_> = snapshot.upstreams.iter().flat_map(|upstream| &upstream.backends).collect();
        for backend in &backends {
            backend.shared.ejected_until.store(until.0, Relaxed);
        }
        assert!(are_all_down(&snapshot, now));
        assert!(!are_all_down(&snapshot, until));
    }

    #[test]
    fn backend_that_nobody_is_sent_to_is_none() {
        let text = CONFIG.replace("127.0.0.1:2\"", "127.0.0.1:2\", weight = 0");
        let snapshot = shared(&text).snapshot.load_full();
        let now = Moment::now();
        assert!(!are_all_down(&snapshot, now));
        let backends = snapshot.upstreams.iter().flat_map(|upstream| &upstream.backends);
        for backend in backends.filter(|backend| backend.weight > 0) {
            backend.shared.ejected_until.store(now.plus(Duration::from_secs(30)).0, Relaxed);
        }
        assert!(are_all_down(&snapshot, now));
    }
}
