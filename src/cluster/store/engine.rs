//! A campaign at work: a store, the clock and the machine.

use std::{future::pending, pin::Pin, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::mpsc::UnboundedReceiver, time::timeout};

use super::{
    campaign::{Answer, Campaign, Next, Request, Won},
    etcd::Etcd,
    zookeeper::ZooKeeper,
};
use crate::cluster::{
    alarm::Alarm,
    boot_time::BootTime,
    conf::{EtcdConf, ZooKeeperConf},
    order::{Order, Outlet, Resumed},
    role::{Event, Standing},
};

/// What a store's engine is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Conf {
    /// What this node is called.
    pub node: String,
    /// The store.
    pub store: StoreConf,
}

/// Which store, and how it is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreConf {
    /// etcd.
    Etcd(Box<EtcdConf>),
    /// ZooKeeper.
    ZooKeeper(ZooKeeperConf),
}

impl Conf {
    /// The store's name.
    pub fn name(&self) -> &'static str {
        match &self.store {
            StoreConf::Etcd(_) => "etcd",
            StoreConf::ZooKeeper(_) => "zookeeper",
        }
    }

    /// Whether what was won with this configuration holds with the other.
    pub fn can_become(&self, other: &Self) -> bool {
        match (&self.store, &other.store) {
            (StoreConf::Etcd(before), StoreConf::Etcd(after)) => {
                // Where no server is the same it may be another store, in which others are elected.
                let is_kept = |it| after.endpoints.contains(it);
                before.key == after.key && before.endpoints.iter().any(is_kept)
            }
            (StoreConf::ZooKeeper(_), StoreConf::ZooKeeper(_)) => self == other,
            (StoreConf::Etcd(_) | StoreConf::ZooKeeper(_), _) => false,
        }
    }

    /// Whether another program can go on with what this one has won: a session of ZooKeeper is its client's.
    pub fn can_hand_over(&self) -> bool {
        matches!(self.store, StoreConf::Etcd(_))
    }

    /// How many servers are asked by turns: ZooKeeper's client does that by itself.
    fn servers(&self) -> usize {
        match &self.store {
            StoreConf::Etcd(etcd) => etcd.endpoints.len(),
            StoreConf::ZooKeeper(_) => 1,
        }
    }

    /// How long who is to be primary only where no other is waits for the others.
    fn patience(&self) -> Duration {
        match &self.store {
            StoreConf::Etcd(etcd) => etcd.lease,
            StoreConf::ZooKeeper(zookeeper) => zookeeper.session_timeout,
        }
    }
}

/// A store, as one node asks it.
#[derive(Debug)]
enum Store {
    Etcd(Box<Etcd>),
    ZooKeeper(Box<ZooKeeper>),
}

impl Store {
    fn new(conf: &Conf) -> Self {
        let node = conf.node.clone();
        match &conf.store {
            StoreConf::Etcd(conf) => Self::Etcd(Box::new(Etcd::new((**conf).clone(), node))),
            StoreConf::ZooKeeper(conf) => Self::ZooKeeper(Box::new(ZooKeeper::new(conf.clone(), node))),
        }
    }

    async fn ask(&mut self, request: &Request) -> Answer {
        match self {
            Self::Etcd(etcd) => etcd.ask(request).await,
            Self::ZooKeeper(zookeeper) => zookeeper.ask(request).await,
        }
    }

    /// Waits until something happens to the key, over a connection beside; false where that cannot be said any more.
    fn news(&self) -> News {
        match self {
            Self::Etcd(etcd) => Box::pin(etcd.news()),
            Self::ZooKeeper(zookeeper) => Box::pin(zookeeper.news()),
        }
    }

    /// The same for so long. A server of etcd that is silent is left for the next; ZooKeeper's client does so by itself.
    async fn ask_for(&mut self, request: &Request, patience: Duration) -> Answer {
        if let Ok(answer) = timeout(patience, self.ask(request)).await {
            return answer;
        }
        if let Self::Etcd(etcd) = self {
            etcd.give_up();
        }
        Answer::Failed(format!("no answer within {patience:?}"))
    }
}

/// What says that something happened to the key.
type News = Pin<Box<dyn Future<Output = bool>>>;

/// How long what was won may take to be given back at the end.
const LAST: Duration = Duration::from_millis(400);

