//! Waits for what comes on parked connections of a worker, and has those served on. Previous stop: `http::h1`, where they
//! were idle; next stop: `listen::connection`.

use std::{future::poll_fn, rc::Rc};

use super::connection::{read_first, register, serve_http};
use crate::{
    http::h1::Connection,
    moment::Moment,
    net::{Http1Stream, Stream},
    runtime::{Worker, connections::Place, parked::Parked},
};

/// Parks idle connections for as long as the worker lives. Without a descriptor for that they keep their tasks.
pub async fn drive(worker: Rc<Worker>) {
    let waiting = match worker.connections.park_from_now_on() {
        Ok(waiting) => waiting,
        Err(error) => return tracing::warn!("idle connections take more memory than they need: {error}"),
    };
    let mut names = Vec::new();
    loop {
        poll_fn(|cx| waiting.poll(cx, &mut names)).await;
        for name in names.drain(..) {
            if let Some((place, parked)) = worker.connections.wake(name) {
                resume(&worker, place, parked);
            }
        }
        let now = Moment::now();
        if waiting.is_due(now) {
            worker.connections.end_expired(now);
        }
        // Others have their turn before the next.
        tokio::task::yield_now().await;
    }
}

/// Goes on with a connection that was parked: something came.
fn resume(worker: &Rc<Worker>, place: Place, parked: Parked) {
    let Parked { socket, is_unix, peer, listener, permit } = parked;
    let Some(input) = read_first(&socket) else { return };
    let Some(plain) = register(socket, is_unix) else { return };
    let stream = Http1Stream::new(Stream::Plain(plain), input);
    let connection = Connection::new(stream, peer, worker.clone(), listener, permit).resumed();
    let key = place.key();
    let opening = Box::pin(std::future::ready(Some((Box::new(connection), false))));
    worker.connections.set_task(key, tokio::task::spawn_local(serve_http(opening, place)).abort_handle());
}
