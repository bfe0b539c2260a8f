//! Bringing what was accepted to the origin: the other half of the write policy `back`.
//!
//! Previous stop: a journal, which hands out the oldest write of each URI. Next stop: `http::proxy`, as for any
//! request, so that balancing, retries and health are the same. One worker does it, for every journal that is open.
//!
//! A write is done with when the origin answers 2xx or 3xx; what it refuses with 4xx it would refuse again, and it is
//! set aside; everything else is tried again. What is stored of the URI is forgotten before the journal lets go of the
//! write, so that at no moment between the two something older answers.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_local},
};

use super::{
    invalidate::invalidate,
    place::{exchange_of, find},
};
use crate::{
    config::listen::PathsConf,
    error::{Kind, ProxyError, Result},
    exchange::Exchange,
    h1::Framing,
    http::{
        context::{RequestPlan, RouteContext},
        detached::Detached,
        proxy,
        respond::{self, Discard, Patience, Source},
    },
    moment::Moment,
    route::rewrite::Rewrite,
    runtime::{Action, Worker, snapshot::choose},
    telemetry::clock,
    upstream::{UpstreamResponse, request_head::Settled, response::BodyLength},
    writeback::{
        journal::{Delivery, Journal, Write},
        journals::Journals,
    },
};

/// Deliveries of one journal that are under way at once, of as many URIs.
const AT_ONCE: usize = 8;
/// How often it is looked whether a journal is still needed, and whether all its tasks are there.
const TURN: Duration = Duration::from_secs(1);
/// How long a delivery under way is waited for when another program takes over; cut off, it is made again there.
const GRACE: Duration = Duration::from_secs(10);
/// The same when this program ends, and nothing else keeps it.
pub const LAST_GRACE: Duration = Duration::from_secs(2);
/// How long the rest of an answer is read, whose head said enough.
const REST: Duration = Duration::from_secs(5);
/// What a backend must take of a write in each second, over all of it: slower than any line, and who takes it byte by byte
/// would hold up those behind it without end.
const LEAST_RATE: u64 = 4 * 1024;
/// How often a journal whose deliveries fail is complained about.
const COMPLAINT: Duration = Duration::from_secs(30);

/// Delivers from every journal, until they are closed and what is under way has come to its end; to be run by one
/// worker.
pub async fn run(worker: Rc<Worker>) {
    let journals: Arc<Journals> = worker.shared.registry.journals.clone();
    let mut services: Vec<Service> = Vec::new();
    while !journals.is_closed() {
        for journal in journals.in_force() {
            if !services.iter().any(|service| Arc::ptr_eq(&service.journal, &journal)) {
                services.push(Service::new(journal));
            }
        }
        let (needed, unneeded): (Vec<_>, Vec<_>) = services.into_iter().partition(Service::is_needed);
        services = needed;
        services.iter_mut().for_each(|service| service.tend(&worker));
        for service in unneeded {
            spawn_local(service.let_go());
        }
        let _either = tokio::time::timeout(TURN, journals.changed()).await;
    }
    let finishing: Vec<_> = services.into_iter().map(|service| spawn_local(service.finish())).collect();
    for finishing in finishing {
        let _it_panicked = finishing.await;
    }
}

/// What delivers from one journal.
struct Service {
    journal: Arc<Journal>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    log: Rc<Log>,
}

impl Service {
    fn new(journal: Arc<Journal>) -> Self {
        Self { journal, stop: watch::Sender::new(false), tasks: Vec::new(), log: Rc::default() }
    }

    /// Whether something waits, or somebody has the journal who may add to it: then there are more who hold it than are
    /// here.
    fn is_needed(&self) -> bool {
        // One that panicked has let go of it.
        let tasks = self.tasks.iter().filter(|task| !task.is_finished());
        self.journal.is_needed(1 + tasks.count())
    }

    /// Ends its tasks, which wait for nothing, and lets go of the journal.
    async fn let_go(self) {
        let Self { tasks, .. } = self;
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            let _aborted = task.await;
        }
    }

    /// Has as many tasks as there should be: one that panicked is no more.
    fn tend(&mut self, worker: &Rc<Worker>) {
        self.tasks.retain(|task| !task.is_finished());
        while self.tasks.len() < AT_ONCE {
            let (journal, stop) = (self.journal.clone(), self.stop.subscribe());
            self.tasks.push(spawn_local(deliver_all(worker.clone(), journal, stop, self.log.clone())));
        }
    }

    /// Lets what is under way come to its end, and lets go of the journal.
    async fn finish(self) {
        let Self { stop, tasks, .. } = self;
        stop.send_replace(true);
        let end = tokio::time::Instant::now() + GRACE;
        for mut task in tasks {
            if tokio::time::timeout_at(end, &mut task).await.is_err() {
                task.abort();
                let _cut_off = task.await;
            }
        }
    }
}

