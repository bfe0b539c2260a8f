//! A virtual router at work: sockets, clock and machine.

use std::{io, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinHandle};

use super::{
    conf::Conf,
    router::{Action, Heard, Router},
    socket::{Opened, Received, VrrpSocket},
};
use crate::{
    cluster::{
        alarm::Alarm,
        boot_time::BootTime,
        netlink::socket::News,
        order::{LastWord, Order, Outlet, Resumed},
        role::{Event, Standing},
    },
    moment::Moment,
    telemetry::repeated::Repeated,
};

/// How long until sockets that could not be opened are tried again, and between two looks at the carrier.
pub(super) const AGAIN: Duration = Duration::from_secs(1);
/// Advertisements that are read before anything else may be done.
const AT_ONCE: usize = 64;

/// Runs a virtual router until it is told to end.
pub async fn run(
    conf: Conf,
    orders: UnboundedReceiver<Order<Conf>>,
    outlet: Outlet,
    resumed: Option<Resumed>,
) -> Value {
    let (alarm, news) = match (Alarm::new(), News::open()) {
        (Ok(alarm), Ok(news)) => (alarm, news),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(group = %outlet.name, "the virtual router is not running: {error}");
            if resumed.is_some_and(|it| it.is_primary) {
                outlet.tell(Event::NotResumed);
            }
            return Value::Null;
        }
    };
    let fence = resumed.as_ref().map_or(0, |it| it.fence);
    let was_primary = resumed.as_ref().is_some_and(|it| it.is_primary);
    // Of a program before that says nothing of it the node's word holds.
    let adopts = was_primary && resumed.is_some_and(|it| it.state != json!({"is_primary": false}));
    let mut task = Task {
        conf,
        outlet,
        link: None,
        opening: None,
        looking: None,
        retry: None,
        standing: Standing::Full,
        fence,
        adopts,
        is_primary: false,
        has_warned: false,
        looked: BootTime(0),
    };
    if was_primary && !adopts {
        task.outlet.tell(Event::NotResumed);
    }
    task.open();
    task.serve(orders, &alarm, &news).await;
    // It may have lost the role when the node could not hear of it any more.
    json!({"is_primary": task.is_primary})
}

/// A virtual router at work.
pub(super) struct Task {
    pub(super) conf: Conf,
    pub(super) outlet: Outlet,
    /// The sockets and the machine; `None` while the interface is not there, has no carrier or no address.
    pub(super) link: Option<(VrrpSocket, Router)>,
    /// Sockets that are being opened, on a thread that may wait for the kernel.
    pub(super) opening: Option<JoinHandle<io::Result<Opened>>>,
    /// The interface is being looked at, on such a thread: whether it has a carrier.
    pub(super) looking: Option<JoinHandle<io::Result<bool>>>,
    /// When to try again to have them.
    pub(super) retry: Option<BootTime>,
    pub(super) standing: Standing,
    /// How often this node was elected.
    pub(super) fence: u64,
    /// It goes on as the primary that another program was, as soon as it can.
    pub(super) adopts: bool,
    /// What the node was told last.
    pub(super) is_primary: bool,
    /// The log has that a peer makes its checksums in another way.
    pub(super) has_warned: bool,
    /// When the interface was looked at last.
    pub(super) looked: BootTime,
}

impl Task {
    async fn serve(&mut self, mut orders: UnboundedReceiver<Order<Conf>>, alarm: &Alarm, news: &News) {
        loop {
            let deadline = match &self.link {
                Some((_, router)) => router.deadline(),
                None => self.retry.filter(|_| self.opening.is_none()),
            };
            let order = tokio::select! {
                biased;
                order = orders.recv() => Some(order.unwrap_or(Order::HandOver)),
                () = readable(self.link.as_ref()) => None,
                () = news.readable() => {
                    self.hear(news);
                    None
                }
                opened = finished(&mut self.opening) => {
                    self.opened(opened, BootTime::now());
                    None
                }
                is_running = finished(&mut self.looking) => {
                    self.looked(is_running, BootTime::now());
                    None
                }
                () = alarm.until(deadline) => None,
            };
            let is_over = matches!(order, Some(Order::Restart));
            if is_over || (self.is_primary || self.adopts) && (self.outlet.has_acted)() {
                // Whatever is read or due was so for one who is not primary any more.
                self.restart(BootTime::now());
            }
            // Before the order and the clock: what waits came before them.
            self.receive();
            let now = BootTime::now();
            match order {
                Some(order) => {
                    if self.obey(order, now) {
                        return;
                    }
                }
                None => self.turn(now, |router, now| router.tick(now)),
            }
            if now.since(self.looked) >= AGAIN {
                self.look(now);
            }
            let is_due = self.opening.is_none() && self.retry.is_some_and(|retry| retry <= now);
            if self.link.is_none() && is_due {
                self.open();
            }
        }
    }