/// Runs a campaign until it is told to end.
pub async fn run(
    conf: Box<Conf>,
    mut orders: UnboundedReceiver<Order<Box<Conf>>>,
    outlet: Outlet,
    resumed: Option<Resumed>,
) -> Value {
    let alarm = match Alarm::new() {
        Ok(alarm) => alarm,
        Err(error) => {
            tracing::error!(group = %outlet.name, "the election is not running: {error}");
            if resumed.is_some_and(|it| it.is_primary) {
                outlet.tell(Event::NotResumed);
            }
            return Value::Null;
        }
    };
    let mut store = Store::new(&conf);
    let (mut campaign, event) = begin(&mut store, resumed.as_ref()).await;
    campaign.ask_by_turns(conf.servers());
    let mut task = Task { store, conf, campaign, outlet, news: None };
    event.into_iter().for_each(|event| task.outlet.tell(event));
    loop {
        let order = tokio::select! {
            biased;
            order = orders.recv() => order.unwrap_or(Order::HandOver),
            () = task.turn(&alarm) => continue,
        };
        match order {
            Order::Stand(standing) => task.campaign.stand(standing),
            Order::Resign(standing) => task.campaign.resign(standing),
            // The addresses are gone: so is the role, which the node gives up.
            Order::Restart => task.outlet.tell(Event::Interrupted),
            Order::Conf(conf) => task.configure(conf),
            Order::Leave => {
                task.campaign.resign(Standing::Out);
                task.give_back().await;
                return Value::Null;
            }
            Order::HandOver => return task.state(),
        }
    }
}

struct Task {
    conf: Box<Conf>,
    store: Store,
    campaign: Campaign,
    outlet: Outlet,
    /// What happens to the key that this node has.
    news: Option<News>,
}

/// A campaign of a node that has nothing, or of one that goes on with what another program has won. Where that did not say
/// when it renewed its lease last, as versions before do not, or that was long ago, it must be renewed at once.
async fn begin(store: &mut Store, resumed: Option<&Resumed>) -> (Campaign, Option<Event>) {
    let nothing = || Campaign::new(Standing::Full);
    let Some(resumed) = resumed.filter(|it| it.is_primary) else { return (nothing(), None) };
    let number = |key: &str| resumed.state.get(key).and_then(Value::as_u64);
    let lease = resumed.state.get("lease").and_then(Value::as_i64);
    let (Some(lease), Some(fence), Some(ttl)) = (lease, number("fence"), number("ttl")) else {
        return (nothing(), Some(Event::NotResumed));
    };
    let ttl = Duration::from_micros(ttl);
    if let (Store::Etcd(etcd), Some(endpoint)) = (&mut *store, number("endpoint")) {
        etcd.begin_at(endpoint);
    }
    let now = BootTime::now();
    let is_long_enough = |sent: &BootTime| *sent <= now && sent.plus(ttl * 2 / 3) > now;
    if let Some(sent) = number("sent").map(BootTime).filter(is_long_enough) {
        return Campaign::resume(lease, fence, sent, ttl);
    }
    let sent = now;
    let request = Request::Renew { lease, fence };
    match store.ask_for(&request, ttl / 3).await {
        Answer::Renewed { ttl } => Campaign::resume(lease, fence, sent, ttl),
        // As an election that is over, so that the lease is given back once the addresses are gone.
        Answer::Failed(_) => Campaign::resume(lease, fence, now.minus(ttl), ttl),
        _ => (nothing(), Some(Event::NotResumed)),
    }
}

impl Task {
    /// Asks once, or waits. To be dropped when an order comes: what was asked then may have been done.
    async fn turn(&mut self, alarm: &Alarm) {
        let has_won = self.campaign.won().is_some();
        if !has_won {
            self.news = None;
        }
        match self.campaign.next(BootTime::now()) {
            Next::Rest => pending().await,
            // Who deletes the key by hand has another node elected at once.
            Next::Wait(until) if has_won => tokio::select! {
                biased;
                () = alarm.until(Some(until)) => {}
                () = self.hear() => self.campaign.renew_now(),
            },
            Next::Wait(until) => alarm.until(Some(until)).await,
            Next::Ask(request, patience) => {
                self.ask(&request, patience).await;
            }
        }
    }

    /// Waits until something happens to the key. What cannot be heard any more is begun anew after the next renewal.
    async fn hear(&mut self) {
        let is_heard = self.news.get_or_insert_with(|| self.store.news()).as_mut().await;
        self.news = None;
        if !is_heard {
            pending().await
        }
    }

    async fn ask(&mut self, request: &Request, patience: Option<Duration>) {
        let sent = BootTime::now();
        let answer = match patience {
            None => self.store.ask(request).await,
            Some(patience) => self.store.ask_for(request, patience).await,
        };
        let failure = match &answer {
            Answer::Failed(why) => Some(format!("{}: {why}", self.conf.name())),
            _ => None,
        };
        let event = self.campaign.on(answer, sent, BootTime::now(), self.conf.patience());
        match self.campaign.complaint().filter(|_| failure.is_none()) {
            Some(complaint) => self.complain(&format!("{}: {complaint}", self.conf.name())),
            None => self.report(failure),
        }
        let state = self.state();
        self.outlet.write(|group| group.state = state);
        event.into_iter().for_each(|event| self.outlet.tell(event));
    }

