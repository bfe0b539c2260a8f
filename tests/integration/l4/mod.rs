//! Layer 4: connections that are passed on.

mod administration;
mod announced;
mod databases;
mod edits;
mod encrypted;
mod hellos;
mod icmp;
mod multipath;
mod programs;
mod quic;
mod tcp;
mod tls;
mod udp;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use crate::support::{PATIENCE, Proxy, eventually};

/// A server that does the same with each connection, on a thread of its own.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (counted, serve) = (connections.clone(), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, SeqCst);
                let serve = serve.clone();
                thread::spawn(move || serve(stream));
            }
        });
        Self { address, connections }
    }

    /// It says its name first, and then whatever it hears.
    fn echo(name: &'static str) -> Self {
        Self::start(move |mut stream| {
            let _ = stream.write_all(name.as_bytes());
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut bytes) {
                if stream.write_all(&bytes[..length]).is_err() {
                    return;
                }
            }
        })
    }

    fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// A listener `web` that passes TCP on to these backends.
fn passing(backends: &[SocketAddr], listener: &str, route: &str, upstream: &str) -> String {
    let backends: Vec<_> = backends.iter().map(ToString::to_string).collect();
    let backends: String = backends
        .iter()
        .enumerate()
        .map(|(number, address)| {
            format!("[[upstream.backend]]\nname = \"b{number}\"\naddress = \"{address}\"\n")
        })
        .collect();
    format!(
        "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"web\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n{listener}\n\
         [[route]]\nname = \"all\"\nlisteners = [\"web\"]\nupstream = \"u\"\n{route}\n\
         [[upstream]]\nname = \"u\"\n{upstream}\n{backends}"
    )
}

/// A connection to the listener `web`.
fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address("web")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads so many bytes, as text.
fn exactly(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The lines of connections that were passed on.
fn lines(proxy: &Proxy) -> Vec<serde_json::Value> {
    let log = proxy.log();
    let lines = log.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line.get("carried_by").is_some()).collect()
}

/// Waits for so many of them.
fn logged(proxy: &Proxy, count: usize) -> Vec<serde_json::Value> {
    eventually("the connections are logged", || lines(proxy).len() >= count);
    lines(proxy)
}
