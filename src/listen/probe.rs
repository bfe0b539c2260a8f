//! A request of a worker's own, through each listener of HTTP: whether it can serve, before anybody depends on it.
//!
//! Asked for by `control::predecessor`, whose program before lets go of the sockets only then. The connection is a pair of
//! sockets, since what comes to a listening socket that both programs have may be taken by either; from there on its way
//! is that of any other ([`Connection`]). TLS is left out: its clients need certificates that may not be here.

use std::{fmt::Display, rc::Rc, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::spawn_local,
};

use crate::{
    exchange::Peer,
    http::h1::Connection,
    net::{Buffer, Http1Stream, Plain, Stream},
    runtime::{Listener, Permit, Serves, Worker},
};

/// It is for this program alone, whatever its route says: no backend is asked, and no cache (RFC 9110 §7.6.2).
const REQUEST: &[u8] =
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n";

/// Listeners that are asked, the first ones: they differ in their settings only.
const MOST: usize = 64;

/// Whether the worker serves a request through each listener. Which answer comes of it is the configuration's to say.
pub(super) async fn is_answered(worker: Rc<Worker>) -> bool {
    let snapshot = worker.snapshot();
    let are_asked = |listener: &&Listener| match listener.serves {
        Serves::Http | Serves::Https(_) => true,
        // What answers there is a backend.
        Serves::Tcp(_) | Serves::Tls | Serves::Udp => false,
    };
    for listener in snapshot.shared.listeners.iter().filter(are_asked).take(MOST) {
        if ask(&worker, listener).await.is_none() {
            return false;
        }
    }
    true
}

/// How many bytes came for an answer; `None` where serving it went wrong.
async fn ask(worker: &Rc<Worker>, listener: &Listener) -> Option<usize> {
    let refuse = |why: &dyn Display| tracing::error!(listener = %listener.conf.name, "does not serve: {why}");
    let (mut own, served) = UnixStream::pair().inspect_err(|error| refuse(error)).ok()?;
    // Of no listener: it takes no client's place, and is in no count.
    let permit = Permit::new(Arc::default(), worker.index, Arc::default(), None);
    let stream = Http1Stream::new(Stream::Plain(Plain::Unix(served)), Buffer::default());
    let peer = Peer { text: Peer::OWN.into(), terms: listener.terms.clone(), ..Peer::default() };
    let mut connection = Connection::new(stream, Rc::new(peer), worker.clone(), listener.slot, permit);
    // A task of its own, whose panic ends no other.
    let serving = spawn_local(async move { drop(Box::pin(connection.serve()).await) });
    // Where it has ended by now, that shows below.
    let _ = own.write_all(REQUEST).await;
    let (mut room, mut came) = ([0; 1024], 0);
    while let Ok(length @ 1..) = own.read(&mut room).await {
        came += length;
    }
    // It may wait for more of us.
    drop(own);
    serving.await.inspect_err(|error| refuse(error)).ok().map(|()| came)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use tokio::runtime::{Builder, LocalOptions};

    use super::*;
    use crate::{
        admin::tests::{CONFIG, shared},
        telemetry::access_log::{AccessLog, Sink},
    };

    #[test]
    fn a_worker_answers_itself_and_counts_no_request() {
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
        runtime.block_on(async {
            let log = AccessLog::start(Sink::Off).unwrap();
            let worker = Worker::new(0, shared(CONFIG), log.for_worker());
            let snapshot = worker.snapshot();
            let listener = &snapshot.shared.listeners[0];
            assert!(ask(&worker, listener).await.is_some_and(|came| came > 0));
            assert!(is_answered(worker.clone()).await);
            let (open, accepted) = (&listener.shared.open, &listener.shared.accepted);
            assert_eq!((open.load(Relaxed), accepted.load(Relaxed)), (0, 0));
            assert_eq!(worker.series.bytes_out.get(), 0);
        });
    }
}
