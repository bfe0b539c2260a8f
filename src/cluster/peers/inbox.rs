//! From the worker that reads a peer's message to the control side, and back with the answer.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{
    mpsc::{Receiver, Sender, channel},
    oneshot,
};

/// Messages that may wait; a peer that finds no place says it again.
const MOST: usize = 64;

/// A message of a peer.
#[derive(Debug)]
pub struct Message {
    /// The path that it was posted to.
    pub path: &'static str,
    /// What it says.
    pub body: Bytes,
    /// The way of the answer, a status and a body.
    pub answer: oneshot::Sender<(u16, Bytes)>,
}

/// The way to the control side.
#[derive(Debug)]
pub struct Inbox {
    sender: Sender<Message>,
    receiver: Mutex<Option<Receiver<Message>>>,
}

impl Default for Inbox {
    fn default() -> Self {
        let (sender, receiver) = channel(MOST);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Inbox {
    /// The other end, once.
    pub fn receiver(&self) -> Option<Receiver<Message>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Has the control side answer a message; 503 where it has too many.
    pub async fn ask(&self, path: &'static str, body: Bytes) -> (u16, Bytes) {
        let (answer, answered) = oneshot::channel();
        if self.sender.try_send(Message { path, body, answer }).is_err() {
            return (503, Bytes::from_static(b"too many messages\n"));
        }
        answered.await.unwrap_or((503, Bytes::from_static(b"the program ends\n")))
    }
}
