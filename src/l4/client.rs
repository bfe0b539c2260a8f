//! The client's side of a connection that is passed on, until it is joined with a backend's.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::AsyncWrite;

use crate::{
    net::{Buffer, Deadline, Departure, Stream, Waiter, linger},
    tls::conf::Starttls,
};

/// How long, and how much of, what still comes is read after the last word.
const LAST: Duration = Duration::from_secs(1);
const MOST_LAST: u64 = 256 * 1024;

/// A client, and what was read of it already.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: Stream,
    pub(super) input: Buffer,
    pub(super) deadline: Deadline,
    /// Whether it breaks off while it waits for a place at a backend.
    pub(super) departure: Departure,
    /// How it asked for TLS in the clear, and was answered that it begins; so the backend is asked, too.
    pub(super) asked: Starttls,
}

impl Client {
    /// Reads more, until the deadline: false when that has come.
    ///
    /// # Errors
    ///
    /// The connection ended or broke.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        let read = poll_fn(|cx| match self.stream.poll_buffer(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => {
                self.input.shrink();
                self.deadline.poll_elapsed(cx).map(|()| None)
            }
        });
        let Some(read) = read.await else { return Ok(false) };
        let buffer = read?;
        if buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.input.is_empty() {
            self.input = buffer;
        } else {
            self.input.append(&buffer);
        }
        Ok(true)
    }

    /// Says a few bytes, until the deadline.
    ///
    /// # Errors
    ///
    /// The connection broke, or takes nothing.
    pub(super) async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut at = 0;
        poll_fn(|cx| {
            while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
                match Pin::new(&mut self.stream).poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(written) => at += written?,
                    Poll::Pending => {
                        let is_over = self.deadline.poll_elapsed(cx);
                        return is_over.map(|()| Err(io::ErrorKind::TimedOut.into()));
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Says something as the last word. What still comes is read for a while, so that it is
    /// heard.
    pub(super) async fn say_last(&mut self, bytes: &[u8]) {
        self.deadline.after(LAST);
        if self.say(bytes).await.is_err() {
            return;
        }
        linger(&mut self.stream, &self.deadline, MOST_LAST).await;
    }
}

impl Waiter for Client {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // An end is passed on in its time, and what was sent before it too; only who broke off is gone.
        self.departure.poll(cx, &self.stream)
    }

    fn stop_watching(&mut self) {
        self.departure = Departure::default();
    }

    fn deadline(&self) -> &Deadline {
        &self.deadline
    }
}
