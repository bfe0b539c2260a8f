//! Where lines go: standard output, standard error, or a file that is reopened when it was rotated.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Where lines go.
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

/// A sink, open. To write to it may block for ever: only a [`super::writer::Writer`]'s thread does.
pub(super) struct Output {
    pub(super) sink: Sink,
    to: Box<dyn Write + Send>,
}

impl Output {
    /// Opens a sink. Fails when the file cannot be opened, and never waits for somebody to read it.
    pub(super) fn open(sink: Sink) -> io::Result<Self> {
        let to: Box<dyn Write + Send> = match &sink {
            Sink::Off => Box::new(io::sink()),
            Sink::Stdout => Box::new(io::stdout()),
            Sink::Stderr => Box::new(io::stderr()),
            Sink::File(path) => Box::new(append_to(path)?),
        };
        Ok(Self { sink, to })
    }

    /// Opens the file anew, after it was rotated. When that fails the old one goes on.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(self.sink.clone())?;
        Ok(())
    }

    /// Writes everything. Blocks.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes).and_then(|()| self.to.flush())
    }

    /// One that a test watches.
    #[cfg(test)]
    pub(super) fn of_test(to: impl Write + Send + 'static) -> Self {
        Self { sink: Sink::Off, to: Box::new(to) }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Output").field(&self.sink).finish()
    }
}

/// A named pipe that nobody reads is an error (`ENXIO`); opened as a file is, it would wait for a reader.
fn append_to(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().create(true).append(true).custom_flags(flags).open(path)?;
    // What is written is written whole: the thread that writes may wait.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}