    /// Writes into the status who is primary, or why the store does not say.
    fn report(&self, failure: Option<String>) {
        let Some(failure) = failure else {
            let primary =
                self.campaign.holder().filter(|holder| *holder != self.conf.node).map(str::to_owned);
            let begins = self.conf.name();
            self.outlet.write(|group| {
                group.primary = primary;
                // What addresses have to say is theirs.
                if group.problem.as_ref().is_some_and(|problem| problem.starts_with(begins)) {
                    group.problem = None;
                }
            });
            return;
        };
        self.outlet.count("store_requests_failed", "");
        // One alone may be a connection that was closed while it was not used.
        if self.campaign.failures() > 1 {
            self.complain(&failure);
        }
    }

    fn complain(&self, problem: &str) {
        if self.outlet.replace_problem(problem) {
            tracing::warn!(group = %self.outlet.name, "{problem}");
        }
    }

    fn configure(&mut self, conf: Box<Conf>) {
        if self.conf != conf {
            self.store = Store::new(&conf);
            self.conf = conf;
            self.campaign.ask_by_turns(self.conf.servers());
            self.news = None;
            // Whether the key is the same there is asked at once.
            self.campaign.renew_now();
        }
    }

    /// Gives back what was won, for a bounded time.
    async fn give_back(&mut self) {
        let all = async {
            while let Next::Ask(request, _) = self.campaign.next(BootTime::now()) {
                let sent = BootTime::now();
                let answer = self.store.ask(&request).await;
                let event = self.campaign.on(answer, sent, BootTime::now(), Duration::ZERO);
                debug_assert!(event.is_none(), "nothing is won at the end");
            }
        };
        // Where the store does not answer, the lease ends by itself.
        let _ = timeout(LAST, all).await;
    }

    /// What another program needs to go on.
    fn state(&self) -> Value {
        match self.campaign.won() {
            None => Value::Null,
            Some(Won { lease, fence, ttl, sent }) => json!({
                "lease": lease,
                "fence": fence,
                "ttl": u64::try_from(ttl.as_micros()).unwrap_or(0),
                "sent": sent.0,
                "endpoint": match &self.store {
                    Store::Etcd(etcd) => etcd.endpoint(),
                    Store::ZooKeeper(_) => 0,
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::etcd::tests::{conf, run, server},
        *,
    };

    /// What the program before told, with its last renewal so long ago.
    fn resumed(ago: Option<Duration>) -> Resumed {
        let mut state = json!({"lease": 7, "fence": 3, "ttl": 2_000_000, "endpoint": 1});
        state["sent"] = ago.map_or(Value::Null, |ago| BootTime::now().minus(ago).0.into());
        Resumed { is_primary: true, fence: 3, state }
    }

    #[test]
    fn role_is_resumed_for_what_is_left_of_its_lease() {
        run(async || {
            let ttl = Duration::from_secs(2);
            let begin = async |ago| {
                let servers = vec![server(0).await, server(0).await];
                let etcd = StoreConf::Etcd(Box::new(conf(servers)));
                let mut store = Store::new(&Conf { node: "a".into(), store: etcd });
                let (campaign, event) = begin(&mut store, Some(&resumed(ago))).await;
                let Some(Event::Elected { until: Some(until), .. }) = event else { panic!("{event:?}") };
                let Store::Etcd(etcd) = store else { panic!() };
                (campaign.won().is_some(), until > BootTime::now(), etcd.endpoint())
            };
            // No server answers: nobody is asked while enough is left.
            assert_eq!(begin(Some(ttl / 4)).await, (true, true, 1));
            // Else one is, and the lease is known, to be given back.
            for ago in [Some(ttl), Some(Duration::from_secs(3600)), None] {
                assert_eq!(begin(ago).await, (true, false, 2));
            }
        });
    }

    #[test]
    fn server_that_answers_too_late_is_left_for_the_next() {
        run(async || {
            let servers = vec![server(0).await, server(9).await];
            let mut store =
                Store::new(&Conf { node: "a".into(), store: StoreConf::Etcd(Box::new(conf(servers))) });
            let patience = Duration::from_secs(2);
            assert!(matches!(store.ask_for(&Request::Look, patience).await, Answer::Failed(_)));
            assert_eq!(store.ask(&Request::Look).await, Answer::Free);
        });
    }
}
