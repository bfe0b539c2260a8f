//! What the disk tier does: objects written and read per second, the scan at start, and memory per object.
//! `cargo bench --bench disk`, with a folder behind `--` to have it elsewhere than in the temporary folder. What was
//! written is read from the kernel's memory: this measures the store, not the disk. Prints, and judges nothing.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made may stop")]

use std::{env, fs, path::PathBuf, process, sync::Arc, time::Instant};

use bytes::Bytes;
use pointsman::{
    cache::disk::{Disk, Options},
    rng::{Rng, scramble},
};

const META: usize = 400;
const PIECE: usize = 16 << 10;
/// Readers at once.
const READERS: u64 = 32;
const SCANNED: u64 = 100_000;

fn main() {
    let parent = env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .map_or_else(env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("pointsman-bench-disk-{}", process::id()));
    println!(
        "{:<8} {:>8} {:>10} {:>8} {:>10} {:>8} {:>10} {:>8}",
        "body", "objects", "writes/s", "MB/s", "reads/s", "MB/s", "reads/s*", "MB/s"
    );
    for (length, objects) in [(1_000, 20_000), (100_000, 4_000), (10_000_000, 60)] {
        let disk = open(&folder);
        let total = (length * objects) as f64;
        let written = timed(|| write(&disk, objects, length as usize));
        let one = timed(|| read(&disk, objects, 1));
        let many = timed(|| read(&disk, objects, READERS));
        print!("{length:<8} {objects:>8}");
        for seconds in [written, one, many] {
            print!(" {:>10.0} {:>8.0}", objects as f64 / seconds, total / seconds / 1e6);
        }
        println!();
        drop(disk);
        fs::remove_dir_all(&folder).unwrap();
    }
    println!("* {READERS} at once");

    let disk = open(&folder);
    write(&disk, SCANNED, 1_000);
    println!(
        "{SCANNED} objects of 1000 bytes: {:.0} bytes of memory each",
        disk.stats().memory as f64 / SCANNED as f64
    );
    disk.close();
    let mut disk = None;
    let seconds = timed(|| {
        disk = Some(open(&folder));
    });
    let disk = disk.unwrap();
    assert_eq!(disk.stats().objects, SCANNED);
    println!("found again {:.0} ms after opening", seconds * 1e3);
    let seconds = timed(|| {
        disk.clear();
        until(|| disk.stats().bytes == 0);
    });
    println!("cleared, and all files deleted, in {:.0} ms", seconds * 1e3);
    drop(disk);
    fs::remove_dir_all(&folder).unwrap();
}

/// Opens the store as soon as the one before has let it go, and waits for the scan.
fn open(folder: &PathBuf) -> Arc<Disk> {
    let mut disk = None;
    until(|| {
        disk = Disk::open(&Options::new(folder, 4 << 30)).ok();
        disk.is_some()
    });
    let disk = disk.unwrap();
    until(|| !disk.stats().is_scanning);
    disk
}

fn timed(run: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    run();
    begun.elapsed().as_secs_f64()
}

fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
}

fn key(number: u64) -> u128 {
    u128::from(scramble(number)) << 64 | u128::from(scramble(!number))
}

fn write(disk: &Arc<Disk>, objects: u64, length: usize) {
    let mut chance = Rng::new(1);
    let body: Bytes = (0..length).map(|_| chance.next_number() as u8).collect();
    for number in 0..objects {
        until(|| disk.stats().waiting < 32 << 20);
        let mut writing = disk.begin(key(number), vec![1; META], Some(length as u64)).unwrap();
        for at in (0..length).step_by(PIECE) {
            until(|| disk.stats().waiting < 60 << 20);
            assert!(writing.push(body.slice(at..length.min(at + PIECE))));
        }
        writing.finish(&[]);
    }
    until(|| disk.stats().waiting == 0);
}

fn read(disk: &Arc<Disk>, objects: u64, readers: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let reader = |first: u64| {
        let disk = disk.clone();
        async move {
            // By steps that are prime to the number of objects: not in the order of writing.
            for number in (first..objects).step_by(readers as usize) {
                let found = disk.find(key(number * 7_919 % objects));
                let id = found.first().unwrap().id;
                assert_eq!(disk.head(id).await.unwrap().len(), META);
                let mut reading = disk.read(id, 0, u64::MAX);
                let mut length = 0;
                while let Some(bytes) = std::future::poll_fn(|cx| reading.poll_next(cx)).await {
                    length += bytes.unwrap().len() as u64;
                }
                assert_eq!(length, found.first().unwrap().length);
            }
        }
    };
    runtime.block_on(async {
        let tasks: Vec<_> = (0..readers).map(|first| tokio::spawn(reader(first))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}