async fn deliver_all(
    worker: Rc<Worker>,
    journal: Arc<Journal>,
    mut stop: watch::Receiver<bool>,
    log: Rc<Log>,
) {
    loop {
        let delivery = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            delivery = journal.next() => delivery,
        };
        deliver(&worker, &journal, delivery, &log).await;
    }
}

/// Makes one attempt.
async fn deliver(worker: &Rc<Worker>, journal: &Journal, delivery: Delivery, log: &Log) {
    let write = delivery.write();
    match send(worker, write).await {
        // An origin may answer before it has read the whole write. It has not taken it then, unless it does.
        Ok((200..=399, rest)) if rest.response.is_uploaded() => {
            delivery.delivered();
            log.delivered();
            rest.discard().await;
        }
        Ok((status @ 200..=399, rest)) => {
            if rest.discard().await {
                delivery.delivered();
                log.delivered();
            } else {
                log.failed(
                    journal,
                    write,
                    &format!("the origin answered {status} and did not take all of it"),
                );
                delivery.failed(Moment::now());
            }
        }
        Ok((status @ (400..=407 | 409..=424 | 426..=428 | 430..=499), rest)) => {
            delivery.set_aside(&format!("the origin answered {status}"));
            rest.let_go().await;
        }
        Ok((status, rest)) => {
            log.failed(journal, write, &format!("the origin answered {status}"));
            delivery.failed(Moment::now());
            rest.let_go().await;
        }
        Err(error) => {
            log.failed(journal, write, &error.to_string());
            delivery.failed(Moment::now());
        }
    }
}

/// A response whose head said enough.
pub(in crate::http) struct Rest {
    response: UpstreamResponse,
    idle: Duration,
    /// When the backend must have the whole write.
    end: Moment,
    /// Whose the write is.
    nobody: Detached<'static>,
}

/// Sends a write; gives the status of the answer, and what is left of both.
pub(in crate::http) async fn send(worker: &Rc<Worker>, write: &Write) -> Result<(u16, Rest)> {
    // Which listener's paths count is found with the route.
    let mut exchange = exchange_of(worker, write, &PathsConf::default())?;
    let rest = ask(worker, &mut exchange, write).await;
    let status = exchange.response.status;
    worker.give_back(exchange);
    rest.map(|rest| (status, rest))
}

/// Sends a write; the head of the answer is in `exchange.response`, and what it made old is forgotten.
async fn ask(worker: &Rc<Worker>, exchange: &mut Exchange, write: &Write) -> Result<Rest> {
    let snapshot = worker.snapshot();
    let (listener, index, route) = find(&snapshot.shared, exchange, write).ok_or_else(|| {
        ProxyError::because(Kind::NoRoute, "no route leads to an upstream any more; the write is kept")
    })?;
    let upstream = match &route.action {
        Action::Upstream(index) => *index,
        Action::Split(choices, total) => choose(choices, *total),
        Action::Redirect { .. } | Action::Respond { .. } | Action::Files(_) => {
            return Err(Kind::NoRoute.into());
        }
    };
    if route.rewrite.as_ref().is_some_and(Rewrite::is_of_connection) {
        // By a newer configuration, or of a version that accepted it.
        let why =
            "the route's rewrite has something of the client's connection, which is gone; the write is kept";
        return Err(ProxyError::because(Kind::NoRoute, why));
    }
    (exchange.facts.route, exchange.facts.upstream) = (Some(index), Some(upstream));
    // The exchange is new, and nobody else has a part of it.
    if let Some(peer) = Rc::get_mut(&mut exchange.facts.peer) {
        peer.terms = listener.terms.clone();
    }
    let worker_upstream = snapshot.upstream(upstream).ok_or(Kind::NoBackend)?;
    let context = RouteContext { snapshot: &snapshot, listener, route, worker_upstream };
    let length = write.body.len() as u64;
    let framing = if length > 0 { Framing::Length(length) } else { Framing::None };
    let plan = RequestPlan { framing, has_body: length > 0, is_upgrade: false };
    let mut nobody = Detached::with(write.body.clone());
    let most = longest(&context, length);
    let end = Moment::now().plus(most);
    // The edits are those of then, whatever the route sets or removes now.
    let let_in = Some(Settled::of_bits(write.settled));
    let asked = proxy::ask_with(&context, (plan, None, let_in), exchange, &mut nobody);
    let too_slow = |_| ProxyError::because(Kind::ResponseTimeout, "it took the write too slowly");
    let response = tokio::time::timeout(most, asked).await.map_err(too_slow)??.response;
    if let Some(cache) = &route.cache {
        invalidate(&context, cache, exchange);
    }
    Ok(Rest { response, idle: context.response_body_timeout(), end, nobody })
}

