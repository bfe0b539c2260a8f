//! A file that is read ahead by few blocks, between the threads that read and who sends it.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::threads::Threads;
use crate::net::Buffer;

/// So many blocks wait at most for who sends them.
const AHEAD: usize = 2;

/// The bytes of a file, from some place to another.
#[derive(Debug)]
pub struct Reading {
    threads: Threads,
    stream: Arc<Stream>,
}

#[derive(Debug)]
struct Stream {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<Buffer>,
    /// What is not read yet.
    from: u64,
    to: u64,
    failed: Option<io::Error>,
    /// A job for it waits or runs.
    is_scheduled: bool,
    is_dropped: bool,
    waker: Option<Waker>,
}

impl Reading {
    pub(super) fn new(threads: Threads, file: File, from: u64, to: u64) -> Self {
        let state = State {
            ready: VecDeque::new(),
            from: from.min(to),
            to,
            failed: None,
            is_scheduled: false,
            is_dropped: false,
            waker: None,
        };
        Self { threads, stream: Arc::new(Stream { file, state: Mutex::new(state) }) }
    }

    /// The next bytes, in order; nothing behind the last.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has become shorter.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Buffer>>> {
        let mut state = self.stream.lock();
        let next = match state.ready.pop_front() {
            Some(block) => Poll::Ready(Ok(Some(block))),
            None => match state.failed.take() {
                Some(error) => return Poll::Ready(Err(error)),
                None if state.from >= state.to => return Poll::Ready(Ok(None)),
                None => {
                    state.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            },
        };
        if !state.is_scheduled && state.from < state.to && state.ready.len() < AHEAD {
            state.is_scheduled = true;
            drop(state);
            let stream = self.stream.clone();
            if !self.threads.run(move || stream.read()) {
                self.stream.fail(io::Error::other("too many files are read"));
            }
        }
        next
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        state.is_dropped = true;
        state.ready.clear();
    }
}

impl Stream {
    /// Reads ahead, as far as there is room for.
    fn read(&self) {
        loop {
            let (from, to) = {
                let mut state = self.lock();
                if state.is_dropped || state.from >= state.to || state.ready.len() >= AHEAD {
                    state.is_scheduled = false;
                    return;
                }
                (state.from, state.to)
            };
            match self.block(from, to) {
                Ok(block) => {
                    let mut state = self.lock();
                    state.from += block.len() as u64;
                    if !state.is_dropped {
                        state.ready.push_back(block);
                    }
                    let waker = state.waker.take();
                    drop(state);
                    waker.into_iter().for_each(Waker::wake);
                }
                Err(error) => return self.fail(error),
            }
        }
    }

    fn block(&self, from: u64, to: u64) -> io::Result<Buffer> {
        let mut block = Buffer::take();
        let room = block.room();
        let length = usize::try_from(to - from).unwrap_or(usize::MAX).min(room.len());
        let room = room.get_mut(..length).unwrap_or_default();
        let read = loop {
            match self.file.read_at(room, from) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if read == 0 {
            let what = "the file became shorter while it was sent";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        block.filled(read);
        // A small file holds no large block.
        block.shrink();
        Ok(block)
    }

    fn fail(&self, error: io::Error) {
        let mut state = self.lock();
        (state.from, state.failed, state.is_scheduled) = (state.to, Some(error), false);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, future::poll_fn, io::Write};

    use super::*;
    use crate::net::buffer::SIZE;

    fn file(name: &str, bytes: &[u8]) -> File {
        let path = env::temp_dir().join(format!("pointsman-reading-{name}-{}", std::process::id()));
        let mut file =
            File::options().create(true).truncate(true).write(true).read(true).open(&path).unwrap();
        file.write_all(bytes).unwrap();
        fs::remove_file(path).unwrap();
        file
    }

    async fn rest(reading: &mut Reading) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(block) = poll_fn(|cx| reading.poll_next(cx)).await? {
            all.extend_from_slice(&block);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn a_part_of_a_file_comes_whole_and_in_order() {
        let bytes: Vec<u8> = (0..5 * SIZE + 7).map(|at| (at % 251) as u8).collect();
        let file = file("part", &bytes);
        for (from, to) in [(0, bytes.len()), (3, SIZE), (SIZE - 1, 3 * SIZE + 5), (9, 9), (9, 10)] {
            let part = file.try_clone().unwrap();
            let mut reading = Reading::new(Threads::default(), part, from as u64, to as u64);
            assert_eq!(rest(&mut reading).await.unwrap(), bytes[from..to], "{from} {to}");
        }
    }

    #[tokio::test]
    async fn a_file_that_shrinks_breaks_off() {
        let file = file("shrinks", &vec![b'a'; 8 * SIZE]);
        let mut reading = Reading::new(Threads::default(), file.try_clone().unwrap(), 0, 8 * SIZE as u64);
        let first = poll_fn(|cx| reading.poll_next(cx)).await.unwrap().unwrap();
        assert_eq!(first.len(), SIZE);
        file.set_len(SIZE as u64).unwrap();
        assert_eq!(rest(&mut reading).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn who_takes_nothing_holds_few_blocks() {
        let file = file("few", &vec![b'a'; 32 * SIZE]);
        let mut reading = Reading::new(Threads::default(), file, 0, 32 * SIZE as u64);
        poll_fn(|cx| reading.poll_next(cx)).await.unwrap();
        while reading.stream.lock().is_scheduled {
            tokio::task::yield_now().await;
        }
        assert!(reading.stream.lock().ready.len() <= AHEAD);
    }
}
