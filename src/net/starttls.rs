//! TLS that begins after a few bytes in the clear: the SSLRequest of PostgreSQL (its documentation, "Message Formats").
//!
//! A client asks with eight bytes, and is answered with one: `S`, and TLS begins, or `N`. Nothing may follow the question
//! before the answer: what does would be read as if it had come encrypted (CVE-2021-23214), so exactly the question is
//! taken, and what is behind it is for the handshake, which it fails.

use std::{
    future::poll_fn,
    io,
    os::fd::AsFd,
    task::{Context, Poll, ready},
};

use rustix::net::RecvFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};

use super::stream::Plain;

/// SSLRequest: the length, and 80877103.
pub const REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
/// GSSENCRequest: the length, and 80877104. Some clients try this first.
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x30];
/// The first byte of TLS: clients may begin with it at once (PostgreSQL 17, `sslnegotiation=direct`).
const HANDSHAKE: u8 = 22;
/// The answer that TLS begins.
pub const YES: &[u8] = b"S";
/// The answer that it does not.
pub const NO: &[u8] = b"N";

/// What the first bytes of a client are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// TLS, without a question.
    Tls,
    /// The question whether TLS may begin.
    ForTls,
    /// The question whether another encryption may, which it may not.
    ForGss,
}

/// What the first bytes of a client are; `None` where more have to come. Fails where TLS is not what it wants.
pub fn asked(bytes: &[u8]) -> Result<Option<Asked>, &'static str> {
    const NEITHER: &str = "the first bytes are neither TLS nor a request for it";
    match bytes {
        [HANDSHAKE, ..] => return Ok(Some(Asked::Tls)),
        _ if bytes.starts_with(&REQUEST) => return Ok(Some(Asked::ForTls)),
        _ if bytes.starts_with(&GSS_REQUEST) => return Ok(Some(Asked::ForGss)),
        _ => {}
    }
    let may_become = [REQUEST, GSS_REQUEST].iter().any(|request| request.starts_with(bytes));
    if may_become { Ok(None) } else { Err(NEITHER) }
}

/// Answers a client's question, so that TLS begins; the caller bounds the time.
///
/// # Errors
///
/// The client does not want TLS, left, or its connection broke.
pub async fn answer(plain: &mut Plain) -> io::Result<()> {
    let mut has_asked_for_gss = false;
    loop {
        if poll_fn(|cx| poll_first(cx, plain)).await? == HANDSHAKE {
            return Ok(());
        }
        let mut question = REQUEST;
        plain.read_exact(&mut question).await?;
        match asked(&question).map_err(io::Error::other)? {
            Some(Asked::ForTls) => return plain.write_all(YES).await,
            // Once: who asks again and again gets no further answer.
            Some(Asked::ForGss) if !std::mem::replace(&mut has_asked_for_gss, true) => {
                plain.write_all(NO).await?
            }
            Some(Asked::ForGss | Asked::Tls) | None => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Looks at the first byte, and leaves it there. One alone: of several that did not all come a socket whose other end is
/// shut says for ever that it can be read.
fn poll_first(cx: &mut Context<'_>, plain: &Plain) -> Poll<io::Result<u8>> {
    loop {
        ready!(plain.poll_ready(cx, Interest::READABLE))?;
        let seen = plain.try_io(Interest::READABLE, || {
            let mut byte = [0; 1];
            let (_, length) = rustix::net::recv(plain.as_fd(), &mut byte, RecvFlags::PEEK)?;
            let [byte] = byte;
            if length == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(byte) }
        });
        match seen {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}

/// Asks a backend for TLS; the caller bounds the time.
///
/// # Errors
///
/// It has none, or its connection broke.
pub async fn ask(plain: &mut Plain) -> io::Result<()> {
    plain.write_all(&REQUEST).await?;
    // Exactly the answer: what is behind it is for the handshake.
    let mut answer = [0];
    plain.read_exact(&mut answer).await?;
    if answer == YES { Ok(()) } else { Err(io::Error::other("the backend has no TLS")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_known_as_soon_as_they_can_be() {
        for length in 0..8 {
            assert_eq!(asked(&REQUEST[..length]), Ok(None), "{length}");
        }
        assert_eq!(asked(&REQUEST), Ok(Some(Asked::ForTls)));
        assert_eq!(asked(&[&REQUEST[..], b"\x16\x03"].concat()), Ok(Some(Asked::ForTls)));
        assert_eq!(asked(&GSS_REQUEST), Ok(Some(Asked::ForGss)));
        assert_eq!(asked(&[22]), Ok(Some(Asked::Tls)));
        // A start without TLS, the cancellation of a query, and another protocol.
        for bytes in [&[0, 0, 0, 9, 0, 3, 0, 0, 0][..], &[0, 0, 0, 16, 4, 0xd2, 0x16, 0x2e], b"GET"] {
            assert!(asked(bytes).is_err(), "{bytes:?}");
        }
    }
}
