//! A thread that writes, so that no other waits for who reads: the end of a pipe may be read late or never.
//!
//! Whoever has something to write offers it to a bounded queue and goes on, also when there is no room. The
//! thread ends when it is asked to and nothing is left; who waits for that does so for a bounded time, and
//! leaves a thread behind that hangs in a write.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU8, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    time::Duration,
};

use super::sink::{Output, Unwritten};

/// How much may wait for the thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Buffers.
    pub(super) buffers: usize,
    /// Bytes in all of them. A buffer that has more alone is taken when nothing else waits.
    pub(super) bytes: usize,
}

/// A thread that writes, until it is retired or dropped.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) queue: Queue,
    /// Nothing is ever sent: it is closed when the thread is over.
    over: Mutex<Receiver<()>>,
}

/// The way to a writer; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    sender: SyncSender<Message>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    most: usize,
    /// Bytes that are offered, that wait, and that are being written.
    waiting: AtomicUsize,
    reopen: AtomicBool,
    /// [`OPEN`] or [`RETIRED`], and at last [`OVER`].
    life: AtomicU8,
}

const OPEN: u8 = 0;
/// It ends once nothing is left.
const RETIRED: u8 = 1;
/// Nothing is taken any more.
const OVER: u8 = 2;
/// How long one who is in the middle of an offer may be waited for at a time.
const OFFER: Duration = Duration::from_millis(1);

#[derive(Debug)]
enum Message {
    Lines(Vec<u8>),
    /// Something in [`State`] is another.
    Look,
}

impl Writer {
    /// Starts the thread. `caught_up` is called on it whenever nothing is left to write, and gives whether it
    /// offered something; `lost` when so many lines could not be written.
    pub(super) fn start(
        name: &str,
        output: Output,
        room: Room,
        caught_up: impl FnMut() -> bool + Send + 'static,
        lost: impl FnMut(usize, &io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(room.buffers);
        let state = State {
            most: room.bytes,
            waiting: AtomicUsize::new(0),
            reopen: AtomicBool::new(false),
            life: AtomicU8::new(OPEN),
        };
        let state = Arc::new(state);
        let (alive, over) = sync_channel(1);
        let theirs = state.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            write_all(&receiver, output, &theirs, caught_up, lost);
            // Nothing is taken any more when it is over.
            drop(receiver);
            drop(alive);
        })?;
        Ok(Self { queue: Queue { sender, state }, over: Mutex::new(over) })
    }

    /// Opens the file anew before the next write, after it was rotated.
    pub(super) fn reopen(&self) {
        self.queue.state.reopen.store(true, Relaxed);
        self.queue.look();
    }

    /// Has the thread end once everything is written.
    pub(super) fn retire(&self) {
        self.queue.state.become_if(OPEN, RETIRED);
        self.queue.look();
    }

    /// Takes a retirement back, where the thread is not over.
    pub(super) fn revive(&self) -> bool {
        self.queue.state.become_if(RETIRED, OPEN) == OPEN
    }

    /// Waits for the end of the thread, at most so long; gives whether it came.
    pub(super) fn wait(&self, most: Duration) -> bool {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        over.recv_timeout(most) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.retire();
    }
}

impl Queue {
    /// Has these bytes written, in the order in which they are offered; gives `false` where there is no room,
    /// and never waits.
    pub(super) fn offer(&self, bytes: Vec<u8>) -> bool {
        self.give(bytes).is_ok()
    }

    /// The same; the error is the bytes, where they are not taken.
    pub(super) fn give(&self, bytes: Vec<u8>) -> Result<(), Vec<u8>> {
        let (state, length) = (&self.state, bytes.len());
        // Before the look at its life. The thread that ends does the two the other way round, so that either this finds it
        // over, or it waits for what is offered here: nothing is taken and then lost.
        let before = state.waiting.fetch_add(length, SeqCst);
        let has_room = before == 0 || before.saturating_add(length) <= state.most;
        let is_open = state.life.load(SeqCst) != OVER;
        let given = match is_open && has_room {
            true => self.sender.try_send(Message::Lines(bytes)).map_err(lines_of),
            false => Err(bytes),
        };
        if given.is_err() {
            state.waiting.fetch_sub(length, Relaxed);
        }
        given
    }

