//! A backend that does what it is to, a thread per connection.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// The head as it came.
    pub head: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }
}

impl Request {
    /// The head by which a backend takes the WebSocket that is asked for.
    pub fn switching(&self) -> String {
        let proof = pointsman::websocket::accept(self.header("sec-websocket-key").unwrap().as_bytes());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {proof}\r\n\r\n"
        )
    }
}

/// What the backend does with a request whose head has come.
pub enum Reply {
    /// Reads the body, then sends a response of this status and body with its length.
    Text(u16, String),
    /// Reads the body, then sends these bytes and keeps the connection.
    Bytes(Vec<u8>),
    /// Reads the body, sends these bytes, and closes.
    Close(Vec<u8>),
    /// Takes over the connection before the body is read; it is closed afterwards.
    Take(Box<dyn FnOnce(&mut Connection) + Send>),
}

/// A connection of the backend's.
pub struct Connection {
    pub reader: BufReader<TcpStream>,
    pub stream: TcpStream,
}

impl Connection {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The proxy may be gone, which is what some tests are about.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Reads the body of this request, for who has taken over the connection before it; false when it broke off.
    pub fn read_body(&mut self, request: &mut Request) -> bool {
        read_body(&mut self.reader, request).is_some()
    }

    /// Reads so many bytes and forgets them; false when it broke off.
    pub fn skip(&mut self, bytes: usize) -> bool {
        self.reader.read_exact(&mut vec![0; bytes]).is_ok()
    }
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

/// A backend; it takes no more connections when this is dropped.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    heads: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    is_over: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Origin {
    /// A backend that does as `script` says.
    pub fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        // Of ports that nobody else is given: who is stopped must refuse from then on.
        Self::start_at(super::free(), script)
    }

    /// A backend that answers with its name.
    pub fn named(name: &'static str) -> Self {
        Self::start(move |_| Reply::Text(200, name.to_owned()))
    }

    /// A backend that holds `/held` until it is asked to answer, or the sender is dropped. Then, and to
    /// everything else at once, it says `whole`.
    pub fn holding() -> (mpsc::Sender<()>, Self) {
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let origin = Self::start(move |request| {
            if request.target == "/held" {
                let _ = held.lock().unwrap().recv();
            }
            Reply::Text(200, "whole".to_owned())
        });
        (release, origin)
    }

    /// A backend at this address.
    pub fn start_at(address: SocketAddr, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        // One that was here before may take a moment to go.
        super::eventually("the address is free", || socket.bind(&address.into()).is_ok());
        socket.listen(1024).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            heads: AtomicUsize::new(0),
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let serving = accepting.clone();
                serving.connections.fetch_add(1, Ordering::SeqCst);
                serving.open.lock().unwrap().push(stream.try_clone().unwrap());
                std::thread::spawn(move || serve(stream, &serving));
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many heads of requests came, of which some may not be answered yet.
    pub fn heads(&self) -> usize {
        self.shared.heads.load(Ordering::SeqCst)
    }

    /// The last request.
    pub fn last(&self) -> Request {
        self.requests().pop().expect("no request came")
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    /// Closes everything, as a process that is killed does.
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        // Wakes the accepting thread, which then closes its socket.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    let mut connection = Connection { reader: BufReader::new(stream.try_clone().unwrap()), stream };
    while let Some(mut request) = read_head(&mut connection.reader) {
        shared.heads.fetch_add(1, Ordering::SeqCst);
        let reply = (shared.script)(&request);
        if let Reply::Take(take) = reply {
            shared.requests.lock().unwrap().push(request);
            take(&mut connection);
            break;
        }
        if read_body(&mut connection.reader, &mut request).is_none() {
            break;
        }
        let method = request.method.clone();
        shared.requests.lock().unwrap().push(request);
        match reply {
            Reply::Text(status, body) => {
                let body = if method == "HEAD" { String::new() } else { body };
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                connection.send(head);
            }
            Reply::Bytes(bytes) => connection.send(bytes),
            Reply::Close(bytes) => {
                connection.send(bytes);
                break;
            }
            Reply::Take(_) => unreachable!(),
        }
    }
    let _ = connection.stream.shutdown(std::net::Shutdown::Both);
}

fn read_head(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if &head[before..] == "\r\n" {
            break;
        }
    }
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers = lines.filter_map(field).collect();
    Some(Request { method, target, headers, head, ..Request::default() })
}

fn read_body(reader: &mut BufReader<TcpStream>, request: &mut Request) -> Option<()> {
    if request.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let size = usize::from_str_radix(line.trim(), 16).ok()?;
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            request.body.extend_from_slice(&chunk[..size]);
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match field(&line) {
                Some(field) => request.trailers.push(field),
                None => return Some(()),
            }
        }
    }
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body = vec![0; length];
    reader.read_exact(&mut request.body).ok()
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_ascii_lowercase(), value.trim().to_owned()))
}
