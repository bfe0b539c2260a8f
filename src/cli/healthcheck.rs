//! `pointsman healthcheck`: whether a running Pointsman is ready. A container's runtime starts this every few seconds: of
//! the configuration it reads `[admin]` alone, and only where the endpoint is not named.

use std::{process::ExitCode, time::Duration};

use super::{
    Failure, File, Status,
    admin::{Ask, Endpoint, Question, Trouble},
    tell,
};

/// How long each step of asking may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks for `/readyz` and prints the answer.
pub(super) fn healthcheck(admin: Option<String>, file: &File) -> Status {
    // A container's runtime keeps 2 for itself.
    let endpoint = Endpoint::find(&Ask { admin, token_file: None }, file)
        .map_err(|failure| Failure::new(failure.text()))?;
    let answer = endpoint
        .raw(&Question::get("/readyz").patient(PATIENCE))
        .map_err(|error| endpoint.failure(&Trouble::Away(error), false))?;
    if answer.status == 200 {
        tell("ready\n");
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(format!("not ready: {} {}", answer.status, answer.text().trim())))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

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
            assert_eq!(healthcheck(Some(admin), &File { config: None }).is_ok(), is_ready, "{answer}");
            assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"));
        }
        assert!(healthcheck(Some("https://127.0.0.1:1".to_owned()), &File { config: None }).is_err());
        assert!(healthcheck(Some("unix:/nowhere/at/all.sock".to_owned()), &File { config: None }).is_err());
    }
}
