//! Lines that the next program answers with: each by an end, however it drips, and of a length that has an end too.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read},
    os::unix::net::UnixStream,
    time::Instant,
};

use crate::listen::handover::LONGEST_ANSWER;

/// The lines that come over a connection.
#[derive(Debug)]
pub(super) struct Answers<'a>(BufReader<Until<'a>>);

impl<'a> Answers<'a> {
    /// Those that come from now on.
    pub(super) fn of(stream: &'a UnixStream) -> Self {
        // The end is given with each.
        Self(BufReader::new(Until { stream, end: Instant::now() }))
    }

    /// The next one; none where the connection ends before it. Blocks, until `end` at most.
    pub(super) fn next(&mut self, end: Instant) -> io::Result<Option<String>> {
        self.0.get_mut().end = end;
        let mut line = String::new();
        let mut some = self.0.by_ref().take(LONGEST_ANSWER as u64);
        let count = some.read_line(&mut line)?;
        if some.limit() == 0 && !line.ends_with('\n') {
            return Err(io::Error::new(ErrorKind::InvalidData, "its answer is too long"));
        }
        Ok((count > 0).then_some(line))
    }
}

/// A connection that is read from until an end: what the kernel limits by itself is the time between two bytes.
#[derive(Debug)]
struct Until<'a> {
    stream: &'a UnixStream,
    end: Instant,
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let late = || io::Error::new(ErrorKind::TimedOut, "it did not answer in time");
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut stream = self.stream;
        stream
            .read(buffer)
            .map_err(|error| if error.kind() == ErrorKind::WouldBlock { late() } else { error })
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, thread, time::Duration};

    use super::*;

    /// Far beyond whatever a machine takes for some bytes.
    const LATER: Duration = Duration::from_secs(120);

    #[test]
    fn lines_that_come_together_are_told_apart() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"{}\n[]\n7").unwrap();
        drop(theirs);
        let mut answers = Answers::of(&ours);
        let mut next = || answers.next(Instant::now() + LATER).unwrap();
        assert_eq!([next(), next()], [Some("{}\n".to_owned()), Some("[]\n".to_owned())]);
        assert_eq!([next(), next()], [Some("7".to_owned()), None]);
    }

    /// Each byte began the kernel's limit anew.
    #[test]
    fn a_drip_of_bytes_does_not_put_the_end_off() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let drips = thread::spawn(move || {
            while theirs.write_all(b".").is_ok() {
                // So slowly that the line does not become too long first.
                thread::sleep(Duration::from_millis(1));
            }
        });
        let end = Instant::now() + Duration::from_millis(50);
        let late = Answers::of(&ours).next(end).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        assert!(Instant::now() >= end);
        drop(ours);
        drips.join().unwrap();
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let writes = thread::spawn(move || while theirs.write_all(&[b'.'; 1024]).is_ok() {});
        let long = Answers::of(&ours).next(Instant::now() + LATER).unwrap_err();
        assert_eq!(long.kind(), ErrorKind::InvalidData);
        drop(ours);
        writes.join().unwrap();
    }
}
