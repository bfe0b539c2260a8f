//! The engines that there are: one arm each, behind the seam in [`super::order`].

use serde_json::Value;
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::{JoinHandle, spawn_local},
};

use super::{
    order::{Order, Outlet, Resumed},
    vrrp,
};

/// What an engine is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conf {
    /// A virtual router.
    Vrrp(vrrp::conf::Conf),
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
}

impl Conf {
    /// The engine's name, in status and configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Vrrp(_) => "vrrp",
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
        }
    }

    /// Whether it can go on with this configuration.
    pub fn can_be(&self, conf: &Conf) -> bool {
        match (&self.orders, conf) {
            (Orders::Vrrp(_), Conf::Vrrp(_)) => true,
        }
    }

    /// Tells it something. A configuration of another engine is nothing to it.
    pub fn tell(&self, order: Order<Conf>) {
        // An engine that has ended is told no more.
        match &self.orders {
            Orders::Vrrp(orders) => {
                let of_vrrp = |conf| match conf {
                    Conf::Vrrp(conf) => Some(conf),
                };
                let _ = order.try_map(of_vrrp).map(|order| orders.send(order));
            }
        }
    }

    /// Its end, after an order to end: what the next program's engine must know.
    pub async fn ended(self) -> Value {
        self.task.await.unwrap_or_default()
    }
}
