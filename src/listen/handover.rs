//! The wire between this program and the one that takes its place: sockets, and what must not be forgotten.
//!
//! A pair of unix sockets. The one that goes writes one message: its length, JSON, then the descriptors
//! (`SCM_RIGHTS`), some at a time. The one that comes answers with lines. It is the same sockets that go
//! over, so that no connection in their queues is lost.

use std::{
    env,
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::{
    io::retry_on_intr,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
};
use serde_json::{Value, json};

use super::{
    admin_sockets::Each,
    bind::{Bound, Owner},
    listener_sockets::Handed,
};

/// Descriptors in one message: the kernel takes 253 (`SCM_MAX_FD`).
const AT_ONCE: usize = 128;

/// Bytes of a message, so that a broken peer cannot fill memory.
const MOST: u32 = 256 * 1024 * 1024;

/// Writes a message, and these descriptors behind it. Blocks.
pub fn send(mut stream: &UnixStream, message: &Value, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = message.to_string();
    let length = u32::try_from(text.len()).ok().filter(|length| *length <= MOST);
    let length = length.ok_or_else(|| io::Error::other("there is too much to hand over"))?;
    let count = u32::try_from(sockets.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&count.to_be_bytes())?;
    stream.write_all(text.as_bytes())?;
    for some in sockets.chunks(AT_ONCE) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(some)) {
            return Err(io::Error::other("descriptors do not fit into a message"));
        }
        // At least one byte goes with them. With a limit in time the kernel does not go on by itself after a signal.
        retry_on_intr(|| sendmsg(stream, &[IoSlice::new(b".")], &mut ancillary, SendFlags::NOSIGNAL))?;
    }
    Ok(())
}

/// Reads what [`send`] wrote. Blocks.
pub fn receive(mut stream: &UnixStream) -> io::Result<(Value, Vec<OwnedFd>)> {
    let (mut length, mut count) = ([0; 4], [0; 4]);
    stream.read_exact(&mut length)?;
    stream.read_exact(&mut count)?;
    let (length, count) = (u32::from_be_bytes(length), u32::from_be_bytes(count) as usize);
    if length > MOST {
        return Err(io::Error::other("the message is too long"));
    }
    let mut text = vec![0; length as usize];
    stream.read_exact(&mut text)?;
    let message = serde_json::from_slice(&text)?;
    let mut sockets = Vec::new();
    while sockets.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let received = retry_on_intr(|| recvmsg(stream, &mut bytes, &mut ancillary, flags))?;
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = sockets.len();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                sockets.extend(some);
            }
        }
        if sockets.len() == before {
            return Err(io::Error::other("descriptors are missing: is the limit on open files too low?"));
        }
    }
    Ok((message, sockets))
}

/// What is at a key; nothing (`null`) where there is none.
pub fn at<'v>(value: &'v Value, key: &str) -> &'v Value {
    value.get(key).unwrap_or(&Value::Null)
}

/// The variable by which a program learns that it is to take over: the descriptor to do so by.
pub const HANDOVER: &str = "POINTSMAN_HANDOVER";

/// The program before this one, which goes on until this one serves.
#[derive(Debug)]
pub struct Predecessor {
    /// To answer it with.
    pub voice: ReadyPipe,
    /// Its process, for people.
    pub pid: Option<u64>,
    /// Its sockets.
    pub sockets: Vec<Handed>,
    /// The sockets of its admin endpoint.
    pub admin: Each<Option<Handed>>,
    /// What it knew.
    pub state: Value,
    /// Whether it hands sessions of datagrams over before it lets go: until then it reads them.
    pub hands_sessions: bool,
    /// Whether it says last what the cluster's node is: in `state` is what that was when the upgrade began.
    pub hands_cluster: bool,
}