    /// Does what it is told; gives whether that was the end.
    fn obey(&mut self, order: Order<Conf>, now: BootTime) -> bool {
        match order {
            Order::Stand(standing) => {
                self.standing = standing;
                self.turn(now, |router, now| router.stand(standing, now));
            }
            Order::Resign(standing) => {
                (self.standing, self.is_primary, self.adopts) = (standing, false, false);
                self.turn(now, |router, now| router.resign(standing, now));
            }
            Order::Restart => self.restart(now),
            Order::Conf(conf) => self.configure(conf, now),
            Order::Leave => {
                self.turn(now, |router, now| router.resign(Standing::Out, now));
                return true;
            }
            Order::HandOver => return true,
        }
        false
    }

    fn restart(&mut self, now: BootTime) {
        (self.is_primary, self.adopts) = (false, false);
        self.link.iter_mut().for_each(|(_, router)| router.restart(now));
    }

    fn configure(&mut self, conf: Conf, now: BootTime) {
        let is_other_way = self.conf.peers != conf.peers || self.conf.interface != conf.interface;
        self.conf = conf;
        if is_other_way && (self.link.is_some() || self.opening.is_some()) {
            self.open();
        }
        self.leave_words();
        let settings = self.conf.settings;
        let source = self.link.as_ref().map(|(socket, _)| socket.source);
        if let Some(source) = source {
            self.turn(now, |router, now| router.configure(settings, source, now));
        }
    }

    /// Reads what waits.
    fn receive(&mut self) {
        for _ in 0..AT_ONCE {
            let Some(received) = self.link.as_ref().and_then(|(socket, _)| socket.receive(&self.conf)) else {
                return;
            };
            let Received { source, result } = received;
            match result {
                Ok(advertisement) => {
                    if advertisement.addresses != self.conf.addresses && !self.conf.addresses.is_empty() {
                        // RFC 9568 §7.1: it counts nevertheless, since there shall be one primary.
                        self.outlet.count("advertisements_differ", "addresses");
                    }
                    let heard = Heard {
                        source,
                        priority: advertisement.priority,
                        interval: advertisement.interval(),
                    };
                    self.note(heard);
                    self.note_checksum(source);
                    self.turn(BootTime::now(), |router, now| router.on_advertisement(heard, now));
                }
                Err(refused) => self.refuse(source, refused),
            }
        }
    }

    /// Lets the machine turn once, and does what comes out.
    pub(super) fn turn(&mut self, now: BootTime, turn: impl FnOnce(&mut Router, BootTime) -> Vec<Action>) {
        let Some((_, router)) = &mut self.link else { return };
        for action in turn(router, now) {
            self.perform(action);
        }
        let primary = self.link.as_ref().and_then(|(_, router)| router.heard_primary());
        self.outlet.write(|group| group.primary = primary.map(|address| address.to_string()));
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Advertise(priority) => {
                let sent = self.link.as_ref().map(|(socket, _)| socket.advertise(&self.conf, priority));
                self.outlet.count("advertisements_sent", "");
                if let Some(Err(error)) = sent {
                    static FAILED: Repeated = Repeated::new();
                    self.outlet.count("advertisements_sent", "failed");
                    if let Some(times) = FAILED.count(Moment::now()) {
                        tracing::warn!(group = %self.outlet.name, times, "cannot advertise: {error}");
                    }
                }
            }
            Action::Elected(reason) => {
                self.fence += u64::from(!std::mem::take(&mut self.adopts) || self.fence == 0);
                self.is_primary = true;
                let (fence, asked) = (self.fence, BootTime::now());
                self.outlet.tell(Event::Elected { fence, asked, until: None, reason });
            }
            Action::Lost(reason) => {
                self.is_primary = false;
                self.outlet.tell(Event::Lost(reason));
            }
            Action::Contested(reason) => self.outlet.tell(Event::Contested(reason)),
        }
    }

    /// Priority 0, to be said where this node cannot.
    pub(super) fn leave_words(&self) {
        let Some((socket, _)) = &self.link else { return };
        let word =
            |(packet, destination)| LastWord { interface: self.conf.interface.clone(), destination, packet };
        self.outlet.leave_words(socket.packets(&self.conf, 0).into_iter().map(word).collect());
    }
}

/// What came of what another thread does; waits for ever where none does anything.
async fn finished<T>(work: &mut Option<JoinHandle<io::Result<T>>>) -> io::Result<T> {
    let Some(running) = work else { return std::future::pending().await };
    let done = running.await;
    *work = None;
    done.map_err(io::Error::other)?
}

async fn readable(link: Option<&(VrrpSocket, Router)>) {
    match link {
        Some((socket, _)) => socket.readable().await,
        None => std::future::pending().await,
    }
}
