//! `pointsman healthcheck`: whether a running Pointsman is ready, asked without any library, since a
//! container's runtime starts this every few seconds.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    process::ExitCode,
    time::Duration,
};

use super::{Failure, Status, print};

/// How long each step of asking may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// More of an answer than this is not needed.
const MOST: u64 = 64 * 1024;

/// Asks for `/readyz` and prints the answer.
pub(super) fn healthcheck(admin: &str) -> Status {
    let answer = ask(admin).map_err(|error| {
        Failure::new(format!("{admin} does not answer: {error} (is Pointsman running with `[admin]`?)"))
    })?;
    let status = status_of(&answer)
        .ok_or_else(|| Failure::new(format!("{admin} does not speak HTTP: is it the admin endpoint?")))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    if status == 200 {
        print("ready\n");
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(format!("not ready: {status} {body}")))
}

/// The answer to a GET of `/readyz`, head and body.
fn ask(admin: &str) -> io::Result<String> {
    if let Some(path) = admin.strip_prefix("unix:") {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        return exchange(stream, "localhost");
    }
    let rest = admin.strip_prefix("http://").ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "write http://ADDRESS:PORT or unix:PATH")
    })?;
    let authority = rest.split('/').next().unwrap_or_default();
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let target = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in target.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return exchange(stream, authority);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: impl Read + Write, host: &str) -> io::Result<String> {
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn status_of(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    #[test]
    fn only_a_200_is_ready() {
        for (answer, is_ready) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\ndraining", false),
            ("SSH-2.0\r\n", false),
            ("", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let admin = format!("http://{}", listener.local_addr().unwrap());
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 512];
                let length = stream.read(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&request[..length]).into_owned()
            });
            assert_eq!(healthcheck(&admin).is_ok(), is_ready, "{answer}");
            assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"));
        }
        assert!(healthcheck("https://127.0.0.1:1").is_err());
        assert!(healthcheck("unix:/nowhere/at/all.sock").is_err());
    }
}
