//! The engines that there are: one arm each, behind the seam in [`super::order`].

use serde_json::Value;
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::{JoinHandle, spawn_local},
};

use super::{
    order::{Order, Outlet, Resumed},
    store, vrrp,
};

/// What an engine is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Conf {
    /// A virtual router.
    Vrrp(vrrp::conf::Conf),
    /// A key in a store.
    Store(Box<store::engine::Conf>),
}

/// An engine at work, on this thread's event loop.
#[derive(Debug)]
pub struct Engine {
    orders: Orders,
    task: JoinHandle<Value>,
}

#[derive(Debug)]
enum Orders {
    Vrrp(UnboundedSender<Order<vrrp::conf::Conf>>),
    /// With what it was made of.
    Store(UnboundedSender<Order<Box<store::engine::Conf>>>, Box<store::engine::Conf>),
}

impl Conf {
    /// The engine's name, in status and configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Vrrp(_) => "vrrp",
            Self::Store(store) => store.name(),
        }
    }
}

impl Engine {
    /// Starts an engine; `resumed` is what another program's ended with.
    pub fn start(conf: Conf, outlet: Outlet, resumed: Option<Resumed>) -> Self {
        match conf {
            Conf::Vrrp(conf) => {
                let (sender, orders) = unbounded_channel();
                let task = spawn_local(vrrp::engine::run(conf, orders, outlet, resumed));
                Self { orders: Orders::Vrrp(sender), task }
            }
            Conf::Store(conf) => {
                let (sender, orders) = unbounded_channel();
                let made_of = conf.clone();
                let task = spawn_local(store::engine::run(conf, orders, outlet, resumed));
                Self { orders: Orders::Store(sender, made_of), task }
            }
        }
    }

    /// A virtual router that does nothing, and what it is told.
    #[cfg(test)]
    pub(super) fn idle() -> (Self, tokio::sync::mpsc::UnboundedReceiver<Order<vrrp::conf::Conf>>) {
        let (sender, orders) = unbounded_channel();
        (Self { orders: Orders::Vrrp(sender), task: spawn_local(async { Value::Null }) }, orders)
    }

    /// Whether it can go on with this configuration.
    pub fn can_be(&self, conf: &Conf) -> bool {
        match (&self.orders, conf) {
            (Orders::Vrrp(_), Conf::Vrrp(_)) => true,
            (Orders::Store(_, made_of), Conf::Store(conf)) => made_of.can_become(conf),
            (Orders::Vrrp(_) | Orders::Store(..), _) => false,
        }
    }

    /// Whether another program can go on with what this one has won.
    pub fn can_hand_over(&self) -> bool {
        match &self.orders {
            Orders::Vrrp(_) => true,
            Orders::Store(_, made_of) => made_of.can_hand_over(),
        }
    }

    /// Tells it something. A configuration of another engine is nothing to it.
    pub fn tell(&self, order: Order<Conf>) {
        // An engine that has ended is told no more.
        match &self.orders {
            Orders::Vrrp(orders) => {
                let of_vrrp = |conf| match conf {
                    Conf::Vrrp(conf) => Some(conf),
                    Conf::Store(_) => None,
                };
                if let Some(order) = order.try_map(of_vrrp) {
                    let _ = orders.send(order);
                }
            }
            Orders::Store(orders, _) => {
                let of_store = |conf| match conf {
                    Conf::Store(conf) => Some(conf),
                    Conf::Vrrp(_) => None,
                };
                let _ = order.try_map(of_store).map(|order| orders.send(order));
            }
        }
    }

    /// Its end, after an order to end: what the next program's engine must know.
    pub async fn ended(self) -> Value {
        self.task.await.unwrap_or_default()
    }
}
