//! Whether the other end of a connection has broken off, told without reading what it sent before that.
//!
//! It is for who waits in a queue, whose bytes are read in their turn: as long as some are there, the event loop tells a
//! reader of nothing new.

use std::{
    os::fd::{AsFd, OwnedFd},
    task::{Context, Poll, ready},
};

use rustix::io::fcntl_dupfd_cloexec;
use tokio::io::{Interest, unix::AsyncFd};

use super::{Stream, descriptors};

/// Whether the other end of a connection has broken off.
#[derive(Debug, Default)]
pub struct Departure(Option<Box<AsyncFd<OwnedFd>>>);

impl Departure {
    /// Ready once the connection is reset, or closed both ways. The end of what the other side sends is none: it may wait
    /// for an answer. The stream is the same each time.
    pub fn poll(&mut self, cx: &mut Context<'_>, stream: &Stream) -> Poll<()> {
        if self.0.is_none() {
            // Most have sent nothing that was not read, and are told of whatever comes.
            let _something = ready!(stream.plain().poll_ready(cx, Interest::READABLE));
            self.0 = watch(stream).map(Box::new);
        }
        // Without a descriptor for it, who waits does so until its deadline.
        let Some(watched) = &self.0 else { return Poll::Pending };
        loop {
            let Ok(mut state) = ready!(watched.poll_write_ready(cx)) else { return Poll::Pending };
            if state.ready().is_write_closed() {
                return Poll::Ready(());
            }
            // That there is room to write says nothing. Whatever happens to the socket from here on is told anew.
            state.clear_ready();
        }
    }
}

/// The same socket by a descriptor of its own: what the event loop knows of the stream's stays as it is.
fn watch(stream: &Stream) -> Option<AsyncFd<OwnedFd>> {
    let descriptor = fcntl_dupfd_cloexec(stream.plain().as_fd(), 0).ok()?;
    if descriptors::is_reserved(&descriptor) {
        return None;
    }
    descriptors::register(descriptor).ok()
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use socket2::SockRef;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream, UnixStream},
        time::timeout,
    };

    use super::*;
    use crate::net::Plain;

    async fn pair() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Stream::Plain(Plain::Tcp(listener.accept().await.unwrap().0)))
    }

    /// Waits for the departure for so long: whether it came.
    async fn is_gone(departure: &mut Departure, stream: &Stream, within: Duration) -> bool {
        timeout(within, poll_fn(|cx| departure.poll(cx, stream))).await.is_ok()
    }

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn who_sent_something_and_is_reset_is_gone() {
        for ends_first in [false, true] {
            let (mut client, mut stream) = pair().await;
            let mut departure = Departure::default();
            assert!(!is_gone(&mut departure, &stream, SHORT).await, "it is there");
            client.write_all(b"hello").await.unwrap();
            if ends_first {
                client.shutdown().await.unwrap();
            }
            assert!(!is_gone(&mut departure, &stream, SHORT).await, "it may wait for an answer");
            if ends_first {
                // What came is there to be read, whoever watches.
                let mut read = Vec::new();
                stream.read_to_end(&mut read).await.unwrap();
                assert_eq!(read, b"hello");
            }
            SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
            drop(client);
            assert!(is_gone(&mut departure, &stream, LONG).await, "it ends first: {ends_first}");
        }
    }

    #[tokio::test]
    async fn who_sent_something_and_closes_a_unix_socket_is_gone() {
        let (mut client, near) = UnixStream::pair().unwrap();
        let stream = Stream::Plain(Plain::Unix(near));
        let mut departure = Departure::default();
        client.write_all(b"hello").await.unwrap();
        assert!(!is_gone(&mut departure, &stream, SHORT).await, "it is there");
        drop(client);
        assert!(is_gone(&mut departure, &stream, LONG).await);
    }
}
