//! Having clients come to another node, so that none of them is cut off when the virtual addresses leave this one.
//!
//! Previous stop: whoever has this node give its role up. A connection whose address is gone cannot be answered any more, so
//! none should be there at that moment. First each response closes its connection (a GOAWAY over HTTP/2), while new ones are
//! accepted as ever; then their first packet (SYN) is not answered any more, which their clients repeat after a second, and
//! meet the next node. Nobody is refused.

use std::{io, os::fd::AsFd, time::Duration};

use socket2::{SockFilter, SockRef};
use tokio::sync::oneshot::{Receiver, channel};

use super::mailbox::{Mailboxes, Message, Yielding};

/// How long connections are ended while others are accepted: those that are used with their next response, idle ones towards
/// the end of it.
pub(super) const SOON: Duration = Duration::from_millis(400);
/// How long what is under way then may take to end; a tunnel does not. With what the next primary waits (in a pair, at
/// 100-ms advertisements and priority 100, 15 ms) nobody is answered for 70 ms at most. It is counted in turns of the
/// workers, since on a machine that gives them no processor for so long nothing can end.
const LAST: Duration = Duration::from_millis(55);
/// How long it may take by the clock: less than a client takes to repeat its SYN.
const MOST: Duration = Duration::from_millis(700);
/// How much of it a connection that has begun may take to be there: its SYN was answered, its ACK is on its way.
const BEGUN: Duration = Duration::from_millis(10);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(1);

/// Has clients come to another node: returns when nearly nobody is connected, and after a bounded time.
pub async fn prepare(mailboxes: &Mailboxes) {
    // A busy worker hears of it late, and its connections need the whole of that time.
    let _ = tokio::time::timeout(MOST, ask(mailboxes, Yielding::Soon)).await;
    tokio::time::sleep(SOON).await;
    let nobody_left = async {
        // Which is only so once each worker has done it, however busy the machine is.
        ask(mailboxes, Yielding::Now).await;
        tokio::time::sleep(BEGUN).await;
        // Until they are accepted they are in no count.
        ask(mailboxes, Yielding::Now).await;
        let mut left = LAST - BEGUN;
        while left > Duration::ZERO && (0..mailboxes.workers()).any(|worker| mailboxes.open(worker) > 0) {
            tokio::time::sleep(LOOK).await;
            ask(mailboxes, Yielding::Now).await;
            left = left.saturating_sub(LOOK);
        }
    };
    // Who is left is in a tunnel, or slower than others wait for.
    let _ = tokio::time::timeout(MOST, nobody_left).await;
}

/// Serves as ever again.
pub fn end(mailboxes: &Mailboxes) {
    drop(tell(mailboxes, Yielding::No));
}

fn tell(mailboxes: &Mailboxes, yielding: Yielding) -> Vec<Receiver<()>> {
    let one = |worker| {
        let (done, is_done) = channel();
        // One that has ended has no clients.
        let _ = mailboxes.send(worker, Message::Yield(yielding, done));
        is_done
    };
    (0..mailboxes.workers()).map(one).collect()
}

/// Tells the workers, and waits until all have done it.
async fn ask(mailboxes: &Mailboxes, yielding: Yielding) {
    for is_done in tell(mailboxes, yielding) {
        // An error is that of one that has ended.
        let _ = is_done.await;
    }
}

/// Has the kernel drop the first packets of new connections to this socket, or (false) none. It goes on for as long as
/// anybody has the socket: what another program may go on with is not to be left so.
pub(super) fn hold_back(socket: &impl AsFd, is_held: bool) {
    let socket = SockRef::from(socket);
    let changed = match is_held {
        true => socket.attach_filter(&NO_SYN),
        false => socket.detach_filter(),
    };
    match changed {
        // There was no filter to be taken off.
        Err(error) if !is_held && error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::debug!(is_held, "whether new connections are held back cannot be changed: {error}")
        }
        Ok(()) => {}
    }
}

/// A program of the classic packet filter: a packet whose flags are SYN without ACK (RFC 9293 §3.1: the fourteenth byte of the
/// header) is dropped; connections that have begun go on.
const NO_SYN: [SockFilter; 5] = [
    // Load the byte; and it with SYN | ACK; is that SYN? Then keep nothing, else everything.
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x54, 0, 0, 0x12),
    SockFilter::new(0x15, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        sync::atomic::Ordering::Relaxed,
    };

    use tokio::{
        sync::mpsc::unbounded_channel,
        time::{Instant, sleep},
    };

    use super::*;

    /// How long it takes with a worker that answers each message after `pause`.
    async fn prepared(pause: Duration, is_connected: bool) -> Duration {
        let (sender, mut mailbox) = unbounded_channel();
        let (mailboxes, begun) = (Mailboxes::new(vec![sender]), Instant::now());
        mailboxes.counts()[0].store(i64::from(is_connected), Relaxed);
        let worker = async {
            while let Some(Message::Yield(_, done)) = mailbox.recv().await {
                sleep(pause).await;
                let _ = done.send(());
            }
        };
        tokio::select! {
            () = prepare(&mailboxes) => begun.elapsed() - SOON,
            () = worker => panic!("the mailbox ended"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn workers_that_are_late_are_waited_for() {
        let thrice = prepared(Duration::from_millis(20), false).await;
        assert_eq!(thrice, 2 * Duration::from_millis(20) + BEGUN + Duration::from_millis(20));
        assert_eq!(prepared(Duration::ZERO, false).await, BEGUN);
        // What does not end is waited for as long as the workers had turns for it.
        assert_eq!(prepared(Duration::ZERO, true).await, LAST);
        let millisecond = Duration::from_millis(1);
        assert_eq!(prepared(millisecond, true).await, (LAST - BEGUN) * 2 + BEGUN + 3 * millisecond);
    }

    #[tokio::test(start_paused = true)]
    async fn worker_that_hangs_is_not_waited_for() {
        assert_eq!(prepared(Duration::from_secs(9), false).await, 2 * MOST);
    }

    #[test]
    fn new_connections_wait_while_held_back() {
        use std::io::{Read, Write};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut before = TcpStream::connect(address).unwrap();
        hold_back(&listener, true);
        let (mut served, mut byte) = (listener.accept().unwrap().0, [0]);
        before.write_all(b"x").unwrap();
        served.read_exact(&mut byte).unwrap();
        let short = Duration::from_millis(50);
        let refused = TcpStream::connect_timeout(&address, short).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut, "its packet is lost, and nobody refuses it");
        hold_back(&listener, false);
        assert!(TcpStream::connect_timeout(&address, short * 20).is_ok());
    }
}
