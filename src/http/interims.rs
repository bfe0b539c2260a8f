//! Interim responses of a fetch, which is a task of its own, on their way to the client that led to it.

use std::{
    cell::RefCell,
    task::{Context, Poll, Waker},
};

use crate::{error::Result, exchange::Downstream, h1::ResponseHead};

/// Interim responses on their way to who leads (RFC 9110 §15.2: a proxy passes them on). They are not stored, and those
/// who wait do not get them: each may have come before them.
#[derive(Debug, Default)]
pub(super) struct Interims {
    heads: RefCell<Vec<ResponseHead>>,
    waker: RefCell<Option<Waker>>,
}

impl Interims {
    pub(super) fn add(&self, head: &ResponseHead) {
        self.heads.borrow_mut().push(head.clone());
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Gives those that came to the client; who polls is woken when there are more.
    pub(super) fn pass_to<D: Downstream>(&self, client: &mut D, cx: &mut Context<'_>) -> Poll<Result<()>> {
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        let heads = self.heads.take();
        if heads.is_empty() {
            return Poll::Ready(Ok(()));
        }
        heads.iter().for_each(|head| client.interim(head));
        client.poll_flush(cx)
    }
}
