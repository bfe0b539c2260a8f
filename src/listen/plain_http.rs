//! Plain HTTP that comes to where HTTPS is served: a sentence in plain HTTP, in place of a reset.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncWriteExt, ReadBuf};

use crate::net::{Deadline, Plain, Stream, linger};

/// Whether what comes over a connection begins as a request does, and not as TLS. Nothing is taken from it.
pub(super) fn poll_is_spoken(plain: &Plain, cx: &mut Context<'_>) -> Poll<bool> {
    match plain {
        Plain::Tcp(stream) => {
            let mut first = [0; 1];
            let mut peeked = ReadBuf::new(&mut first);
            let came = ready!(stream.poll_peek(cx, &mut peeked));
            // A method begins with a letter; records of TLS with the number of their type, 22 for a hello (RFC 8446 §5.1).
            Poll::Ready(came.is_ok() && peeked.filled().iter().any(u8::is_ascii_uppercase))
        }
        Plain::Unix(_) => Poll::Ready(false),
    }
}

/// Answers with 400, and closes once the client has read it.
pub(super) async fn refuse(mut plain: Plain) {
    let deadline = Deadline::new();
    deadline.after(PATIENCE);
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n";
    let answer = format!("{head}Content-Length: {}\r\n\r\n{SENTENCE}", SENTENCE.len());
    let mut writing = std::pin::pin!(plain.write_all(answer.as_bytes()));
    let written = poll_fn(|cx| match writing.as_mut().poll(cx) {
        Poll::Ready(written) => Poll::Ready(written.is_ok()),
        Poll::Pending => deadline.poll_elapsed(cx).map(|()| false),
    });
    if written.await {
        linger(&mut Stream::Plain(plain), &deadline, MOST).await;
    }
}

const SENTENCE: &str = "This port speaks HTTPS, but the request was plain HTTP: use https:// instead.\n";

/// How long the client may take to read it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of the request that are read and forgotten.
const MOST: u64 = 64 * 1024;
