//! What the tasks of a connection share: the codec, and how the task that reads and writes is woken.

use std::{
    cell::{Cell, RefCell, RefMut},
    task::{Context, Waker},
};

use crate::http2;

/// The codec of a connection, and its task.
#[derive(Debug)]
pub struct Link {
    codec: RefCell<http2::Connection>,
    waker: RefCell<Option<Waker>>,
    /// The task was woken, and has not looked since.
    is_woken: Cell<bool>,
}

impl Link {
    /// A link around a codec, whose task is not known yet.
    pub fn new(codec: http2::Connection) -> Self {
        Self { codec: RefCell::new(codec), waker: RefCell::default(), is_woken: Cell::new(false) }
    }

    /// The codec; not to be held over a wait.
    pub fn codec(&self) -> RefMut<'_, http2::Connection> {
        self.codec.borrow_mut()
    }

    /// Says which task is the connection's: to be called whenever it looks.
    pub fn register(&self, cx: &Context<'_>) {
        self.is_woken.set(false);
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    /// Has the connection's task write what is there, or notice that a stream has ended.
    pub fn wake(&self) {
        // Once for all that its streams do meanwhile.
        if self.is_woken.replace(true) {
            return;
        }
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
