//! One demonstration backend: an HTTP/1.1 server on a thread and an event loop of its own, which can be
//! asked to die and comes back.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, TcpListener as Bound},
    rc::Rc,
    thread,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use tokio::{
    net::TcpListener,
    runtime::{Builder, LocalOptions},
    sync::Notify,
    task::JoinSet,
    time::sleep,
};

use super::{
    answer::{Counts, answer},
    server::{AWAY, Server},
};
use crate::{cli::tell, net::hyper_io::HyperIo};

/// Time for the answer to the request that kills the backend.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Starts the server's thread. It ends with the program.
pub(super) fn start(server: Server, listener: Bound) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    thread::Builder::new().name(format!("backend-{}", server.name)).spawn(move || {
        let runtime =
            Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                let _ = ready.send(Ok(()));
                if let Err(error) = runtime.block_on(live_and_die(server, listener)) {
                    tell(&format!("backend {} is gone for good: {error}\n", server.name));
                }
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    })?;
    is_ready.recv().map_err(io::Error::other)?
}

/// Serves until it is asked to die, stays away, and begins again.
async fn live_and_die(server: Server, listener: Bound) -> io::Result<()> {
    let mut listener = TcpListener::from_std(listener)?;
    let counts = Rc::new(Counts::default());
    loop {
        serve(server, &listener, &counts).await;
        drop(listener);
        let Server { name, port, .. } = server;
        tell(&format!("backend {name} is dead: port {port} refuses connections for {} s\n", AWAY.as_secs()));
        sleep(AWAY).await;
        listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        tell(&format!(
            "backend {name} is back on port {port}; it gets traffic again after its next health checks\n"
        ));
    }
}

/// Serves connections until one of them brings the request to die. Then all of them break off.
async fn serve(server: Server, listener: &TcpListener, counts: &Rc<Counts>) {
    let die = Rc::new(Notify::new());
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of descriptors, or the client is gone already.
                Err(_) => {
                    sleep(LAST_WORDS).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
            () = die.notified() => break,
        };
        // A small answer must not wait for the next one.
        let _ = stream.set_nodelay(true);
        let (counts, die) = (counts.clone(), die.clone());
        connections.spawn_local(async move {
            let service = service_fn(|request| {
                let (counts, die) = (counts.clone(), die.clone());
                async move { Ok::<_, Infallible>(answer(server, &counts, &die, request).await) }
            });
            // A client that left is no concern of a demonstration.
            let _ = http1::Builder::new().serve_connection(HyperIo(stream), service).await;
        });
    }
    sleep(LAST_WORDS).await;
}
