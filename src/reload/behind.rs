//! What a generation still has to do once it is in force: its caches take their limits and folders off the loop, since that
//! takes its time.
//!
//! Previous stop: `publish`, which begins it. Next stop: the next attempt, which waits for it.

use tokio::task::{JoinHandle, spawn_blocking};

/// What a generation has done off the loop once it is published. The next one is not prepared before it is done: what is
/// prepared depends on what is in force, and of two that are done at once, the older could come last.
#[derive(Debug, Default)]
pub(super) struct Behind(Option<JoinHandle<()>>);

impl Behind {
    /// Has it done.
    pub(super) fn begin(&mut self, work: impl FnOnce() + Send + 'static) {
        self.0 = Some(spawn_blocking(work));
    }

    /// Waits until it is done. Dropped before that, it waits for it the next time.
    pub(super) async fn done(&mut self) {
        if let Some(work) = &mut self.0 {
            if work.await.is_err() {
                tracing::error!("giving caches their limits and folders panicked, which is a bug");
            }
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::mpsc::channel, task::Poll};

    use super::*;

    /// Else the folders of an older generation could be put in force behind those of a newer one.
    #[tokio::test]
    async fn what_a_generation_does_is_waited_for_by_the_next() {
        let mut behind = Behind::default();
        behind.done().await;
        let ((go, waits), (say, said)) = (channel::<()>(), channel());
        behind.begin(move || {
            let _ = waits.recv();
            say.send(()).unwrap();
        });
        {
            let mut done = std::pin::pin!(behind.done());
            assert!(poll_fn(|cx| Poll::Ready(done.as_mut().poll(cx).is_pending())).await);
        }
        drop(go);
        behind.done().await;
        assert_eq!(said.try_recv(), Ok(()));
    }
}
