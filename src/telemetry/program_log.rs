//! The program's own log, on standard error. Its level can be changed while it runs.
//!
//! Lines go through a `Writer`: who logs never waits for who reads. What finds no room is dropped and counted, and a
//! line says how many were once there is room again.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal, Write},
    panic::PanicHookInfo,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use super::{
    sink::{Output, Sink},
    writer::{Queue, Room, Writer},
};

static LOG: OnceLock<Log> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);
/// Of the dropped lines those that no line has told of.
static UNTOLD: AtomicU64 = AtomicU64::new(0);

/// What may wait to be written.
const ROOM: Room = Room { buffers: 1024, bytes: 1024 * 1024 };
/// Time for what is left at the end of the program.
const LAST: Duration = Duration::from_secs(1);

struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    writer: Writer,
}

/// Begins the log, which also has panics from here on. With standard error closed, lines are lost and nothing else is.
/// `is_json` says how lines are written; when it is not said, as text on a terminal. Fails when there can be no thread
/// that writes it.
pub fn begin(level: LevelFilter, is_json: Option<bool>) -> io::Result<()> {
    let is_terminal = io::stderr().is_terminal();
    // Counted, and no more: there is nowhere left to say it. Each buffer is one line, however many a panic's has.
    let lost = |_, _: &io::Error| {
        DROPPED.fetch_add(1, Relaxed);
    };
    let writer = Writer::start("log", Output::open(Sink::Stderr)?, ROOM, tell_of_dropped, lost)?;
    let (filter, handle) = reload::Layer::new(level);
    let queue = writer.queue.clone();
    let lines = fmt::layer()
        .with_writer(move || Line(queue.clone()))
        .with_ansi(is_terminal)
        .log_internal_errors(false);
    let lines: Box<dyn Layer<_> + Send + Sync> = match is_json.unwrap_or(!is_terminal) {
        true => lines.json().flatten_event(true).boxed(),
        false => lines.with_target(false).boxed(),
    };
    // Only a second beginning can fail, and the first one holds.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = LOG.set(Log { level: handle, writer });
        // The one that is there by default writes to standard error itself, and waits for who reads.
        std::panic::set_hook(Box::new(report_panic));
    }
    Ok(())
}

/// Changes the level from here on.
pub fn set_level(level: LevelFilter) {
    if let Some(log) = LOG.get() {
        // It fails only when the log is gone, with the program.
        let _ = log.level.modify(|filter| *filter = level);
    }
}

/// The level that holds; `None` before the log began.
pub fn level() -> Option<LevelFilter> {
    LOG.get()?.level.with_current(|filter| *filter).ok()
}

/// Lines that were dropped because there was no room for them, or that could not be written.
pub fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// The log to its end: when this is dropped, what is left is written, as far as somebody takes it within a second.
#[derive(Debug)]
pub struct LastLines;

impl Drop for LastLines {
    fn drop(&mut self) {
        if let Some(log) = LOG.get() {
            log.writer.retire();
            log.writer.wait(LAST);
        }
    }
}

/// Writes a text to standard error, past the log, before the program ends: as far as somebody takes it within a second.
pub fn write_at_the_end(text: String) {
    let (written, is_written) = mpsc::channel::<()>();
    let writing = std::thread::Builder::new().name("last-words".to_owned()).spawn(move || {
        // With standard error closed nobody reads it.
        let _ = writeln!(io::stderr(), "{text}");
        drop(written);
    });
    if writing.is_ok() {
        // It is closed when the text is written.
        let _ = is_written.recv_timeout(LAST);
    }
}

/// What an event is written to: each comes as a whole, of one line or, as text, of several.
struct Line(Queue);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.0.offer(indented(line)) {
            DROPPED.fetch_add(1, Relaxed);
            UNTOLD.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an event says with its second line and those after it moved in, and without carriage returns: so that nobody whose
/// words are in it (a store's, a resolver's) can have it look like two events. JSON has neither.
fn indented(event: &[u8]) -> Vec<u8> {
    let end = event.len() - usize::from(event.ends_with(b"\n"));
    let (said, end) = event.split_at(end);
    if memchr::memchr2(b'\n', b'\r', said).is_none() {
        return event.to_vec();
    }
    let mut text = Vec::with_capacity(event.len() + 64);
    for &byte in said {
        match byte {
            b'\n' => text.extend_from_slice(b"\n    "),
            b'\r' => text.extend_from_slice(b"\\r"),
            other => text.push(other),
        }
    }
    text.extend_from_slice(end);
    text
}

fn tell_of_dropped() -> bool {
    let lines = UNTOLD.swap(0, Relaxed);
    if lines > 0 {
        tracing::warn!(lines, "lines of this log were dropped: they came faster than they were read");
    }
    lines > 0
}

fn report_panic(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string);
    let message = panic.payload_as_str().unwrap_or("without a message");
    let thread = std::thread::current();
    let thread = thread.name();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(thread, at, backtrace, "panicked (a bug): {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_event_looks_like_two() {
        assert_eq!(indented(b"2026 INFO all is well\n"), b"2026 INFO all is well\n");
        assert_eq!(
            indented(b"2026 WARN it said: bad\r\n2026 INFO forged\n"),
            b"2026 WARN it said: bad\\r\n    2026 INFO forged\n"
        );
        assert_eq!(indented(b""), b"");
        assert_eq!(indented(b"\n\n"), b"\n    \n");
    }
}