/// How long a backend may take to have a whole write, whether it answers before it or behind it: as long as its attempts
/// may take without a body, and the body at the least rate.
fn longest(context: &RouteContext<'_>, length: u64) -> Duration {
    let conf = &context.worker_upstream.upstream.conf;
    let timeouts = &context.route.timeouts;
    let attempt = conf.queue.timeout
        + timeouts.connect.unwrap_or(conf.connect_timeout)
        + timeouts.response.unwrap_or(conf.response_timeout);
    attempt * conf.retry.attempts + context.response_body_timeout() + Duration::from_secs(length / LEAST_RATE)
}

impl Rest {
    /// Reads what is left of the response of a backend that has refused the write. Where it has not taken all of that, no
    /// more is sent: it would hold up other writes, and the backend, for nothing.
    pub(in crate::http) async fn let_go(self) {
        if self.response.is_uploaded() {
            self.discard().await;
        }
    }

    /// Reads what is left of the response, so that the connection can be used again, and sends what is left of the write.
    /// False where neither the backend took all of that, nor its response says that it needs no more.
    pub(in crate::http) async fn discard(mut self) -> bool {
        let is_uploaded = self.response.is_uploaded();
        if is_uploaded && self.response.length() == BodyLength::Known(0) {
            self.response.release();
            return true;
        }
        // Where the backend has the write, what counts is what the head said. Else the limit of the whole goes on.
        let (backend, end) = match is_uploaded {
            true => (self.idle.min(REST), Moment::now().plus(self.idle.min(REST))),
            false => (self.idle, self.end),
        };
        let patience = Patience { backend, client: None, min_rate: 0, holds_place: false, end: Some(end) };
        let mut sink = Discard::with_rest(&mut self.nobody, REST);
        let is_whole = respond::pump(Source::Upstream(self.response), patience, &mut sink).await.is_ok();
        is_whole || is_uploaded || sink.is_uploaded()
    }
}

/// What is said of deliveries that fail: now and then, not for each.
#[derive(Debug, Default)]
struct Log {
    complained: Cell<Option<Moment>>,
}

impl Log {
    fn failed(&self, journal: &Journal, write: &Write, why: &str) {
        let now = Moment::now();
        if self.complained.get().is_some_and(|last| now.since(last) < COMPLAINT) {
            return;
        }
        self.complained.set(Some(now));
        let stats = journal.stats();
        let oldest = stats.oldest.map_or(0, |oldest| (clock::unix_millis() / 1000).saturating_sub(oldest));
        tracing::warn!(
            route = write.route,
            waiting = stats.entries,
            oldest_seconds = oldest,
            "{} {}{} cannot be delivered yet, and will be retried: {why}",
            write.method,
            write.authority,
            write.target
        );
    }

    fn delivered(&self) {
        if self.complained.take().is_some() {
            tracing::info!("writes are delivered again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::mpsc::channel};

    use super::*;
    use crate::writeback::journal::{Ends, Options};

    #[test]
    fn a_journal_is_let_go_of_beside_the_loop() {
        let path = std::env::temp_dir().join(format!("pointsman-deliver-{}", std::process::id()));
        let (go, stall) = channel::<()>();
        let wait = move || _ = stall.recv_timeout(Duration::from_secs(10));
        let ends = Arc::<Ends>::default();
        let options = Options::new(&path, 1 << 20).closing_among(&ends);
        let journal = Journal::open_stalled(&options, wait);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut service = Service::new(journal.clone());
            service.tasks.push(spawn_local(async move {
                let _held = journal;
                pending::<()>().await;
            }));
            tokio::task::yield_now().await;
            assert!(!service.is_needed(), "its own are the only ones who have it");
            service.let_go().await;
        });
        assert!(go.send(()).is_ok(), "the loop waited for the disk");
        ends.wait_for_all();
        std::fs::remove_dir_all(path).unwrap();
    }
}
