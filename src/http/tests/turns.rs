//! Writes that come while the journal is not there: a program before this one has it still, or a reload is about to open it
//! or took it out.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stage::{Act, Stage, run};
use crate::cache::store::Cache;

const DONE: &[Act] = &[Act::Send(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")];
const PUT: &str = "PUT /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n";
const ROUTE: &str = "[[route]]\nname = \"all\"\nupstream = \"app\"\ncache = \"pages\"\n";

/// A cache that acknowledges writes, once its journal is open, and where that is.
fn stage(name: &str) -> (Stage, PathBuf) {
    let folder = std::env::temp_dir().join(format!("pointsman-turns-{name}-{}", std::process::id()));
    let cache = format!(
        "[[cache]]\nname = \"pages\"\nwrite_policy = \"back\"\nwrite_back = {{ networks = [\"0.0.0.0/0\"] }}\n\
         journal = {{ path = {folder:?} }}\n{ROUTE}"
    );
    (Stage::new("", &cache, DONE), folder)
}

fn cache(stage: &Stage) -> Arc<Cache> {
    stage.worker.shared.snapshot.load().caches[0].clone()
}

fn open(stage: &Stage) {
    let cache = cache(stage);
    cache.store.start(&cache.conf, false).unwrap();
}

/// What a client of this write gets, where after so long the journal is opened.
async fn written(stage: &Stage, fields: &str, opened: Duration) -> String {
    let request = format!("{PUT}{fields}\r\nnew");
    let open_later = async {
        tokio::time::sleep(opened).await;
        open(stage);
    };
    tokio::join!(stage.talk(request.as_bytes()), open_later).0
}

/// Else each upgrade, and each reload that adds a journal, refuses writes.
#[test]
fn writes_wait_for_the_journal() {
    for (fields, status, asked) in [("", "202", 0), ("If-Match: \"a\"\r\n", "201", 1)] {
        run(async || {
            let (stage, folder) = stage("late");
            let answer = written(&stage, fields, Duration::from_secs(4)).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            assert_eq!(stage.backend.requests.borrow().len(), asked);
            drop(stage);
            std::fs::remove_dir_all(folder).unwrap();
        });
        run(async || {
            let (stage, folder) = stage("too-late");
            let answer = written(&stage, fields, Duration::from_secs(6)).await;
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            assert_eq!(stage.backend.requests.borrow().len(), 0);
            drop(stage);
            std::fs::remove_dir_all(folder).unwrap();
        });
    }
}

/// What is let go of for the next program is not waited for: that is where the client is to go.
#[test]
fn no_write_waits_for_a_journal_given_away() {
    run(async || {
        let (stage, folder) = stage("given");
        open(&stage);
        cache(&stage).store.close();
        let begun = tokio::time::Instant::now();
        let answer = stage.talk(format!("{PUT}\r\nnew").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(stage.backend.requests.borrow().len(), 0);
        drop(stage);
        std::fs::remove_dir_all(folder).unwrap();
    });
}

/// A body that comes meanwhile is not lost on the client: the backend gets it. Where the next program has the journal, it
/// may hold what is older, which would be delivered over this one.
#[test]
fn write_whose_journal_goes_meanwhile_is_the_backends() {
    for (is_given_away, status, asked) in [(false, "201", 1), (true, "503", 0)] {
        run(async || {
            let (stage, folder) = stage("gone");
            open(&stage);
            let (mut client, mut connection) = stage.connect();
            tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
            client.write_all(format!("{PUT}\r\nn").as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let store = &cache(&stage).store;
            if is_given_away {
                store.close()
            } else {
                store.take_out()
            }
            client.write_all(b"ew").await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            assert_eq!(stage.backend.requests.borrow().len(), asked);
            drop(stage);
            std::fs::remove_dir_all(folder).unwrap();
        });
    }
}
