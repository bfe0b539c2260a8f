//! A check by a datagram.

use std::{future::poll_fn, io::ErrorKind, net::SocketAddr, task::Poll};

use tokio::net::UdpSocket;

use super::fault::{Fault, dial_reason, io_reason};
use crate::{error::Kind, net::dial};

/// Bytes of an answer that are read.
const MOST: usize = 64 * 1024;

/// Asks all of these addresses at once, and passes with the first that does: one that is silent says nothing, for as long
/// as there is time. The caller bounds it. Fails when all have failed.
pub(super) async fn ask_any(addresses: &[SocketAddr], send: &[u8], expect: &[u8]) -> Result<(), Fault> {
    let mut asked: Vec<_> = addresses.iter().map(|address| Box::pin(ask(*address, send, expect))).collect();
    let mut last = None;
    poll_fn(|cx| {
        let mut is_passed = false;
        asked.retain_mut(|asking| match asking.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => {
                is_passed = true;
                false
            }
            Poll::Ready(Err(fault)) => {
                // That something is missing here hides no failure of the backend.
                if last.is_none() || fault != Fault::NoSocket {
                    last = Some(fault);
                }
                false
            }
        });
        if is_passed {
            return Poll::Ready(Ok(()));
        }
        if asked.is_empty() {
            let fault = last.take().unwrap_or_else(|| "the name has no address".into());
            return Poll::Ready(Err(fault));
        }
        Poll::Pending
    })
    .await
}

/// Sends this to an address, and waits for a datagram from there that contains what is expected. Fails where nobody is
/// there, which the kernel learns by ICMP.
async fn ask(address: SocketAddr, send: &[u8], expect: &[u8]) -> Result<(), Fault> {
    let socket = dial::datagrams(address).map_err(|error| match error.kind() {
        Kind::NoSocket => Fault::NoSocket,
        _ => Fault::from(dial_reason(&error)),
    })?;
    let failed = |error: &_| Fault::from(io_reason(error));
    let socket = UdpSocket::from_std(socket.into()).map_err(|error| failed(&error))?;
    socket.send(send).await.map_err(|error| failed(&error))?;
    let mut answer = vec![0; MOST];
    loop {
        let length = match socket.recv(&mut answer).await {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(&error)),
        };
        let answer = answer.get(..length).unwrap_or_default();
        if memchr::memmem::find(answer, expect).is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn an_answer_with_what_is_expected_passes() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let serve = async {
            let mut bytes = [0; 100];
            loop {
                let (length, from) = server.recv_from(&mut bytes).await.unwrap();
                assert_eq!(&bytes[..length], b"ping");
                for answer in ["loading", "pong"] {
                    server.send_to(answer.as_bytes(), from).await.unwrap();
                }
            }
        };
        let check = async {
            assert_eq!(ask(address, b"ping", b"pong").await, Ok(()));
            assert_eq!(ask(address, b"ping", b"").await, Ok(()), "any answer");
            let never = ask(address, b"ping", b"PONG");
            assert!(timeout(Duration::from_millis(50), never).await.is_err());
        };
        tokio::select! {
            () = check => {}
            () = serve => unreachable!(),
        }
    }

    #[tokio::test]
    async fn nobody_at_a_port_is_known_at_once() {
        // Bound, so that nobody else gets the port, and not for who asks.
        let bound = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        bound.connect("127.0.0.1:1").await.unwrap();
        let gone = bound.local_addr().unwrap();
        assert_eq!(ask(gone, b"ping", b"").await, Err("connection refused".into()));
    }
}
