//! The access log: written by workers into buffers of their own, and by a thread to where it goes.
//!
//! A worker never waits for the log. It hands over whole buffers; when the writer is behind and the
//! queue is full, the buffer is dropped and its lines are counted, as are those that cannot be written.

use std::{
    cell::RefCell,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

pub use super::sink::Sink;
use super::{
    repeated::Repeated,
    sink::Output,
    writer::{Queue, Room, Writer},
};
use crate::moment::Moment;

/// A worker hands its buffer over when it is this full.
const FULL: usize = 32 * 1024;
/// What may wait for the writer.
const ROOM: Room = Room { buffers: 256, bytes: 16 * 1024 * 1024 };
/// Time for what is left at the end of the program.
const LAST: Duration = Duration::from_secs(2);
/// Lines that could not be written, by whatever place.
static UNWRITTEN: AtomicU64 = AtomicU64::new(0);
static CANNOT_WRITE: Repeated = Repeated::new();

/// Lines that were handed over and could not be written.
pub fn unwritten() -> u64 {
    UNWRITTEN.load(Relaxed)
}

/// Where the log goes now, and where it went as long as something is left for there; write out what is left with
/// [`AccessLog::finish`].
#[derive(Debug)]
pub struct AccessLog {
    /// Of the writer that has what comes, which is the last of `places`.
    current: Arc<ArcSwap<Queue>>,
    places: Mutex<Vec<Opened>>,
}

impl AccessLog {
    /// Starts the writer. Fails when the file cannot be opened.
    pub fn start(sink: Sink) -> io::Result<Self> {
        let opened = Opened::new(sink)?;
        let current = Arc::new(ArcSwap::from_pointee(opened.writer.queue.clone()));
        Ok(Self { current, places: Mutex::new(vec![opened]) })
    }

    /// A worker's end of the log.
    pub fn for_worker(&self) -> WorkerLog {
        WorkerLog { to: self.current.clone(), buffer: RefCell::default() }
    }

    /// Opens the file anew before the next lines, after it was rotated.
    pub fn reopen(&self) {
        self.places().iter().for_each(|place| place.writer.reopen());
    }

    /// Writes what follows to another place. What came before goes on its way to where it was meant for, and is not
    /// waited for: nobody may read there.
    pub fn switch(&self, to: Opened) {
        let mut places = self.places();
        places.retain(|place| !place.writer.wait(Duration::ZERO));
        // A place that still has something to write is gone on with, so that there is one thread for each.
        let before = places.iter().position(|place| place.sink == to.sink && place.writer.revive());
        let to = match before {
            Some(index) => {
                let place = places.remove(index);
                // It may have been rotated meanwhile.
                place.writer.reopen();
                place
            }
            None => to,
        };
        self.current.store(Arc::new(to.writer.queue.clone()));
        // Not before: what workers hand over meanwhile is still for there.
        places.iter().for_each(|place| place.writer.retire());
        places.push(to);
    }

    /// Waits until everything handed over is written, for two seconds at most.
    pub fn finish(&self) {
        let (places, end) = (self.places(), Instant::now() + LAST);
        places.iter().for_each(|place| place.writer.retire());
        for place in places.iter() {
            place.writer.wait(end.saturating_duration_since(Instant::now()));
        }
    }

    fn places(&self) -> MutexGuard<'_, Vec<Opened>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for the log, open, with the thread that writes there.
#[derive(Debug)]
pub struct Opened {
    sink: Sink,
    writer: Writer,
}

impl Opened {
    /// Opens it. Fails when the file cannot be opened.
    pub fn new(sink: Sink) -> io::Result<Self> {
        let place = sink.clone();
        let lost = move |lines: usize, error: &io::Error| {
            UNWRITTEN.fetch_add(u64::try_from(lines).unwrap_or(u64::MAX), Relaxed);
            if let Some(times) = CANNOT_WRITE.count(Moment::now()) {
                tracing::error!(times, "the access log cannot be written to {place:?}: {error}");
            }
        };
        let writer = Writer::start("access-log", Output::open(sink.clone())?, ROOM, || false, lost)?;
        Ok(Self { sink, writer })
    }
}

/// A worker's buffer and its way to the writer.
#[derive(Debug)]
pub struct WorkerLog {
    to: Arc<ArcSwap<Queue>>,
    buffer: RefCell<Buffer>,
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
}

impl WorkerLog {
    /// Adds a line, which `write` must end. Gives how many lines were dropped because the writer is
    /// behind.
    pub fn line(&self, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let mut buffer = self.buffer.borrow_mut();
        write(&mut buffer.bytes);
        buffer.lines += 1;
        if buffer.bytes.len() < FULL { 0 } else { self.hand_over(&mut buffer) }
    }

    /// Hands over what there is; called now and then so that a quiet log is not late.
    pub fn flush(&self) -> u64 {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.bytes.is_empty() { 0 } else { self.hand_over(&mut buffer) }
    }

    fn hand_over(&self, buffer: &mut Buffer) -> u64 {
        let lines = std::mem::take(&mut buffer.lines);
        let room = buffer.bytes.capacity();
        let bytes = std::mem::replace(&mut buffer.bytes, Vec::with_capacity(room.min(FULL + 4096)));
        if self.give(&self.to.load(), bytes) { 0 } else { lines }
    }

    /// Gives whether this queue, which was the log's a moment ago, has taken it, or the log's by now.
    fn give(&self, queue: &Arc<Queue>, bytes: Vec<u8>) -> bool {
        let Err(bytes) = queue.give(bytes) else { return true };
        // The thread behind it may have ended since it was looked for: the log goes to another place by then.
        let now = self.to.load();
        !Arc::ptr_eq(queue, &now) && now.offer(bytes)
    }
}

/// Writes text as the inside of a JSON string (RFC 8259 §7); bytes that are not UTF-8 become U+FFFD. What a terminal would
/// obey is escaped, the controls of ECMA-48 §5.3 too (U+0080 to U+009F), and what some take for the end of a line.
pub fn write_json(text: &[u8], out: &mut Vec<u8>) {
    let plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
    if text.iter().all(plain) {
        out.extend_from_slice(text);
        return;
    }
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", character as u32).as_bytes())
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Writes text for the common and combined formats: quotes, backslashes and what is not printable
/// ASCII are escaped, so that no client can forge a line.
pub fn write_quoted(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x20..=0x7e => out.push(byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn lines_of_all_workers_are_written_before_finish_returns() {
        let path = std::env::temp_dir().join(format!("pointsman-log-{}", std::process::id()));
        let log = AccessLog::start(Sink::File(path.clone())).unwrap();
        let workers = [log.for_worker(), log.for_worker()];
        for number in 0..1000 {
            let dropped =
                workers[number % 2].line(|out| out.extend_from_slice(format!("{number}\n").as_bytes()));
            assert_eq!(dropped, 0);
        }
        workers.iter().for_each(|worker| assert_eq!(worker.flush(), 0));
        log.finish();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text.lines().count(), 1000);
    }

    #[test]
    fn a_slow_writer_costs_lines_and_never_a_wait() {
        let (reader, pipe) = std::io::pipe().unwrap();
        let room = Room { buffers: 1, bytes: 100 };
        let writer = Writer::start("test", Output::of_test(pipe), room, || false, |_, _| {}).unwrap();
        let to = Arc::new(ArcSwap::from_pointee(writer.queue.clone()));
        let worker = WorkerLog { to, buffer: RefCell::default() };
        // More than the pipe holds, so that the writer hangs in it.
        worker.line(|out| out.resize(1 << 20, b'a'));
        worker.line(|out| out.extend_from_slice(b"b\n"));
        worker.line(|out| out.extend_from_slice(b"c\n"));
        assert_eq!(worker.flush(), 2);
        drop(reader);
    }

    /// A worker finds the queue of a place, which ends before the worker offers something.
    #[test]
    fn lines_for_a_place_that_just_ended_reach_the_next() {
        let folder = std::env::temp_dir().join(format!("pointsman-just-ended-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str| Sink::File(folder.join(name));
        let log = AccessLog::start(file("a")).unwrap();
        let (worker, found) = (log.for_worker(), log.current.load_full());
        log.switch(Opened::new(file("b")).unwrap());
        let places = log.places();
        assert!(places[0].writer.wait(Duration::from_secs(60)));
        assert!(worker.give(&found, b"line\n".to_vec()));
        places[1].writer.retire();
        assert!(places[1].writer.wait(Duration::from_secs(60)));
        assert_eq!(std::fs::read_to_string(folder.join("b")).unwrap(), "line\n");
        assert!(!worker.give(&log.current.load_full(), b"late\n".to_vec()), "it is the log's own");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn lines_of_before_a_switch_reach_the_place_before() {
        let folder = std::env::temp_dir().join(format!("pointsman-switch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str| Sink::File(folder.join(name));
        let log = AccessLog::start(file("a")).unwrap();
        let worker = log.for_worker();
        for (next, text) in [("b", "1"), ("a", "2"), ("b", "3")] {
            worker.line(|out| out.extend_from_slice(text.as_bytes()));
            assert_eq!(worker.flush(), 0);
            log.switch(Opened::new(file(next)).unwrap());
        }
        log.finish();
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!((read("a"), read("b")), ("13".to_owned(), "2".to_owned()));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// What is handed over while a place ends is written there, or counted as dropped.
    #[test]
    fn every_line_about_a_switch_is_written_or_counted() {
        let folder = std::env::temp_dir().join(format!("pointsman-switches-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = ["a", "b"].map(|name| folder.join(name));
        let opened = |turn: usize| Opened::new(Sink::File(files[turn % 2].clone())).unwrap();
        // The second is there also where the workers are done before the first switch.
        files.iter().for_each(|file| std::fs::write(file, "").unwrap());
        let log = AccessLog::start(Sink::File(files[0].clone())).unwrap();
        let write = || -> u64 {
            let worker = log.for_worker();
            let one = |_| {
                let dropped = worker.line(|out| out.extend_from_slice(b"line\n")) + worker.flush();
                // Else the writers never catch up, and none ends.
                thread::yield_now();
                dropped
            };
            (0..5000).map(one).sum()
        };
        let dropped: u64 = thread::scope(|scope| {
            let workers = [scope.spawn(write), scope.spawn(write)];
            let turns = (1..).take_while(|_| !workers.iter().all(|worker| worker.is_finished()));
            turns.for_each(|turn| log.switch(opened(turn)));
            workers.map(|worker| worker.join().unwrap()).iter().sum()
        });
        for place in log.places().iter() {
            place.writer.retire();
            assert!(place.writer.wait(Duration::from_secs(60)));
        }
        let written = files.iter().map(|file| std::fs::read_to_string(file).unwrap().lines().count() as u64);
        assert_eq!(written.sum::<u64>() + dropped, 10_000, "{dropped} dropped");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn no_client_can_forge_a_line() {
        let mut out = Vec::new();
        write_json(b"a\"\\\n\x00\xffb", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a\\\"\\\\\\u000a\\u0000\u{fffd}b");
        // CSI in one character, with which a line that is read in a terminal would erase others.
        let mut out = Vec::new();
        write_json("a\u{9b}2Jb\u{80}\u{9f}\u{2028}\u{2029}\u{a0}ü".as_bytes(), &mut out);
        let expected = "a\\u009b2Jb\\u0080\\u009f\\u2028\\u2029\u{a0}ü";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        write_quoted(b"a\"\n\xff", &mut out);
        assert_eq!(out, b"a\\\"\\x0a\\xff");
    }
}
