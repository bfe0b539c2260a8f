//! Stopping by and by: unready, draining, closing.

use std::{sync::Arc, time::Duration};

use crate::{
    reload::successor::Successor,
    runtime::{
        drain::{Stage, reached},
        worker::Shared,
    },
};

/// Goes through the stages: `drain_delay` while connections are still accepted, then until nothing is
/// open or `drain_timeout` is over. `at_once` cuts it short.
/// A program that was to follow this one is waited for as well.
pub(super) async fn drain(
    shared: &Arc<Shared>,
    is_handed_over: bool,
    successor: &Successor,
    at_once: impl Future<Output = ()>,
) {
    let mut timeouts = shared.snapshot.load().config.runtime.clone();
    if is_handed_over {
        // Nobody need notice, and new connections are for the next program.
        timeouts.drain_delay = Duration::ZERO;
        // The next program waits for what is on disk.
        shared.registry.close_caches();
    }
    tracing::info!(delay = ?timeouts.drain_delay, timeout = ?timeouts.drain_timeout, "draining");
    shared.drain.advance(Stage::Unready);
    let sequence = async {
        tokio::time::sleep(timeouts.drain_delay).await;
        shared.drain.advance(Stage::Draining);
        tokio::time::sleep(timeouts.drain_timeout).await;
    };
    tokio::select! {
        () = sequence => tracing::warn!(open = open(shared), "the drain timeout is over: closing what is left"),
        () = drained(shared, successor) => tracing::info!("drained"),
        () = at_once => tracing::warn!(open = open(shared), "stopping at once"),
    }
    shared.drain.advance(Stage::Draining);
    shared.drain.advance(Stage::Closing);
}

/// Waits until nothing is open while draining, here and in the program that was to follow.
async fn drained(shared: &Arc<Shared>, successor: &Successor) {
    let mut stage = shared.drain.subscribe();
    reached(&mut stage, Stage::Draining).await;
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if open(shared) <= 0 && successor.has_ended() {
            return;
        }
    }
}

/// Open connections of all listeners: those that a reload took away have time to end as well. So have fetches that go on
/// without a client: of a refresh, or of an object that is half on disk.
fn open(shared: &Shared) -> i64 {
    let fetches = i64::try_from(shared.registry.fetches()).unwrap_or(i64::MAX);
    shared.registry.open_connections().saturating_add(fetches)
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::atomic::Ordering::Relaxed};

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{
        admin::tests::{CONFIG, shared},
        config,
        moment::Moment,
        runtime::{build, cache_key::CacheKey},
        schema::{Size, StorePath},
        tls::tickets::Tickets,
        writeback::{
            conf::JournalConf,
            journal::{Journal, Options},
        },
    };

    /// What `drain_delay = "2s"` and `drain_timeout = "5s"` make of so many open connections.
    fn draining(open: i64) -> Arc<Shared> {
        let times = "workers = 2\ndrain_delay = \"2s\"\ndrain_timeout = \"5s\"";
        let shared = shared(&CONFIG.replace("workers = 2", times));
        shared.snapshot.load().listeners[0].shared.open.store(open, Relaxed);
        shared
    }

    #[tokio::test(start_paused = true)]
    async fn connections_are_accepted_in_the_delay_and_end_within_timeout() {
        let shared = draining(1);
        let begun = Instant::now();
        let stages = async {
            let mut stage = shared.drain.subscribe();
            for (expected, seconds) in [(Stage::Unready, 0), (Stage::Draining, 2), (Stage::Closing, 7)] {
                reached(&mut stage, expected).await;
                assert_eq!((shared.drain.stage(), begun.elapsed().as_secs()), (expected, seconds));
            }
        };
        let nobody = Successor::default();
        tokio::join!(drain(&shared, false, &nobody, pending()), stages);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_over_when_the_last_connection_is() {
        let shared = draining(1);
        let begun = Instant::now();
        let leave = async {
            sleep(Duration::from_secs(3)).await;
            shared.snapshot.load().listeners[0].shared.leave();
        };
        let nobody = Successor::default();
        tokio::join!(drain(&shared, false, &nobody, pending()), leave);
        assert_eq!((shared.drain.stage(), begun.elapsed().as_secs()), (Stage::Closing, 3));
    }

    /// They are what workers wait for as well, and what is half on disk would be lost.
    #[tokio::test(start_paused = true)]
    async fn fetches_that_no_client_waits_for_are_waited_for() {
        let shared = draining(0);
        let fetches = &shared.registry.workers()[0].fetches;
        fetches.store(1, Relaxed);
        let begun = Instant::now();
        let end = async {
            sleep(Duration::from_secs(4)).await;
            fetches.store(0, Relaxed);
        };
        let drained = async {
            drain(&shared, false, &Successor::default(), pending()).await;
            begun.elapsed().as_secs()
        };
        assert_eq!(tokio::join!(drained, end).0, 4);
    }

    /// Else it would be over at once, and cut what is left on a listener that has another name now.
    #[tokio::test(start_paused = true)]
    async fn connections_of_listeners_that_are_gone_are_waited_for() {
        let shared = draining(1);
        let gone = shared.snapshot.load().listeners[0].shared.clone();
        let text = CONFIG.replace("\"web\"", "\"other\"");
        let tickets = Tickets::new(Moment::now()).unwrap();
        let config = config::parse(&text, "test.toml".as_ref()).unwrap();
        let mut snapshot = build::build(config, 2, &shared.registry, &tickets).unwrap();
        snapshot.config.runtime = shared.snapshot.load().config.runtime.clone();
        shared.snapshot.store(Arc::new(snapshot));
        let begun = Instant::now();
        let leave = async {
            sleep(Duration::from_secs(4)).await;
            gone.leave();
        };
        let drained = async {
            drain(&shared, false, &Successor::default(), pending()).await;
            begun.elapsed().as_secs()
        };
        assert_eq!(tokio::join!(drained, leave).0, 4);
    }

    /// A reload took the cache out, and a long exchange still has it: the next program could not deliver what waits in its
    /// journal before that ends.
    #[tokio::test(start_paused = true)]
    async fn caches_that_are_gone_let_go_of_their_folders() {
        let shared = draining(0);
        let path = std::env::temp_dir().join(format!("pointsman-stop-{}", std::process::id()));
        let store = shared.registry.cache(CacheKey::Named("gone".into()), None);
        let conf = Some(JournalConf { path: StorePath(path.clone()), size: Size(1 << 20) });
        store.back.place().apply(store.back.place().prepare(&conf).unwrap());
        drain(&shared, true, &Successor::default(), pending()).await;
        shared.registry.journals.finish();
        assert!(Journal::open(&Options::new(&path, 1 << 20)).is_ok());
        std::fs::remove_dir_all(path).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_is_kept_with_nothing_open_too() {
        let shared = draining(0);
        let begun = Instant::now();
        drain(&shared, false, &Successor::default(), pending()).await;
        assert_eq!(begun.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn to_be_asked_again_stops_at_once() {
        let shared = draining(1);
        let begun = Instant::now();
        drain(&shared, false, &Successor::default(), sleep(Duration::from_secs(1))).await;
        assert_eq!((shared.drain.stage(), begun.elapsed().as_secs()), (Stage::Closing, 1));
    }
}