impl Predecessor {
    /// Takes over from the program before, where there is one. Blocks. To be called once, at the start.
    pub fn take() -> io::Result<Option<Self>> {
        if env::var_os(HANDOVER).is_none_or(|descriptor| descriptor != "0") {
            return Ok(None);
        }
        // Standard input is the connection, and nobody else's.
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let nothing = File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (message, sockets) = receive(&stream)?;
        if at(&message, "version") != 1 {
            return Err(io::Error::other(
                "the previous program uses a handover format that this one does not know",
            ));
        }
        let mut sockets = sockets.into_iter();
        let mut handed = |entry: &Value| -> Option<Handed> {
            let count = usize::try_from(at(entry, "count").as_u64()?).ok()?;
            let bound = Bound {
                sockets: sockets.by_ref().take(count).collect(),
                address: at(entry, "bound").as_str()?.to_owned(),
                owner: if at(entry, "lent") == true { Owner::Manager } else { Owner::Before },
            };
            Some(Handed::new(at(entry, "address").as_str()?, bound))
        };
        let listeners =
            at(&message, "sockets").as_array().into_iter().flatten().filter_map(&mut handed).collect();
        // In the order in which they were given.
        let admin =
            Each { whole: handed(at(&message, "admin")), metrics: handed(at(&message, "admin_metrics")) };
        Ok(Some(Self {
            voice: ReadyPipe(stream),
            pid: at(&message, "pid").as_u64(),
            sockets: listeners,
            admin,
            state: at(&message, "state").clone(),
            hands_sessions: at(&message, "hands_sessions") == true,
            hands_cluster: at(&message, "hands_cluster") == true,
        }))
    }

    /// A pipe to answer the predecessor with, from elsewhere.
    pub fn voice(&self) -> Option<ReadyPipe> {
        self.voice.0.try_clone().ok().map(ReadyPipe)
    }
}

/// What is sent to the program before this one.
#[derive(Debug)]
pub struct ReadyPipe(UnixStream);

impl ReadyPipe {
    /// Says that this program serves, that it answers [`ASK_WORKERS`] and [`TAKE_SESSIONS`], takes [`take_cluster`], and
    /// delivers from the journals that it was told of.
    pub fn ready(&self) {
        let line =
            b"{\"ready\":true,\"answers\":true,\"sessions\":true,\"cluster\":true,\"journals\":true}\n";
        if let Err(error) = (&self.0).write_all(line) {
            tracing::warn!("the previous program has already ended: {error}");
        }
    }

    /// Says why this program does not serve.
    pub fn refuse(&self, why: &str) {
        let end = why.floor_char_boundary(LONGEST_REASON);
        let why = match why.get(..end) {
            Some(begin) if end < why.len() => format!("{begin} … (the rest is in its own lines of the log)"),
            Some(_) | None => why.to_owned(),
        };
        let line = json!({"error": why});
        // Without this it learns it from the end of the connection.
        let _ = (&self.0).write_all(format!("{line}\n").as_bytes());
    }
}

/// Bytes of an answer to the program before, so that a broken one cannot fill its memory: the longest says why it does not
/// serve.
pub const LONGEST_ANSWER: usize = 64 * 1024;
/// Bytes of a reason, each of which may be six of an answer (`\u001b`). One that is too long would be refused as a whole.
const LONGEST_REASON: usize = LONGEST_ANSWER / 8;

/// What the program before asks once this one serves: whether its workers do, too. The answer is `{"workers":true}`.
pub const ASK_WORKERS: &[u8] = b"{\"ask\":\"workers\"}\n";

/// What the program before says when it hands its sessions of datagrams over. The answer is `{"takes":true}`; then it writes
/// messages, each answered with a line, the last with how many of the sessions go on: `{"sessions":7}`.
pub const TAKE_SESSIONS: &[u8] = b"{\"take\":\"sessions\"}\n";

/// What the program before says last, once it has left its cluster: what its node was, which another goes on as. Nothing
/// answers it.
pub fn take_cluster(state: &Value) -> String {
    format!("{}\n", json!({"take": "cluster", "cluster": state}))
}

/// What [`take_cluster`] said in this line; none where it is another.
pub fn taken_cluster(line: &[u8]) -> Option<Value> {
    let line: Value = serde_json::from_slice(line).ok()?;
    (at(&line, "take") == "cluster").then(|| at(&line, "cluster").clone())
}

impl From<ReadyPipe> for UnixStream {
    fn from(pipe: ReadyPipe) -> Self {
        pipe.0
    }
}

