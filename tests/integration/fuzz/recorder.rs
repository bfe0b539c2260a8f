//! A backend that reads what arrives as strictly as can be, and keeps what is not as it must be.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::reference::{self, Message, Side};

/// What a recorder answers with: the request's bytes on the wire decide nothing else.
pub type Script = Arc<dyn Fn(&Message) -> Vec<u8> + Send + Sync>;

/// A backend that keeps what arrives.
pub struct Recorder {
    pub address: SocketAddr,
    pub arrived: Arc<Mutex<Vec<Message>>>,
    /// What was sent to it that is no message, or has what may not go upstream.
    pub wrong: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    pub fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let recorder =
            Self { address: listener.local_addr().unwrap(), arrived: Arc::default(), wrong: Arc::default() };
        let (arrived, wrong) = (recorder.arrived.clone(), recorder.wrong.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, arrived, wrong) = (script.clone(), arrived.clone(), wrong.clone());
                std::thread::spawn(move || {
                    if let Err(why) = serve(stream, &script, &arrived) {
                        wrong.lock().unwrap().push(why);
                    }
                });
            }
        });
        recorder
    }

    /// What has arrived since this was asked last.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.arrived.lock().unwrap())
    }
}

fn serve(mut stream: TcpStream, script: &Script, arrived: &Mutex<Vec<Message>>) -> Result<(), String> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = Vec::new();
    let mut room = [0; 16 * 1024];
    loop {
        let whole = reference::take(&bytes, Side::Request);
        if let Ok(Some((message, rest))) = &whole
            && message.is_whole
        {
            let wrong = forbidden(message);
            let message = message.clone();
            bytes = rest.to_vec();
            let answer = script(&message);
            arrived.lock().unwrap().push(message.clone());
            if let Some(why) = wrong {
                return Err(format!("{why}: {message:?}"));
            }
            if stream.write_all(&answer).is_err() {
                return Ok(());
            }
            continue;
        }
        let is_partial = match &whole {
            Ok(_) => true,
            Err(why) => *why == "the head has no end",
        };
        if !is_partial {
            return Err(format!("{:?}: {}", whole.err(), String::from_utf8_lossy(&bytes)));
        }
        match stream.read(&mut room) {
            Ok(length) if length > 0 => bytes.extend(&room[..length]),
            // What is not whole was given up, and so is its connection.
            _ => return Ok(()),
        }
    }
}

/// What may not be in a request to a backend.
fn forbidden(message: &Message) -> Option<&'static str> {
    let count = |name: &str| message.all(name).len();
    if count("host") != 1 {
        return Some("not one Host");
    }
    let connection = message.all("connection");
    let is_known = |value: &String| ["upgrade", "TE", "TE, upgrade"].contains(&value.as_str());
    if !connection.iter().all(is_known) {
        return Some("Connection of another hop");
    }
    let is_hidden = |(name, _): &(String, String)| {
        name.contains('_')
            || ["keep-alive", "proxy-connection", "proxy-authorization"].contains(&name.as_str())
    };
    if message.fields.iter().any(is_hidden) {
        return Some("a field that goes no further");
    }
    if message.all("x-forwarded-for") != ["127.0.0.1"] {
        return Some("a forged X-Forwarded-For");
    }
    None
}
