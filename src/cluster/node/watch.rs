//! The guard, as the node has it: started when there is something to undo, and again where it is gone.

use std::{cell::RefCell, rc::Rc, time::Duration};

use crate::cluster::{
    address::virtual_address::VirtualAddress,
    boot_time::BootTime,
    guard::{link::Link, will::Will},
    order::{HasActed, LastWord},
};

/// How long this node may give no sign of life: ten beats, where nothing comes before it. A program that was killed is
/// known by the end of its connection, at once; this is for one that hangs. A kernel without preemption that removes many
/// interfaces keeps a processor, and whoever was about to run on it, for about as long (docs/decisions/038-kernel-lock.md).
const LIMIT: Duration = Duration::from_millis(100);
/// The same where other programs may come before it.
const PATIENT: Duration = Duration::from_millis(200);
/// Time between two attempts to start a guard.
const AGAIN: Duration = Duration::from_secs(1);

/// The node's guard.
pub(super) struct Watch {
    link: Rc<RefCell<Option<Link>>>,
    will: Will,
    /// When a guard may be started again.
    start_at: Option<BootTime>,
    limit: Duration,
}

impl Watch {
    /// Without a guard so far; with `realtime` nothing comes before this node.
    pub(super) fn new(realtime: bool) -> Self {
        let limit = if realtime { LIMIT } else { PATIENT };
        Self { link: Rc::default(), will: Will::default(), start_at: None, limit }
    }

    /// For engines: whether the guard has acted.
    pub(super) fn has_acted(&self) -> HasActed {
        let link = self.link.clone();
        Rc::new(move || link.borrow().as_ref().is_some_and(Link::has_acted))
    }

    /// Whether it has acted; to be asked once for each time.
    pub(super) fn take_acted(&mut self) -> bool {
        let mut link = self.link.borrow_mut();
        let Some(known) = link.as_mut() else { return false };
        let has_acted = known.take_acted();
        let is_gone = known.is_gone();
        drop(link);
        if is_gone {
            self.lost("it exited");
        }
        has_acted
    }

    /// Has it undo this from now on.
    pub(super) fn arm(&mut self, addresses: Vec<VirtualAddress>, last_words: Vec<LastWord>) {
        self.will = Will { limit: self.limit, addresses, last_words };
        self.tell();
    }

    /// When [`Watch::tick`] is to be called at the latest.
    pub(super) fn deadline(&self) -> Option<BootTime> {
        self.start_at.or_else(|| self.link.borrow().as_ref()?.deadline())
    }

    /// A sign of life, or another guard.
    pub(super) fn tick(&mut self, now: BootTime) {
        if self.start_at.is_some_and(|at| at <= now) {
            self.start_at = None;
            self.tell();
        }
        let failed = self.link.borrow_mut().as_mut().and_then(|link| link.beat(now).err());
        if let Some(error) = failed {
            self.lost(&error.to_string());
        }
    }

    /// Waits until the guard says something; for ever where there is none.
    pub(super) async fn readable(&self) {
        let link = self.link.clone();
        std::future::poll_fn(move |cx| match link.borrow().as_ref() {
            Some(link) => link.poll_readable(cx),
            None => std::task::Poll::Pending,
        })
        .await;
    }

    /// Ends it, with nothing to undo.
    pub(super) fn end(&mut self) {
        if let Some(mut link) = self.link.borrow_mut().take() {
            link.end();
        }
    }

    fn tell(&mut self) {
        if self.start_at.is_some() || (self.will.is_empty() && self.link.borrow().is_none()) {
            return;
        }
        if self.link.borrow().is_none() {
            match Link::start() {
                Ok(link) => drop(self.link.borrow_mut().replace(link)),
                Err(error) => return self.lost(&error.to_string()),
            }
        }
        let failed = self.link.borrow_mut().as_mut().and_then(|link| link.tell(self.will.clone()).err());
        if let Some(error) = failed {
            self.lost(&error.to_string());
        }
    }

    fn lost(&mut self, why: &str) {
        tracing::warn!("the guard exited, and another is started: {why}");
        *self.link.borrow_mut() = None;
        self.start_at = Some(BootTime::now().plus(AGAIN));
    }
}
