//! Plain HTTP that comes to where HTTPS is served: a sentence in plain HTTP, in place of a reset.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::net::{Deadline, Plain};

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
    let mut answer = std::pin::pin!(async {
        let head =
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n";
        let answer = format!("{head}Content-Length: {}\r\n\r\n{SENTENCE}", SENTENCE.len());
        plain.write_all(answer.as_bytes()).await?;
        plain.shutdown().await?;
        // Closing with unread bytes makes the kernel send a reset, which can take the answer away (RFC 9112 §9.6).
        let (mut left, mut bytes) = (MOST, [0; 4096]);
        while left > 0 {
            let mut read = ReadBuf::new(&mut bytes);
            poll_fn(|cx| Pin::new(&mut plain).poll_read(cx, &mut read)).await?;
            if read.filled().is_empty() {
                break;
            }
            left = left.saturating_sub(read.filled().len());
        }
        Ok::<_, std::io::Error>(())
    });
    poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => deadline.poll_elapsed(cx),
    })
    .await;
}

const SENTENCE: &str = "This port speaks HTTPS, but the request was plain HTTP: use https:// instead.\n";

/// How long the client may take to read it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of the request that are read and forgotten.
const MOST: usize = 64 * 1024;
