//! The interface of a virtual router: its sockets are opened, and closed where it has no carrier or address any more.
//!
//! Whatever waits for the kernel's lock is done by another thread: another program may hold that for half a second, and
//! advertisements are not late for it.

use std::io;

use tokio::task::spawn_blocking;

use super::{
    engine::{AGAIN, Task},
    router::Router,
    socket::Opened,
};
use crate::cluster::{
    boot_time::BootTime,
    netlink::{
        message::Message,
        socket::{Netlink, News},
    },
    role::Event,
};

impl Task {
    /// Has the sockets opened: the first ones, or others in place of those that there are.
    pub(super) fn open(&mut self) {
        self.retry = None;
        let conf = self.conf.clone();
        // What was being opened for another configuration is closed when it is there.
        self.opening = Some(spawn_blocking(move || Opened::open(&conf)));
    }

    /// Begins with sockets, or goes on with others.
    pub(super) fn opened(&mut self, opened: io::Result<Opened>, now: BootTime) {
        let socket = match opened.and_then(Opened::register) {
            Ok(socket) => socket,
            Err(error) => {
                // Of what changed while they were being opened nothing is known: they are tried again at once then.
                let news = self.retry;
                self.close(&error.to_string(), now);
                self.retry = news.or(self.retry);
                return;
            }
        };
        if self.retry.take().is_some() {
            // Something changed meanwhile: it is looked at again.
            self.looked = BootTime(0);
        }
        let (settings, source) = (self.conf.settings, socket.source);
        if let Some((before, _)) = &mut self.link {
            *before = socket;
            self.leave_words();
            self.turn(now, |router, now| router.configure(settings, source, now));
            return;
        }
        self.link = Some((socket, Router::new(settings, source, now)));
        self.leave_words();
        self.outlet.write(|group| group.problem = None);
        let standing = self.standing;
        self.turn(now, |router, now| router.stand(standing, now));
        if self.adopts {
            self.turn(now, Router::adopt);
        }
    }

    /// Takes no part until the sockets can be opened.
    fn close(&mut self, why: &str, now: BootTime) {
        self.link = None;
        self.retry = Some(now.plus(AGAIN));
        // Another node has the role by the time that this one is back.
        if std::mem::take(&mut self.adopts) {
            self.outlet.tell(Event::NotResumed);
        }
        let is_new = self.outlet.replace_problem(why);
        if is_new {
            tracing::warn!(group = %self.outlet.name, "the election is not running: {why}");
        }
        if std::mem::take(&mut self.is_primary) {
            self.outlet.tell(Event::Lost(why.to_owned()));
        }
    }

    /// Has somebody look whether the interface has a carrier still: news may be lost.
    pub(super) fn look(&mut self, now: BootTime) {
        self.looked = now;
        let Some((socket, _)) = self.link.as_ref().filter(|_| self.looking.is_none()) else { return };
        let interface = socket.interface;
        let look = move || Ok(Netlink::open()?.link(interface)?.is_running);
        self.looking = Some(spawn_blocking(look));
    }

    /// Where the kernel did not answer, nothing is known.
    pub(super) fn looked(&mut self, is_running: io::Result<bool>, now: BootTime) {
        if self.link.is_some() && is_running.is_ok_and(|is_running| !is_running) {
            self.close(&format!("{} has no carrier", self.conf.interface), now);
        }
    }

    /// News of the interface.
    pub(super) fn hear(&mut self, news: &News) {
        while let Some(messages) = news.read() {
            for message in messages {
                let own = self.link.as_ref().map(|(socket, _)| (socket.interface, socket.source));
                let interface = own.map(|(interface, _)| interface);
                match message {
                    Message::Gone(gone) if own == Some((gone.interface, gone.address.addr())) => {
                        let why = format!("{} has no address to send from", self.conf.interface);
                        self.close(&why, BootTime::now());
                    }
                    Message::Link(link) if Some(link.interface) == interface && !link.is_running => {
                        self.close(&format!("{} has no carrier", self.conf.interface), BootTime::now());
                    }
                    Message::Link(_) | Message::Address(_) if self.link.is_none() => {
                        self.retry = Some(BootTime::now());
                    }
                    Message::Link(_)
                    | Message::Address(_)
                    | Message::Gone(_)
                    | Message::Answer { .. }
                    | Message::Done
                    | Message::Other => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, time::Duration};

    use serde_json::{Value, json};
    use tokio::{runtime::LocalRuntime, sync::mpsc::unbounded_channel, task::spawn_local, time::timeout};

    use super::{super::engine, *};
    use crate::cluster::{
        engine::Conf,
        order::{Order, Outlet, Resumed},
        plan::{self, tests::conf},
    };

    /// What a virtual router over this interface tells first that goes on with a role, whose program ended with `state`.
    fn told(interface: &str, state: Value) -> Option<Event> {
        LocalRuntime::new().unwrap().block_on(async {
            let address = "[[virtual_ip]]\naddress = \"10.0.0.1/24\"\ninterface = \"lo\"\n";
            let plan = plan::groups(&conf(address)).remove(0);
            let Conf::Vrrp(mut router) = plan.engine else { panic!("no router") };
            router.interface = interface.into();
            let ((events, mut told), (orders, taken)) = (unbounded_channel(), unbounded_channel());
            let outlet = Outlet {
                group: 1,
                name: plan.name,
                events,
                status: std::sync::Arc::default(),
                has_acted: Rc::new(|| false),
                last_words: Rc::default(),
            };
            let resumed = Resumed { is_primary: true, fence: 3, state };
            let running = spawn_local(engine::run(router, taken, outlet, Some(resumed)));
            let first = timeout(Duration::from_secs(5), told.recv()).await.ok().flatten();
            orders.send(Order::HandOver).unwrap();
            assert_eq!(running.await.unwrap(), json!({"is_primary": false}));
            first.map(|(_, event)| event)
        })
    }

    #[test]
    fn role_that_it_cannot_go_on_with_is_given_up() {
        assert_eq!(told("none0", Value::Null), Some(Event::NotResumed));
        // Lost when the node of the program before could not hear of it any more.
        assert_eq!(told("none0", json!({"is_primary": false})), Some(Event::NotResumed));
    }
}
