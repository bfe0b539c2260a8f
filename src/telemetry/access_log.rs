//! The access log: written by workers into buffers of their own, and by one thread to where it goes.
//!
//! A worker never waits for the log. It hands over whole buffers; when the writer is behind and the
//! queue is full, the buffer is dropped and its lines are counted.

use std::{
    cell::RefCell,
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

/// A worker hands its buffer over when it is this full.
const FULL: usize = 32 * 1024;
/// Buffers that may wait for the writer.
const QUEUE: usize = 256;

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, which is appended to, and reopened when it was rotated.
    File(PathBuf),
}

enum Message {
    Lines(Vec<u8>),
    /// What follows goes elsewhere.
    Switch(Opened),
    /// Ends the thread, even while a worker still holds a sender.
    End,
}

/// The writer thread; write out what is left with [`AccessLog::finish`].
#[derive(Debug)]
pub struct AccessLog {
    sender: SyncSender<Message>,
    reopen: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl AccessLog {
    /// Starts the writer. Fails when the file cannot be opened.
    pub fn start(sink: Sink) -> io::Result<Self> {
        let opened = Opened::new(sink)?;
        let (sender, receiver) = sync_channel(QUEUE);
        let reopen = Arc::new(AtomicBool::new(false));
        let flag = reopen.clone();
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_all(&receiver, opened, &flag))?;
        Ok(Self { sender, reopen, thread: Mutex::new(Some(thread)) })
    }

    /// A worker's end of the log.
    pub fn for_worker(&self) -> WorkerLog {
        WorkerLog { sender: self.sender.clone(), buffer: RefCell::default() }
    }

    /// Opens the file anew before the next lines, after it was rotated.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Writes what follows to another place.
    pub fn switch(&self, to: Opened) {
        // Waits while the queue is full, which a writer that lives empties.
        let _ = self.sender.send(Message::Switch(to));
    }

    /// Waits until everything handed over is written.
    pub fn finish(&self) {
        // The queue is in order, so everything before this is written first.
        let _ = self.sender.send(Message::End);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// A place for the log, open.
pub struct Opened {
    sink: Sink,
    output: Box<dyn Write + Send>,
}

impl Opened {
    /// Opens it. Fails when the file cannot be opened.
    pub fn new(sink: Sink) -> io::Result<Self> {
        let output = open(&sink)?;
        Ok(Self { sink, output })
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Opened").field(&self.sink).finish()
    }
}

fn open(sink: &Sink) -> io::Result<Box<dyn Write + Send>> {
    Ok(match sink {
        Sink::Off => Box::new(io::sink()),
        Sink::Stdout => Box::new(io::stdout()),
        Sink::Stderr => Box::new(io::stderr()),
        Sink::File(path) => Box::<File>::new(OpenOptions::new().create(true).append(true).open(path)?),
    })
}

fn write_all(receiver: &Receiver<Message>, mut opened: Opened, reopen: &AtomicBool) {
    loop {
        let message = receiver.recv_timeout(Duration::from_secs(1));
        if reopen.swap(false, Ordering::Relaxed) {
            match open(&opened.sink) {
                Ok(reopened) => opened.output = reopened,
                Err(error) => {
                    tracing::error!("cannot reopen the access log: {error}; the old file is kept")
                }
            }
        }
        match message {
            // There is nowhere left to report it when the log itself cannot be written.
            Ok(Message::Lines(buffer)) => {
                drop(opened.output.write_all(&buffer).and_then(|()| opened.output.flush()));
            }
            Ok(Message::Switch(to)) => opened = to,
            Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// A worker's buffer and its way to the writer.
#[derive(Debug)]
pub struct WorkerLog {
    sender: SyncSender<Message>,
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
        match self.sender.try_send(Message::Lines(bytes)) {
            Ok(()) => 0,
            Err(_) => lines,
        }
    }
}

/// Writes text as the inside of a JSON string (RFC 8259 §7); bytes that are not UTF-8 become U+FFFD.
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
            '\0'..='\x1f' | '\x7f' => {
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
        let (sender, receiver) = sync_channel(1);
        let worker = WorkerLog { sender, buffer: RefCell::default() };
        worker.line(|out| out.extend_from_slice(b"a\n"));
        assert_eq!(worker.flush(), 0);
        worker.line(|out| out.extend_from_slice(b"b\n"));
        worker.line(|out| out.extend_from_slice(b"c\n"));
        assert_eq!(worker.flush(), 2);
        assert!(matches!(receiver.recv(), Ok(Message::Lines(lines)) if lines == b"a\n"));
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn no_client_can_forge_a_line() {
        let mut out = Vec::new();
        write_json(b"a\"\\\n\x00\xffb", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a\\\"\\\\\\u000a\\u0000\u{fffd}b");
        let mut out = Vec::new();
        write_quoted(b"a\"\n\xff", &mut out);
        assert_eq!(out, b"a\\\"\\x0a\\xff");
    }
}
