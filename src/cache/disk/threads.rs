//! The threads of a store: those that do the jobs, and one that scans at the start and deletes old generations.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, RwLock, atomic::AtomicUsize},
};

use super::{
    folder::Folder,
    index::Index,
    layout,
    options::Options,
    queue::{Job, Queue},
    read, scan,
    shared::Shared,
    stats::Counts,
    store::Disk,
    update, write,
};

impl Disk {
    /// Opens or makes the folder, and starts the threads and the scan; until the scan has come by an object, it is
    /// not found. [`io::ErrorKind::WouldBlock`] while another process, or another store, has the folder.
    pub fn open(options: &Options) -> io::Result<Arc<Self>> {
        let (folder, mut generation) = Folder::open(&options.path)?;
        let marks = folder.marks(options.mark.as_deref())?;
        if !marks.is_empty() {
            generation = folder.begin_empty(generation)?;
            marks.iter().try_for_each(|mark| folder.remove_mark(mark))?;
            tracing::info!(path = %options.path.display(), "the disk cache is emptied: something was purged or written \
                to by a program that did not have its folder");
        }
        let shared = Arc::new(Shared {
            folder,
            index: Mutex::new(Index::new(options.eviction, options.limit, generation)),
            scanned: Condvar::new(),
            queue: Queue::default(),
            heads: Mutex::default(),
            put: Condvar::new(),
            moving: Mutex::default(),
            placing: RwLock::default(),
            deleting: Mutex::default(),
            places_taken: AtomicUsize::new(0),
            places: options.queue,
            block: layout::block_of(options.block),
            counts: Counts::default(),
        });
        // Should a thread not start, those before it end with this.
        let disk = Arc::new(Self { shared });
        start(&disk.shared, options.threads)?;
        Ok(disk)
    }
}

/// Starts the io threads, and the one that scans, and deletes old generations.
fn start(shared: &Arc<Shared>, threads: usize) -> io::Result<()> {
    let start = |name: String, run: fn(&Shared)| {
        let thread = Thread::new(shared);
        std::thread::Builder::new().name(name).spawn(move || run(&thread.0)).map(drop)
    };
    (0..threads.clamp(1, 64)).try_for_each(|number| start(format!("disk-{number}"), work))?;
    start("disk-scan".to_owned(), sweep)
}

/// A thread of the store; the last one to end gives the folder back, whoever still holds the store.
struct Thread(Arc<Shared>);

impl Thread {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.queue.begin_thread();
        Self(shared.clone())
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.0.queue.end_thread(|| self.0.folder.unlock());
    }
}

fn work(shared: &Shared) {
    let mut done = 0;
    while let Some(job) = shared.queue.next(done) {
        done += 1;
        // A thread outlives whatever one job meets.
        if catch_unwind(AssertUnwindSafe(|| run(shared, job))).is_err() {
            shared.complain("a job of the disk cache", &"it panicked");
        }
    }
}

fn run(shared: &Shared, job: Job) {
    match job {
        Job::Read(stream) => read::run(shared, &stream),
        Job::Head(id, reply) => {
            if !reply.is_closed() {
                let _ = reply.send(read::head(shared, id).ok());
            }
        }
        Job::Unlink(gone) => shared.unlink_now(&gone),
        Job::Settle => shared.settle(),
        Job::Write(stream) => write::run(shared, &stream),
        Job::Update(id) => update::run(shared, id),
    }
}

fn sweep(shared: &Shared) {
    if catch_unwind(AssertUnwindSafe(|| scan::scan(shared))).is_err() {
        shared.complain("the scan of the disk cache", &"it panicked");
    }
    shared.end_scan();
    while shared.queue.wait_to_sweep() {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            scan::delete_old_generations(shared, || shared.queue.is_closed());
        }));
    }
}
