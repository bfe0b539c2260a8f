//! What a durable write costs: appends per second and per sync, by how many wait at once.
//!
//! ```text
//! cargo bench --bench journal [-- FOLDER]
//! ```

#![allow(clippy::unwrap_used, reason = "a measurement may stop where a test may")]

use std::{
    env, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use pointsman::{
    moment::Moment,
    writeback::journal::{Journal, Next, Options, Write},
};

fn main() {
    let given = env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let parent = given.map_or_else(env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("pointsman-journal-bench-{}", std::process::id()));
    println!("in {}, bodies of 1 KiB", parent.display());
    for waiting in [1, 8, 64, 512] {
        measure(&folder, waiting);
        fs::remove_dir_all(&folder).unwrap();
    }
}

/// So many appends at a time, each group delivered before the next, for a second and a half.
fn measure(folder: &std::path::Path, waiting: usize) {
    let journal = Journal::open(&Options::new(folder, 256 << 20)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = Bytes::from(vec![b'x'; 1024]);
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    while began.elapsed() < Duration::from_millis(1500) {
        let group = Instant::now();
        let appends: Vec<_> = (0..waiting)
            .map(|at| {
                let uri = format!("https://example.com/{at}").into_bytes();
                journal.append(Write { uri: uri.into(), body: body.clone(), ..Write::default() })
            })
            .collect();
        for append in appends {
            runtime.block_on(append).unwrap();
        }
        slowest = slowest.max(group.elapsed());
        while let Next::Deliver(delivery) = journal.poll(Moment::now()) {
            delivery.delivered();
        }
    }
    let (seconds, stats) = (began.elapsed().as_secs_f64(), journal.stats());
    println!(
        "{waiting:>4} at once: {:>8.0} appends/s, {:>6.0} syncs/s, {:>6.1} appends a sync, slowest {:.1} ms",
        stats.appended as f64 / seconds,
        stats.syncs as f64 / seconds,
        stats.appended as f64 / stats.syncs as f64,
        slowest.as_secs_f64() * 1e3,
    );
}
