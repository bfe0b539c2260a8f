//! A client that sends the bytes it is given, and reads responses one by one.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    sync::Mutex,
    time::Duration,
};

use super::PATIENCE;

/// The tokens that programs made for their admin endpoints.
static TOKENS: Mutex<BTreeMap<SocketAddr, String>> = Mutex::new(BTreeMap::new());

/// Remembers the token of an admin endpoint, for every client from here on.
pub fn know_token(address: SocketAddr, token: String) {
    TOKENS.lock().unwrap().insert(address, token);
}

/// There is no admin endpoint at this address any more.
pub fn forget_token(address: SocketAddr) {
    TOKENS.lock().unwrap().remove(&address);
}

/// The token of an admin endpoint.
pub fn token_of(address: SocketAddr) -> Option<String> {
    TOKENS.lock().unwrap().get(&address).cloned()
}

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Whether the body ended as it said it would.
    pub is_whole: bool,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The fields with which a WebSocket is opened.
pub const OPENING: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// A connection to what may be gone.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// A connection from this address of the loopback network.
    pub fn connect_from(from: IpAddr, address: SocketAddr) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Sends as far as the other side takes it; it may close before it has all.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        match self.with_token(bytes.as_ref()) {
            Some(bytes) => self.stream.write_all(&bytes),
            None => self.stream.write_all(bytes.as_ref()),
        }
    }

    /// The bytes of a request to an admin endpoint that made its own token, with that.
    pub fn with_token(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let token = TOKENS.lock().unwrap().get(&self.stream.peer_addr().ok()?)?.clone();
        let line = bytes.windows(11).position(|it| it == b" HTTP/1.1\r\n")? + 11;
        let has_one = bytes.windows(14).any(|it| it.eq_ignore_ascii_case(b"authorization:"));
        let field = format!("Authorization: Bearer {token}\r\n");
        (!has_one).then(|| [&bytes[..line], field.as_bytes(), &bytes[line..]].concat())
    }

    pub fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.response("GET")
    }

    /// The same with more header lines, each with its CRLF.
    pub fn get_with(&mut self, target: &str, host: &str, headers: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"));
        self.response("GET")
    }

    /// Reads the response to a request of this method, interim responses left out.
    pub fn response(&mut self, method: &str) -> Response {
        loop {
            let response = self.any_response(method);
            if response.status >= 200 || response.status == 101 || response.status == 0 {
                return response;
            }
        }
    }

    /// Reads a response, be it interim. Status 0 when the connection ended first.
    pub fn any_response(&mut self, method: &str) -> Response {
        let Some(head) = self.until(b"\r\n\r\n") else { return Response::default() };
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(field).collect();
        let mut response = Response { status, headers, is_whole: true, ..Response::default() };
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return response;
        }
        if response.header("transfer-encoding") == Some("chunked") {
            self.read_chunked(&mut response);
        } else if let Some(length) = response.header("content-length").map(|it| it.parse().unwrap()) {
            response.body = self.exactly(length);
            response.is_whole = response.body.len() == length;
        } else {
            while self.fill() {}
            response.body = std::mem::take(&mut self.buffer);
        }
        response
    }

    fn read_chunked(&mut self, response: &mut Response) {
        loop {
            let Some(line) = self.until(b"\r\n") else {
                response.is_whole = false;
                return;
            };
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
            if size == 0 {
                break;
            }
            let chunk = self.exactly(size + 2);
            response.is_whole = chunk.len() == size + 2;
            response.body.extend_from_slice(&chunk[..chunk.len().saturating_sub(2)]);
            if !response.is_whole {
                return;
            }
        }
        loop {
            match self.until(b"\r\n") {
                Some(line) if line == b"\r\n" => return,
                Some(line) => response.trailers.push(field(String::from_utf8_lossy(&line).trim())),
                // The empty line is of the body too (RFC 9112 §7.1).
                None => {
                    response.is_whole = false;
                    return;
                }
            }
        }
    }

    /// Bytes up to and with these; `None` when the connection ends first.
    pub fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// So many bytes, or fewer when the connection ends first.
    pub fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length && self.fill() {}
        self.buffer.drain(..length.min(self.buffer.len())).collect()
    }

    /// Whether the other side has closed, with nothing left to read.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill()
    }

    /// Whether nothing comes for so long.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut byte = [0];
        let result = loop {
            match self.stream.peek(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(result, Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }

    pub fn shut(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    fn fill(&mut self) -> bool {
        let mut bytes = [0; 64 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(length) => {
                self.buffer.extend_from_slice(&bytes[..length]);
                length > 0
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => false,
            // A read with a timeout is not taken up again by the kernel when the machine stops for a moment.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.fill(),
            Err(error) => panic!("cannot read: {error}"),
        }
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap();
    (name.to_ascii_lowercase(), value.trim().to_owned())
}
