//! How a connection ends whose other end may still send.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Poll, ready},
};

use tokio::io::AsyncWrite;

use super::{Deadline, Stream};

/// Ends our side, and reads and forgets what still comes, until the other end is through, so many bytes came, or the
/// deadline has: closing with unread bytes makes the kernel send a reset, which can take the last words away (RFC 9112
/// §9.6).
pub async fn linger(stream: &mut Stream, deadline: &Deadline, bytes: u64) {
    let mut left = bytes;
    let mut is_shut = false;
    let mut end = move |cx: &mut std::task::Context<'_>| {
        if !is_shut {
            is_shut = ready!(Pin::new(&mut *stream).poll_shutdown(cx)).is_ok();
            if !is_shut {
                return Poll::Ready(());
            }
        }
        loop {
            match ready!(stream.poll_buffer(cx)) {
                Ok(buffer) if !buffer.is_empty() && left > 0 => {
                    left = left.saturating_sub(buffer.len() as u64);
                }
                _ => return Poll::Ready(()),
            }
        }
    };
    // Over TLS, saying the end waits as well, for a client that reads nothing.
    poll_fn(|cx| if end(cx).is_ready() { Poll::Ready(()) } else { deadline.poll_elapsed(cx) }).await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::AsyncWriteExt,
        net::UnixStream,
        runtime::{Builder, LocalOptions},
        time::Instant,
    };

    use super::*;
    use crate::net::{Plain, timer};

    fn run(test: impl AsyncFnOnce()) {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build_local(LocalOptions::default())
            .unwrap();
        let _none = crate::sync::children::none();
        runtime.block_on(async {
            tokio::task::spawn_local(timer::drive());
            test().await;
        });
    }

    /// A server's end of a connection with TLS, and the client's.
    async fn tls() -> (Stream, tokio_rustls::client::TlsStream<UnixStream>) {
        let dir = std::env::temp_dir().join(format!("pointsman-linger-{}", std::process::id()));
        crate::tls::demo::demo_certificates(&dir).unwrap();
        let certificate =
            crate::tls::conf::CertificateConf { chain: dir.join("demo.pem"), key: dir.join("demo.key") };
        let tickets = crate::tls::tickets::Tickets::new(crate::moment::Moment(1)).unwrap();
        let off = crate::tls::conf::ClientAuthConf { mode: crate::tls::conf::ClientAuthMode::Off, ca: None };
        let crypto = crate::tls::crypto::CryptoConf::default();
        let offer = crate::tls::server::Offer { crypto: &crypto, alpn: &[] };
        let server =
            crate::tls::server::ServerTls::build("t", &[certificate], &off, offer, &tickets).unwrap();
        let conf = crate::tls::conf::UpstreamTlsConf {
            server_name: None,
            ca: Some(dir.join("ca.pem")),
            certificate: None,
            verify: true,
            crypto: crate::tls::crypto::CryptoConf::default(),
        };
        let (client, _) = crate::tls::client::build(&conf).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(server.config.clone());
        let connector = tokio_rustls::TlsConnector::from(client);
        let (ours, theirs) = tokio::join!(
            acceptor.accept(Plain::Unix(near)),
            connector.connect("localhost".try_into().unwrap(), far)
        );
        (Stream::TlsServer(Box::new(ours.unwrap())), theirs.unwrap())
    }

    #[test]
    fn a_client_that_reads_nothing_is_left_in_time() {
        run(async || {
            let (mut stream, client) = tls().await;
            // Until the socket is full, and TLS has more to say than it takes.
            poll_fn(|cx| {
                while Pin::new(&mut stream).poll_write(cx, &[b'x'; 16_384]).is_ready() {}
                Poll::Ready(())
            })
            .await;
            let deadline = Deadline::new();
            deadline.after(Duration::from_secs(3));
            let begun = Instant::now();
            let ended = tokio::time::timeout(Duration::from_secs(60), linger(&mut stream, &deadline, 1000));
            ended.await.expect("it waits for who reads nothing");
            assert!(begun.elapsed() >= Duration::from_secs(3), "it did not wait at all");
            drop(client);
        });
    }

    #[test]
    fn what_comes_is_read_to_its_end() {
        run(async || {
            let (near, mut far) = UnixStream::pair().unwrap();
            let mut stream = Stream::Plain(Plain::Unix(near));
            far.write_all(&[b'x'; 100_000]).await.unwrap();
            far.shutdown().await.unwrap();
            let deadline = Deadline::new();
            deadline.after(Duration::from_secs(3));
            let begun = Instant::now();
            linger(&mut stream, &deadline, 1_000_000).await;
            assert!(begun.elapsed() < Duration::from_secs(1), "it waits for more than the end");
            // Nothing unread is left that would make closing a reset.
            let mut byte = [0; 1];
            assert_eq!(tokio::io::AsyncReadExt::read(&mut stream, &mut byte).await.unwrap(), 0);
        });
    }

    #[test]
    fn no_more_is_read_than_said() {
        run(async || {
            let (near, mut far) = UnixStream::pair().unwrap();
            let mut stream = Stream::Plain(Plain::Unix(near));
            far.write_all(&[b'x'; 100_000]).await.unwrap();
            let deadline = Deadline::new();
            deadline.after(Duration::from_secs(3));
            let begun = Instant::now();
            linger(&mut stream, &deadline, 20_000).await;
            assert!(begun.elapsed() < Duration::from_secs(1), "it waits though enough came");
        });
    }
}
