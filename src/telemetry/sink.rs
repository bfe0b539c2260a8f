//! Where lines go: standard output, standard error, or a file that is reopened when it was rotated.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
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
    /// Whether it ends in the middle of a line.
    is_torn: bool,
}

/// What could not be written whole.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// How many bytes were.
    pub(super) written: usize,
    pub(super) error: io::Error,
}

impl Output {
    /// Opens a sink. Fails when the file cannot be opened, and never waits for somebody to read it.
    pub(super) fn open(sink: Sink) -> io::Result<Self> {
        let to: Box<dyn Write + Send> = match &sink {
            Sink::Off => Box::new(io::sink()),
            // Past the buffer of the standard library, which keeps some of what it could not write, and gives no account of it.
            Sink::Stdout => Box::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            Sink::Stderr => Box::new(io::stderr()),
            Sink::File(path) => Box::new(append_to(path)?),
        };
        Ok(Self { sink, to, is_torn: false })
    }

    /// Opens the file anew, after it was rotated. When that fails the old one goes on.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(self.sink.clone())?;
        Ok(())
    }

    /// Writes lines, on a line of their own also where the one before could not be ended. Blocks.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        if self.is_torn {
            self.write_all(b"\n").map_err(|Unwritten { error, .. }| Unwritten { written: 0, error })?;
            self.is_torn = false;
        }
        let result = self.write_all(lines);
        if let Err(Unwritten { written, .. }) = &result {
            self.is_torn = lines.get(..*written).and_then(<[u8]>::last).is_some_and(|last| *last != b'\n');
        }
        result
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Unwritten> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            let error = match self.to.write(rest) {
                Ok(0) => io::Error::from(io::ErrorKind::WriteZero),
                Ok(count) => {
                    written += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            return Err(Unwritten { written, error });
        }
        self.to.flush().map_err(|error| Unwritten { written, error })
    }

    /// One that a test watches.
    #[cfg(test)]
    pub(super) fn of_test(to: impl Write + Send + 'static) -> Self {
        Self { sink: Sink::Off, to: Box::new(to), is_torn: false }
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
