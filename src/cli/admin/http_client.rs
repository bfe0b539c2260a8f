//! One request and its answer over HTTP/1.1, on a connection of their own, with the standard library alone:
//! a verb asks once or twice, and a container's runtime starts `healthcheck` every few seconds. Why not
//! hyper: `docs/decisions/014-small-readers.md`.
//!
//! RFC 9112: the answer's body ends by its length, its chunks, or the end of the connection (§6.3).

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Place {
    /// Host and port, as they go into `Host`.
    Tcp(String),
    /// A socket's file.
    Unix(PathBuf),
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Request<'r> {
    pub(in crate::cli) method: &'r str,
    pub(in crate::cli) path: &'r str,
    /// Media type and text.
    pub(in crate::cli) body: Option<(&'r str, &'r str)>,
    pub(in crate::cli) token: Option<&'r str>,
    /// How long each step may take.
    pub(in crate::cli) patience: Duration,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Answer {
    pub(in crate::cli) status: u16,
    pub(in crate::cli) body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub(in crate::cli) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Place {
    /// Host and port, where it has them.
    pub(in crate::cli) fn authority(&self) -> Option<&str> {
        match self {
            Self::Tcp(authority) => Some(authority),
            Self::Unix(_) => None,
        }
    }

    /// Reads `http://HOST[:PORT]` or `unix:PATH`.
    pub(in crate::cli) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Some(Self::Unix(path.into()));
        }
        let authority = text.strip_prefix("http://")?.split('/').next()?;
        let is_sound = |c: char| c.is_ascii_graphic() && !"@?#\\".contains(c);
        if authority.is_empty() || !authority.chars().all(is_sound) {
            return None;
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Some(Self::Tcp(if has_port { authority.to_owned() } else { format!("{authority}:80") }))
    }

    /// Asks, and reads the whole answer.
    pub(in crate::cli) fn ask(&self, request: Request<'_>) -> io::Result<Answer> {
        let patience = Some(request.patience);
        let authority = match self {
            Self::Unix(path) => {
                let stream = connect(path, request.patience)?;
                stream.set_read_timeout(patience)?;
                return exchange(stream, "localhost", request);
            }
            Self::Tcp(authority) => authority,
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, request.patience) {
                Ok(stream) => {
                    stream.set_read_timeout(patience)?;
                    stream.set_write_timeout(patience)?;
                    return exchange(stream, authority, request);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A connection to a unix socket. Where too many wait for who listens there, it waits for its turn as long as it may for
/// a write.
fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(patience))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(OwnedFd::from(socket).into())
}

/// Bytes of an answer: more is not from an admin endpoint.
const MOST: u64 = 256 * 1024 * 1024;
/// Bytes of an answer's head.
const MOST_HEAD: u64 = 64 * 1024;

fn exchange(stream: impl Read + Write, host: &str, request: Request<'_>) -> io::Result<Answer> {
    let mut reader = BufReader::new(stream);
    let Request { method, path, body, token, .. } = request;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if let Some(token) = token {
        head += &format!("Authorization: Bearer {token}\r\n");
    }
    if let Some((kind, body)) = body {
        head += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
    } else if method != "GET" {
        head += "Content-Length: 0\r\n";
    }
    head += "\r\n";
    head += body.map_or("", |(_, body)| body);
    // Whoever refuses a request may close before it has all of it; its answer is there to be read.
    let sent = reader.get_mut().write_all(head.as_bytes());
    match (read(&mut reader), sent) {
        (Ok(answer), _) => Ok(answer),
        (Err(error), Ok(())) => Err(error),
        (Err(_), Err(error)) => Err(error),
    }
}

/// Reads an answer; interim ones are left out.
fn read(reader: &mut impl BufRead) -> io::Result<Answer> {
    loop {
        let (status, framing) = read_head(&mut reader.by_ref().take(MOST_HEAD))?;
        if (100..200).contains(&status) {
            continue;
        }
        let mut body = Vec::new();
        match framing {
            Framing::Length(length) if length <= MOST => {
                if reader.take(length).read_to_end(&mut body)? as u64 != length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Framing::Length(_) => return Err(strange("the answer is too large")),
            Framing::Chunks => read_chunks(reader, &mut body)?,
            Framing::End => drop(reader.take(MOST).read_to_end(&mut body)?),
        }
        return Ok(Answer { status, body });
    }
}

/// How a body ends.
enum Framing {
    Length(u64),
    Chunks,
    End,
}

fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, Framing)> {
    let first = line(reader)?;
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok());
    let status = status.ok_or_else(|| strange("it does not speak HTTP"))?;
    let mut framing = Framing::End;
    loop {
        let field = line(reader)?;
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':').ok_or_else(|| strange("a header without a colon"))?;
        if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunks;
        } else if name.eq_ignore_ascii_case("content-length") && matches!(framing, Framing::End) {
            let length = value.trim().parse().map_err(|_| strange("a length that is not a number"))?;
            framing = Framing::Length(length);
        }
    }
    // These have no body, whatever their head says.
    Ok((status, if status == 204 || status == 304 { Framing::Length(0) } else { framing }))
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let size = line(&mut reader.by_ref().take(MOST_HEAD))?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| strange("a chunk without a size"))?;
        if size.saturating_add(body.len() as u64) > MOST {
            return Err(strange("the answer is too large"));
        }
        if size == 0 {
            // Trailers; nothing in them is needed, and nothing comes after them.
            return Ok(());
        }
        if reader.by_ref().take(size).read_to_end(body)? as u64 != size
            || !line(&mut reader.by_ref().take(2))?.is_empty()
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A line without its end. One that breaks off is an error.
fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.read_until(b'\n', &mut bytes)?;
    match bytes.strip_suffix(b"\n") {
        Some(line) => Ok(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn strange(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: &str) -> io::Result<(u16, String)> {
        read(&mut bytes.as_bytes()).map(|answer| (answer.status, answer.text()))
    }

    #[test]
    fn a_body_ends_by_length_chunks_or_the_connection() {
        for (bytes, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", 200, "ok"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\nA\r\n0123456789\r\n0\r\n\r\n",
                200,
                "ok0123456789",
            ),
            ("HTTP/1.0 503 No\r\n\r\ndraining", 503, "draining"),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 No\r\ncontent-length: 1\r\n\r\nx", 409, "x"),
            ("HTTP/1.1 204 None\r\n\r\n", 204, ""),
        ] {
            assert_eq!(answer(bytes).unwrap(), (status, body.to_owned()), "{bytes}");
        }
    }

    #[test]
    fn what_breaks_off_or_is_no_http_is_an_error() {
        for bytes in [
            "",
            "SSH-2.0\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokok",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "HTTP/1.1 200 OK\r\nbroken",
            "HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
        ] {
            assert!(answer(bytes).is_err(), "{bytes}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(100_000));
        assert!(answer(&endless).is_err());
    }

    /// Who refuses a large body answers and closes, and what was written meanwhile breaks off.
    #[test]
    fn an_answer_before_the_whole_request_is_there_is_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place::Tcp(listener.local_addr().unwrap().to_string());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 100]).unwrap();
            stream.write_all(b"HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig").unwrap();
        });
        let body = "x".repeat(32 << 20);
        let body = Some(("text/plain", body.as_str()));
        let patience = Duration::from_secs(10);
        let answer = place.ask(Request { method: "PUT", path: "/", body, token: None, patience }).unwrap();
        server.join().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
    }

    /// The program may be stopped, or have no descriptors left: it accepts nobody then.
    #[test]
    fn nobody_waits_longer_than_said_for_a_full_socket() {
        let path = std::env::temp_dir().join(format!("pointsman-full-{}.sock", std::process::id()));
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let (done, ended) = std::sync::mpsc::channel();
        let place = Place::Unix(path.clone());
        std::thread::spawn(move || {
            let patience = Duration::from_millis(100);
            let request = Request { method: "GET", path: "/", body: None, token: None, patience };
            // The first one is taken into the queue, and gets no answer.
            (0..3).for_each(|_| drop(done.send(place.ask(request))));
        });
        for _ in 0..3 {
            let answer = ended.recv_timeout(Duration::from_secs(20)).expect("it waits for ever");
            assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_place_is_an_address_or_a_socket() {
        let tcp = |authority: &str| Some(Place::Tcp(authority.to_owned()));
        for (text, place) in [
            ("http://127.0.0.1:9900", tcp("127.0.0.1:9900")),
            ("http://[::1]:9900/", tcp("[::1]:9900")),
            ("http://admin.internal", tcp("admin.internal:80")),
            ("http://[::1]", tcp("[::1]:80")),
            ("unix:/run/p.sock", Some(Place::Unix("/run/p.sock".into()))),
            ("https://127.0.0.1:9900", None),
            ("127.0.0.1:9900", None),
            ("unix:", None),
            ("http://", None),
            ("http://a b", None),
            ("http://a\r\nX: y", None),
            ("http://user@host", None),
        ] {
            assert_eq!(Place::parse(text), place, "{text}");
        }
    }
}
