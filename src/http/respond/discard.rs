//! A body that nobody wants.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use super::pump::Sink;
use crate::{
    error::{Kind, Result},
    exchange::Downstream,
    moment::Moment,
    net::{Buffer, Deadline},
    upstream::UpstreamResponse,
};

/// Where a body goes that nobody wants. What is left of the request's goes up meanwhile, and to its end.
pub(in crate::http) struct Discard<'a, D> {
    bytes: u64,
    deadline: Deadline,
    /// Whose the request's body is.
    client: &'a mut D,
    /// The backend has the whole request, since then.
    uploaded: Option<Moment>,
    /// How long the rest is read once it has.
    rest: Option<Duration>,
}

impl<'a, D> Discard<'a, D> {
    pub(in crate::http) fn new(client: &'a mut D) -> Self {
        Self { bytes: 0, deadline: Deadline::new(), client, uploaded: None, rest: None }
    }

    /// The same; what is left of the response when the backend has the whole request is read for so long.
    pub(in crate::http) fn with_rest(client: &'a mut D, rest: Duration) -> Self {
        Self { rest: Some(rest), ..Self::new(client) }
    }

    /// Whether the backend has the whole request.
    pub(in crate::http) fn is_uploaded(&self) -> bool {
        self.uploaded.is_some()
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
        if !response.is_uploaded() {
            return Ok(());
        }
        let now = Moment::now();
        let since = *self.uploaded.get_or_insert(now);
        match self.rest {
            Some(rest) if now.since(since) >= rest => Err(Kind::ResponseTimeout.into()),
            Some(_) | None => Ok(()),
        }
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
