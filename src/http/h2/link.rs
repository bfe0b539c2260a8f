//! What the tasks of a connection share.

use std::{
    cell::{RefCell, RefMut},
    task::{Context, Waker},
};

use crate::http2;

/// The codec of a connection, and its task.
#[derive(Debug)]
pub(super) struct Link {
    codec: RefCell<http2::Connection>,
    waker: RefCell<Option<Waker>>,
}

impl Link {
    pub(super) fn new(codec: http2::Connection) -> Self {
        Self { codec: RefCell::new(codec), waker: RefCell::default() }
    }

    /// The codec; not to be held over a wait.
    pub(super) fn codec(&self) -> RefMut<'_, http2::Connection> {
        self.codec.borrow_mut()
    }

    /// Says which task is the connection's.
    pub(super) fn register(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    /// Has the connection's task write what is there, or notice that a stream has ended.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
