//! A body that nobody wants.

use std::task::{Context, Poll};

use super::pump::Sink;
use crate::{
    error::Result,
    exchange::Downstream,
    net::{Buffer, Deadline},
    upstream::UpstreamResponse,
};

/// Where a body goes that nobody wants. What is left of the request's goes up meanwhile, and to its end.
pub(in crate::http) struct Discard<'a, D> {
    bytes: u64,
    deadline: Deadline,
    /// Whose the request's body is.
    client: &'a mut D,
    /// The backend has the whole request.
    is_uploaded: bool,
}

impl<'a, D> Discard<'a, D> {
    pub(in crate::http) fn new(client: &'a mut D) -> Self {
        Self { bytes: 0, deadline: Deadline::new(), client, is_uploaded: false }
    }

    /// Whether the backend has the whole request.
    pub(in crate::http) fn is_uploaded(&self) -> bool {
        self.is_uploaded
    }
}

impl<D: Downstream> Sink for Discard<'_, D> {
    fn poll_data(&mut self, _: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<()>> {
        self.bytes += buffer.len() as u64;
        *buffer = Buffer::default();
        Poll::Ready(Ok(()))
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>, source: Option<&mut UpstreamResponse>) -> Result<()> {
        let Some(response) = source else { return Ok(()) };
        response.poll_upload(cx, self.client)?;
        self.is_uploaded = response.is_uploaded();
        Ok(())
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>, response: &mut UpstreamResponse) -> Poll<Result<()>> {
        self.poll_idle(cx, Some(&mut *response))?;
        if response.is_upload_over() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn sent(&self) -> u64 {
        self.bytes
    }

    fn deadline(&self) -> &Deadline {
        &self.deadline
    }
}
