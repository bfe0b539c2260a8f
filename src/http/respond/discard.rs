//! A body that nobody wants.

use std::task::{Context, Poll};

use super::pump::Sink;
use crate::{
    error::Result,
    net::{Buffer, Deadline},
};

/// Where a body goes that nobody wants.
pub(in crate::http) struct Discard {
    bytes: u64,
    deadline: Deadline,
}

impl Discard {
    pub(in crate::http) fn new() -> Self {
        Self { bytes: 0, deadline: Deadline::new() }
    }
}

impl Sink for Discard {
    fn poll_data(&mut self, _: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<()>> {
        self.bytes += buffer.len() as u64;
        *buffer = Buffer::default();
        Poll::Ready(Ok(()))
    }

    fn sent(&self) -> u64 {
        self.bytes
    }

    fn deadline(&self) -> &Deadline {
        &self.deadline
    }
}