    /// Wakes the thread. Where the queue is full it is awake.
    fn look(&self) {
        let _ = self.sender.try_send(Message::Look);
    }
}

impl State {
    /// Goes from one to the next, where it is there; gives where it is then.
    fn become_if(&self, from: u8, to: u8) -> u8 {
        match self.life.compare_exchange(from, to, SeqCst, SeqCst) {
            Ok(_) => to,
            Err(is) => is,
        }
    }

    /// Whether the thread is to end now that nothing is left.
    fn ends(&self) -> bool {
        self.become_if(RETIRED, OVER) == OVER
    }

    /// Does what a message says.
    fn obey(&self, message: Message, output: &mut Output, lost: &mut impl FnMut(usize, &io::Error)) {
        if self.reopen.swap(false, Relaxed)
            && let Err(error) = output.reopen()
        {
            tracing::error!("cannot reopen {:?}: {error}; the old file is kept", output.sink);
        }
        if let Message::Lines(bytes) = message {
            if let Err(Unwritten { written, error }) = output.write(&bytes) {
                lost(lines_in(bytes.get(written..).unwrap_or_default()), &error);
            }
            self.waiting.fetch_sub(bytes.len(), Relaxed);
        }
    }
}

/// What was not sent.
fn lines_of(error: TrySendError<Message>) -> Vec<u8> {
    let (TrySendError::Full(message) | TrySendError::Disconnected(message)) = error;
    match message {
        Message::Lines(bytes) => bytes,
        Message::Look => Vec::new(),
    }
}