/// How long the program before may take to say what it has to.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::{fs, net::TcpListener, process, sync::mpsc::channel, thread};

    use rustix::{process::Pid, thread::gettid};
    use tokio::{
        runtime::Builder,
        signal::unix::{SignalKind, signal},
    };

    use super::*;

    #[test]
    fn many_sockets_arrive_in_their_order_and_are_the_same() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let listeners: Vec<TcpListener> =
            (0..300).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = |listeners: &[TcpListener]| -> Vec<u16> {
            listeners.iter().map(|it| it.local_addr().unwrap().port()).collect()
        };
        let expected = ports(&listeners);
        let sender = thread::spawn(move || {
            let sockets: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
            send(&ours, &serde_json::json!({"a": "x".repeat(100_000)}), &sockets).unwrap();
        });
        let (message, sockets) = receive(&theirs).unwrap();
        sender.join().unwrap();
        assert_eq!(message["a"].as_str().unwrap().len(), 100_000);
        let listeners: Vec<TcpListener> = sockets.into_iter().map(TcpListener::from).collect();
        assert_eq!(ports(&listeners), expected);
    }

    #[test]
    fn a_message_that_breaks_off_is_an_error() {
        for bytes in
            [&b""[..], &[0, 0, 0, 2, 0, 0, 0, 0, b'{'], &[0, 0, 0, 2, 0, 0, 0, 1, b'{', b'}'], &[255; 8]]
        {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(bytes).unwrap();
            drop(ours);
            assert!(receive(&theirs).is_err(), "{bytes:?}");
        }
        // A byte without its descriptor.
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[0, 0, 0, 2, 0, 0, 0, 1, b'{', b'}', b'.']).unwrap();
        assert!(receive(&theirs).is_err());
    }

    #[test]
    fn the_longest_reason_comes_through() {
        for character in ["\u{1b}", "ü", "\u{1f600}"] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ReadyPipe(theirs).refuse(&format!("port taken{}", character.repeat(LONGEST_ANSWER)));
            let answer = io::read_to_string(&ours).unwrap();
            assert!(answer.ends_with('\n') && answer.len() <= LONGEST_ANSWER, "{}", answer.len());
            let answer: Value = serde_json::from_str(&answer).unwrap();
            let error = answer["error"].as_str().unwrap();
            assert!(error.starts_with(&format!("port taken{character}")) && error.contains("the rest is in"));
        }
    }

    /// Has a thread handle a signal that is caught.
    #[expect(unsafe_code, reason = "`rustix` has no signals for a thread of a process")]
    fn interrupt(thread: Pid) {
        // SAFETY: it takes numbers, and a thread that has ended is an error.
        unsafe {
            libc::syscall(
                libc::SYS_tgkill,
                libc::c_long::from(process::id()),
                libc::c_long::from(thread.as_raw_nonzero().get()),
                libc::c_long::from(libc::SIGWINCH),
            );
        }
    }

    /// As of `killall -USR1` in the middle of an upgrade: a socket with a limit in time is not read on after a signal.
    #[test]
    fn a_signal_does_not_end_a_handover() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let _within = runtime.enter();
        // One that is ignored by default, so that it is caught here alone.
        let _caught = signal(SignalKind::window_change()).unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(600))).unwrap();
        let (told, number) = channel();
        let receiver = thread::spawn(move || {
            told.send(gettid()).unwrap();
            receive(&theirs).map(drop)
        });
        // All but the descriptor, so that it waits for that.
        ours.write_all(&[0, 0, 0, 2, 0, 0, 0, 1, b'{', b'}']).unwrap();
        let reads = number.recv().unwrap();
        let state = format!("/proc/self/task/{}/stat", reads.as_raw_nonzero());
        let mut count = 0;
        while count < 100 && !receiver.is_finished() {
            // Else it may be before the call.
            if fs::read_to_string(&state).is_ok_and(|state| state.contains(") S ")) {
                interrupt(reads);
                count += 1;
            }
            thread::yield_now();
        }
        drop(ours);
        assert_eq!(receiver.join().unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
