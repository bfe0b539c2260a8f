//! What the tasks of a connection share: the codec, and how the task that reads and writes is woken.

use std::{
    cell::{RefCell, RefMut},
    task::{Context, Waker},
};

use crate::http2;

/// The codec of a connection, and its task.
#[derive(Debug)]
pub struct Link {
    codec: RefCell<http2::Connection>,
    waker: RefCell<Option<Waker>>,
}

impl Link {
    /// A link around a codec, whose task is not known yet.
    pub fn new(codec: http2::Connection) -> Self {
        Self { codec: RefCell::new(codec), waker: RefCell::default() }
    }

    /// The codec; not to be held over a wait.
    pub fn codec(&self) -> RefMut<'_, http2::Connection> {
        self.codec.borrow_mut()
    }

    /// Says which task is the connection's.
    pub fn register(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    /// Has the connection's task write what is there, or notice that a stream has ended.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
