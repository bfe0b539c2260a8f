//! A client whose request body is kept on its way to a backend.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;

use crate::{
    account::{self, Held, Owner},
    error::Result,
    exchange::{BoundConnection, Downstream},
    fields::Fields,
    h1::ResponseHead,
    net::{BodyFrame, Buffer, Deadline, Waiter},
};

/// A client, and what came of its request body. Attempts that begin again do not ask the client again.
pub(super) struct Tee<'a, D> {
    client: &'a mut D,
    /// What came so far, and what it holds in the account of memory.
    kept: Option<(Vec<u8>, Held)>,
    most: usize,
}

impl<'a, D: Downstream> Tee<'a, D> {
    /// Of a client whose body is kept up to `most` bytes.
    pub(super) fn new(client: &'a mut D, most: u64) -> Self {
        let kept = Some((Vec::new(), Held::new(Owner::Replays, 0)));
        Self { client, kept, most: usize::try_from(most).unwrap_or(usize::MAX) }
    }

    /// The whole body, if it is whole and not too long, and memory was not full meanwhile. What it holds is given back with
    /// the second value.
    pub(super) fn body(self) -> Option<(Bytes, Held)> {
        let kept = self.kept.filter(|_| self.client.is_body_done());
        kept.map(|(kept, held)| (kept.into_boxed_slice().into(), held))
    }
}

impl<D: Downstream> Waiter for Tee<'_, D> {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.client.poll_gone(cx)
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.client.poll_left(cx)
    }

    fn stop_watching(&mut self) {
        self.client.stop_watching();
    }

    fn deadline(&self) -> &Deadline {
        self.client.deadline()
    }
}

impl<D: Downstream> Downstream for Tee<'_, D> {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
        let piece = self.client.poll_body(cx);
        if let (Poll::Ready(Ok(BodyFrame::Data(buffer))), Some((kept, held))) = (&piece, &mut self.kept) {
            if kept.len() + buffer.len() <= self.most && !account::is_full() {
                held.grow(buffer.len());
                kept.extend_from_slice(buffer);
            } else {
                self.kept = None;
            }
        }
        piece
    }

    fn is_body_done(&self) -> bool {
        self.client.is_body_done()
    }

    fn has_body_bytes(&self) -> bool {
        self.client.has_body_bytes()
    }

    fn takes_interim(&self) -> bool {
        self.client.takes_interim()
    }

    fn interim(&mut self, head: &ResponseHead) {
        self.client.interim(head);
    }

    fn begin(&mut self, head: &ResponseHead, has_body: bool, length: Option<u64>) -> Result<()> {
        self.client.begin(head, has_body, length)
    }

    fn distrust(&mut self) {
        self.client.distrust();
    }

    fn end_connection(&mut self) {
        self.client.end_connection();
    }

    fn ends_connection(&self) -> bool {
        self.client.ends_connection()
    }

    fn bound(&self) -> Option<&BoundConnection> {
        self.client.bound()
    }

    fn bind(&mut self) -> Option<Rc<BoundConnection>> {
        self.client.bind()
    }

    fn is_begun(&self) -> bool {
        self.client.is_begun()
    }

    fn poll_data(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<()>> {
        self.client.poll_data(cx, buffer)
    }

    fn end(&mut self, trailers: Option<&Fields>) -> Result<()> {
        self.client.end(trailers)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.client.poll_flush(cx)
    }
}
