//! What the node tells an engine, and how an engine tells the node: the seam between them.
//!
//! An engine is a future on the cluster's event loop. It takes [`Order`]s, and says through its [`Outlet`] how the election
//! goes. It never touches addresses. To an order that ends it, it ends; dropped orders mean the same as
//! [`Order::HandOver`].

use std::{cell::RefCell, collections::BTreeMap, net::IpAddr, rc::Rc, sync::Arc};

use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use super::{
    role::{Event, Standing},
    status::{GroupStatus, Inner, Status},
};

/// What an engine is told.
#[derive(Debug)]
pub enum Order<C> {
    /// How much this node wants to be primary from now on.
    Stand(Standing),
    /// Give up what was won, at once, and want to be primary that much from then on. The addresses are gone already.
    Resign(Standing),
    /// Who watched over this node has given up what was won in its place: nothing is said of it any more.
    Restart,
    /// Another configuration of the same engine.
    Conf(C),
    /// The program ends: give up what was won, where [`Order::Resign`] did not, and end.
    Leave,
    /// Another program goes on: keep what was won, tell nobody, and end with what it must know.
    HandOver,
}

impl<C> Order<C> {
    /// The same with another configuration; `None` where there is none to it.
    pub fn try_map<D>(self, map: impl FnOnce(C) -> Option<D>) -> Option<Order<D>> {
        Some(match self {
            Self::Stand(standing) => Order::Stand(standing),
            Self::Resign(standing) => Order::Resign(standing),
            Self::Restart => Order::Restart,
            Self::Conf(conf) => Order::Conf(map(conf)?),
            Self::Leave => Order::Leave,
            Self::HandOver => Order::HandOver,
        })
    }
}

/// What an engine begins with, where another program held its place.
#[derive(Clone, Debug, Default)]
pub struct Resumed {
    /// That program was primary, and its addresses are there.
    pub is_primary: bool,
    /// The number of its last election.
    pub fence: u64,
    /// What its engine ended with.
    pub state: Value,
}

/// What is said when this node cannot any more: a packet, IP header included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWord {
    /// The interface that it goes out by.
    pub interface: String,
    /// Where it goes.
    pub destination: IpAddr,
    /// Its bytes.
    pub packet: Vec<u8>,
}

/// The last words of each group, by its number.
pub type LastWords = Rc<RefCell<BTreeMap<u64, Vec<LastWord>>>>;

/// Asks whether who watches over this node has acted in its place.
pub type HasActed = Rc<dyn Fn() -> bool>;

/// An engine's way to the node and to its group's status.
#[derive(Clone)]
pub struct Outlet {
    /// The number of the group, which events carry.
    pub group: u64,
    /// The name of the group.
    pub name: Arc<str>,
    /// Where events go.
    pub events: UnboundedSender<(u64, Event)>,
    /// Where peers and counts are written.
    pub status: Arc<Status>,
    /// To be asked before anything is said as primary after a wait.
    pub has_acted: HasActed,
    /// What is to be said when this node cannot any more.
    pub last_words: LastWords,
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlet").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Outlet {
    /// Tells the node.
    pub fn tell(&self, event: Event) {
        // The node ends after its engines.
        let _ = self.events.send((self.group, event));
    }

    /// Leaves what is to be said in place of what was left before.
    pub fn leave_words(&self, words: Vec<LastWord>) {
        self.last_words.borrow_mut().insert(self.group, words);
    }

    /// Writes into the status of this group.
    pub fn write(&self, write: impl FnOnce(&mut GroupStatus)) {
        if let Some(group) = self.status.lock().group(&self.name) {
            write(group);
        }
    }

    /// Writes what is wrong into the status of this group; gives whether that is news.
    pub fn replace_problem(&self, problem: &str) -> bool {
        let mut is_new = false;
        self.write(|group| {
            is_new = group.problem.as_deref() != Some(problem);
            group.problem = Some(problem.to_owned());
        });
        is_new
    }

    /// Counts one more of what this engine counts.
    pub fn count(&self, name: &'static str, reason: &'static str) {
        Inner::count(&mut self.status.lock(), name, reason);
    }
}