fn lines_in(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

fn write_all(
    receiver: &Receiver<Message>,
    mut output: Output,
    state: &State,
    mut caught_up: impl FnMut() -> bool,
    mut lost: impl FnMut(usize, &io::Error),
) {
    loop {
        let message = match receiver.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Empty) if caught_up() => continue,
            Err(TryRecvError::Empty) if state.ends() => break,
            Err(TryRecvError::Empty) => match receiver.recv() {
                Ok(message) => message,
                Err(_) => return,
            },
            Err(TryRecvError::Disconnected) => return,
        };
        state.obey(message, &mut output, &mut lost);
    }
    // Whoever was in the middle of an offer finds that it is over, or has it written.
    while state.waiting.load(SeqCst) > 0 {
        if let Ok(message) = receiver.recv_timeout(OFFER) {
            state.obey(message, &mut output, &mut lost);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::mpsc::{Sender, channel},
    };

    use super::*;

    /// An output that gives what is written, and then waits to be let go.
    struct Held {
        written: Sender<Vec<u8>>,
        go: Receiver<()>,
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.written.send(bytes.to_vec());
            let _ = self.go.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn held(room: Room) -> (Writer, Receiver<Vec<u8>>, Sender<()>) {
        let ((written, lines), (let_go, go)) = (channel(), channel());
        let output = Output::of_test(Held { written, go });
        (Writer::start("test", output, room, || false, |_, _| {}).unwrap(), lines, let_go)
    }

    const ROOM: Room = Room { buffers: 3, bytes: 10 };
    const SOON: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(20);

    #[test]
    fn a_full_queue_takes_no_more_and_never_waits() {
        let (writer, lines, let_go) = held(ROOM);
        assert!(writer.queue.offer(b"one".to_vec()));
        assert_eq!(lines.recv_timeout(LATE).unwrap(), b"one");
        // The thread hangs; three buffers are its room.
        let offers = [b"two".to_vec(), b"3".to_vec(), b"4".to_vec(), b"5".to_vec()];
        assert_eq!(offers.map(|offer| writer.queue.offer(offer)), [true, true, true, false]);
        drop(let_go);
        writer.retire();
        assert!(writer.wait(LATE));
        assert_eq!(lines.iter().collect::<Vec<_>>(), [&b"two"[..], b"3", b"4"]);
        assert!(!writer.queue.offer(b"6".to_vec()), "nobody would write it");
    }

    /// An output that says when it is closed, and then waits to be let go.
    struct Closing {
        begun: Sender<()>,
        go: Receiver<()>,
    }

    impl Write for Closing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Drop for Closing {
        fn drop(&mut self) {
            let _ = self.begun.send(());
            let _ = self.go.recv();
        }
    }

    #[test]
    fn a_thread_that_ends_takes_nothing_that_it_would_lose() {
        let ((begun, is_closing), (let_go, go)) = (channel(), channel());
        let output = Output::of_test(Closing { begun, go });
        let writer = Writer::start("test", output, ROOM, || false, |_, _| {}).unwrap();
        writer.retire();
        is_closing.recv_timeout(LATE).unwrap();
        assert!(!writer.wait(Duration::ZERO) && !writer.revive());
        assert!(!writer.queue.offer(b"late".to_vec()), "nobody would write it");
        drop(let_go);
        assert!(writer.wait(LATE));
    }

    /// An output that takes so many bytes, then fails as often as that, and then takes what comes.
    struct Full {
        taken: Sender<Vec<u8>>,
        room: usize,
        failures: usize,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = match (self.room, self.failures) {
                (0, 0) => bytes.len(),
                (0, _) => {
                    self.failures -= 1;
                    return Err(io::ErrorKind::StorageFull.into());
                }
                (room, _) => room.min(bytes.len()),
            };
            self.room = self.room.saturating_sub(count);
            let _ = self.taken.send(bytes[..count].to_vec());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_tear_none() {
        let ((taken, is_taken), (lost, is_lost)) = (channel(), channel());
        let output = Output::of_test(Full { taken, room: 8, failures: 2 });
        let told = move |lines, error: &io::Error| lost.send((lines, error.kind())).unwrap();
        let writer = Writer::start("test", output, Room { buffers: 8, bytes: 100 }, || false, told).unwrap();
        // The second line is torn, nothing of the fourth is taken, and then there is room again.
        for lines in [&b"first\nsecond\nthird\n"[..], b"fourth\n", b"fifth\n"] {
            assert!(writer.queue.offer(lines.to_vec()));
        }
        writer.retire();
        assert!(writer.wait(LATE));
        let full = io::ErrorKind::StorageFull;
        assert_eq!(is_lost.iter().collect::<Vec<_>>(), [(2, full), (1, full)]);
        let written = is_taken.iter().collect::<Vec<_>>().concat();
        assert_eq!(String::from_utf8(written).unwrap(), "first\nse\nfifth\n");
    }

    #[test]
    fn bytes_that_wait_are_bounded_and_given_back() {
        let (writer, lines, let_go) = held(ROOM);
        assert!(writer.queue.offer(vec![b'a'; 50]), "more than the room, and alone");
        lines.recv_timeout(LATE).unwrap();
        assert!(!writer.queue.offer(b"b".to_vec()));
        let_go.send(()).unwrap();
        // Its bytes are given back a moment later than its end.
        let end = std::time::Instant::now() + LATE;
        while !writer.queue.offer(vec![b'c'; 10]) {
            assert!(std::time::Instant::now() < end);
        }
        assert!(!writer.queue.offer(b"d".to_vec()));
        drop(let_go);
    }

    #[test]
    fn a_writer_that_hangs_is_waited_for_in_vain() {
        let (writer, lines, let_go) = held(ROOM);
        writer.queue.offer(b"one".to_vec());
        lines.recv_timeout(LATE).unwrap();
        writer.retire();
        assert!(!writer.wait(SOON));
        assert!(writer.revive(), "it is not over");
        assert!(writer.queue.offer(b"two".to_vec()));
        writer.retire();
        drop(let_go);
        assert!(writer.wait(LATE));
        assert_eq!(lines.recv().unwrap(), b"two");
        assert!(!writer.revive());
    }
}
