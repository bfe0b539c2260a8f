//! The client's side of an exchange that has no client.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::interims::Interims;
use crate::{
    cache::fill::Source,
    error::Result,
    exchange::Downstream,
    fields::Fields,
    h1::ResponseHead,
    net::{BodyFrame, Buffer, Deadline, Waiter},
};

/// Nobody. What it is sent goes nowhere.
pub(super) struct Detached<'a> {
    /// Whoever waits for the response elsewhere; without one, it is wanted whatever happens.
    source: Option<&'a Source>,
    /// The request body that is still to be sent.
    body: Bytes,
    deadline: Deadline,
    interims: Option<&'a Interims>,
}

impl<'a> Detached<'a> {
    /// In the place of those who wait for a fill; interim responses go to the one who leads, if that is wanted.
    pub(super) fn of(source: &'a Source, interims: Option<&'a Interims>) -> Self {
        Self { source: Some(source), body: Bytes::new(), deadline: Deadline::new(), interims }
    }

    /// Of a request that is made in any case.
    pub(super) fn with(body: Bytes) -> Self {
        Self { source: None, body, deadline: Deadline::new(), interims: None }
    }
}

impl Waiter for Detached<'_> {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.source.map_or(Poll::Pending, |source| source.poll_abandoned(cx))
    }

    fn deadline(&self) -> &Deadline {
        &self.deadline
    }
}

impl Downstream for Detached<'_> {
    fn poll_body(&mut self, _: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
        let body = std::mem::take(&mut self.body);
        Poll::Ready(Ok(if body.is_empty() {
            BodyFrame::End(None)
        } else {
            BodyFrame::Data(Buffer::shared(body))
        }))
    }

    fn is_body_done(&self) -> bool {
        self.body.is_empty()
    }

    fn has_body_bytes(&self) -> bool {
        !self.body.is_empty()
    }

    fn takes_interim(&self) -> bool {
        self.interims.is_some()
    }

    fn interim(&mut self, head: &ResponseHead) {
        if let Some(interims) = self.interims {
            interims.add(head);
        }
    }

    fn begin(&mut self, _: &ResponseHead, _: bool, _: Option<u64>) -> Result<()> {
        Ok(())
    }

    fn distrust(&mut self) {}

    fn end_connection(&mut self) {}

    fn is_begun(&self) -> bool {
        false
    }

    fn poll_data(&mut self, _: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<()>> {
        *buffer = Buffer::default();
        Poll::Ready(Ok(()))
    }

    fn end(&mut self, _: Option<&Fields>) -> Result<()> {
        Ok(())
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
}
