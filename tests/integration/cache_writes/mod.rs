//! Writes through a cache: what was written is what is read, and nothing older is.

mod early;
mod journal;
mod moved;
mod routes;
mod through;

pub(crate) use crate::support::nobody;
use crate::{
    collapse::{Gate, cached, metric},
    support::{
        Client, Origin, Proxy, Reply, Request,
        client::Response,
        eventually,
        h2::{self, Http2},
        proxy::{self, config},
    },
};
use bytes::Bytes;
use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

/// Sends a request with a body over a connection.
pub fn write(client: &mut Client, method: &str, target: &str, headers: &str, body: &str) -> Response {
    let length = body.len();
    client.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: test\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    ));
    client.response(method)
}

pub fn status_of(response: &Response) -> &str {
    response.header("cache-status").unwrap_or_default()
}

fn answer(status: u16, headers: &str, body: &str) -> Reply {
    let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    Reply::Bytes(format!("HTTP/1.1 {status} X\r\n{length}{headers}\r\n{body}").into_bytes())
}

/// With a journal in a folder, which must not be that of a proxy: those end with it. Everybody may write, and sees it.
pub fn back(folder: &Path, origin: SocketAddr, more: &str) -> String {
    back_for("networks = [\"127.0.0.0/8\"], serve = \"all\"", folder, origin, more)
}

/// The same for some clients.
pub fn back_for(whom: &str, folder: &Path, origin: SocketAddr, more: &str) -> String {
    let journal = format!(
        "write_policy = \"back\"\nwrite_back = {{ {whom} }}\n\
         journal = {{ path = {folder:?} }}\n{more}"
    );
    cached(&[origin], &journal)
}

pub fn waiting(proxy: &Proxy) -> u64 {
    metric(proxy, "pointsman_cache_journal_entries")
}

/// An origin that keeps what is written to it.
fn keeping(address: SocketAddr) -> Origin {
    let kept = Mutex::new(HashMap::<String, String>::new());
    Origin::start_at(address, move |request| {
        let mut kept = kept.lock().unwrap();
        // What is in the body comes behind this: tests name it in a field too.
        match request.method.as_str() {
            "PUT" => {
                kept.insert(request.target.clone(), request.header("copy").unwrap_or("?").into());
                answer(204, "", "")
            }
            "DELETE" => answer(if kept.remove(&request.target).is_some() { 204 } else { 404 }, "", ""),
            _ => match kept.get(&request.target) {
                Some(text) => answer(200, "Cache-Control: max-age=60\r\n", text),
                None => answer(404, "", "nothing"),
            },
        }
    })
}

pub fn put(client: &mut Client, target: &str, body: &str) -> Response {
    write(client, "PUT", target, &format!("Copy: {body}\r\nContent-Type: text/new\r\n"), body)
}
