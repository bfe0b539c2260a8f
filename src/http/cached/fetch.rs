//! A fetch that others may wait for: a task of its own on the worker of the request that led to it.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    conclude::{Conclusion, Lead, conclude, remember},
    disk_lookup::{self, DiskLookup},
    fill_sink::fill,
    origin::{self, NotShared, OriginReply, OriginRequest},
    peer::{self, Owner},
    request::{CacheRequest, Miss, ServedFrom, has_credentials},
};
use crate::{
    cache::{
        cache_control::RequestControl,
        fill::{self, Joined, Origin, Reader, Source, Want},
        freshness::Verdict,
        origin_id::OriginId,
        status::Forward,
        store::Cache,
        stored::Stored,
        stored_response::StoredResponse,
    },
    error::{Kind, ProxyError, Result},
    exchange::Exchange,
    h1::Method,
    http::{
        active::ActiveExchange, answer::Answer, context::RouteContext, detached::Detached, interims::Interims,
    },
    moment::Moment,
    runtime::{ListenerId, WorkerSnapshot, worker::Fetching},
};

/// A fetch.
struct Fetch {
    /// The request, forked from the one that leads.
    exchange: Box<Exchange>,
    snapshot: Rc<WorkerSnapshot>,
    listener: ListenerId,
    /// The worker ends after it.
    alive: Fetching,
    cache: Arc<Cache>,
    control: RequestControl,
    /// What is stored, to be validated, and else why the origin is asked.
    miss: Miss,
    /// The peer that is asked before the origin, where one is.
    owner: Option<Owner>,
    /// Who leads hears of the head, if it is still there.
    reply: oneshot::Sender<FetchReply>,
    /// And of what comes before it; none where nobody is to hear.
    interims: Option<Rc<Interims>>,
    /// What it refreshes in the background; the reader stands for all who will ask.
    refresh: Option<(Refresh, Reader)>,
}

/// What the leader hears.
pub(super) struct FetchReply {
    /// The request as it was asked, its response, and who was asked.
    pub(super) exchange: Box<Exchange>,
    pub(super) result: FetchResult,
}

/// What became of a fetch.
pub(super) enum FetchResult {
    /// Everyone reads it from the fill.
    Shared(Arc<fill::Answer>),
    /// What is stored answers.
    Stored(Stored, ServedFrom),
    /// It is the leader's alone.
    Own { answer: Box<Answer>, why: NotShared },
    /// There is none.
    Failed(ProxyError),
}

/// A refresh in the background; when it ends, another may begin.
struct Refresh(Arc<StoredResponse>, OriginId);

impl Drop for Refresh {
    fn drop(&mut self) {
        self.0.end_refresh(self.1);
    }
}

/// Begins a fetch as a task of its own: it goes on when this client leaves and others wait.
pub(super) fn begin(
    request: &CacheRequest<'_>,
    miss: &Miss,
    source: Source,
    interims: Option<Rc<Interims>>,
    exchange: &mut ActiveExchange,
) -> oneshot::Receiver<FetchReply> {
    let (reply, hears) = oneshot::channel();
    let fork = exchange.fork().into_inner();
    let fetch = Fetch::new(request, miss.clone(), (reply, interims, None), (fork, exchange));
    tokio::task::spawn_local(fetch.run(source));
    hears
}

/// Has a stale response refreshed in the background, unless that is done already.
pub(super) fn refresh(
    request: &CacheRequest<'_>,
    stored: &Arc<StoredResponse>,
    exchange: &mut ActiveExchange,
) {
    let origin = request.origin();
    if !stored.begin_refresh(origin) {
        return;
    }
    let refresh = Refresh(stored.clone(), origin);
    let expected = (!stored.entry.vary.is_nothing()).then(|| stored.variant.clone());
    let fields = &exchange.request.fields;
    let want = Want {
        key: &request.key,
        request: fields,
        origin,
        expected: expected.clone(),
        accepts: &|_| true,
        now: Moment::now(),
        patience: request.cache.conf.collapse.timeout,
    };
    let Joined::Lead(source, reader) = request.cache.store.fills.join(&want, || false) else { return };
    let mut fork = exchange.fork().into_inner();
    // Its spans are not this request's.
    exchange.facts.recording = fork.facts.recording.take();
    fork.request.method = Method::Get;
    let miss = Miss { stored: Some(Stored::Memory(stored.clone())), why: Forward::Stale, expected };
    let nobody = oneshot::channel().0;
    let fetch = Fetch::new(request, miss, (nobody, None, Some((refresh, reader))), (fork, exchange));
    tokio::task::spawn_local(fetch.run(source));
}

type Hearers = (oneshot::Sender<FetchReply>, Option<Rc<Interims>>, Option<(Refresh, Reader)>);

impl Fetch {
    fn new(
        request: &CacheRequest<'_>,
        miss: Miss,
        (reply, interims, refresh): Hearers,
        (fork, exchange): (Box<Exchange>, &ActiveExchange),
    ) -> Self {
        Self {
            exchange: fork,
            snapshot: exchange.snapshot().clone(),
            listener: exchange.listener(),
            alive: exchange.worker().begin_fetch(),
            cache: request.cache.clone(),
            control: request.control.clone(),
            miss,
            owner: peer::owner(request.context.route, request.cache, &request.key, exchange),
            reply,
            interims,
            refresh,
        }
    }

    async fn run(mut self, source: Source) {
        if self.miss.stored.is_none() {
            let request = &self.exchange.request.fields;
            match disk_lookup::find(&self.cache, source.key(), request, &self.control).await {
                Some(DiskLookup { stored, verdict: Some(verdict) }) => {
                    return self.found(stored, verdict, source);
                }
                Some(DiskLookup { stored, verdict: None }) => self.miss.stored = Some(stored),
                None => {}
            }
        }
        let stored = self.miss.stored.clone();
        let snapshot = self.snapshot.clone();
        let route = self.exchange.facts.route.and_then(|index| snapshot.shared.routes.get(index));
        let route = route.map(|route| &**route);
        // A refresh goes out as the request that found it stale, with what that has.
        let is_personal =
            !self.cache.conf.collapse.credentials && has_credentials(&self.exchange.request.fields);
        let is_conditional = origin::prepare((&self.cache, route), &mut self.exchange, stored.as_ref());
        let reply = self.ask(&source, is_conditional).await;
        let key = source.key().clone();
        let conclusion = match self.context(&self.snapshot.clone()) {
            Ok(context) => {
                let (cache, control) = (&self.cache, &self.control);
                let request = OriginRequest { context: &context, cache, control, stored: stored.as_ref() };
                conclude(&request, (&key, self.miss.why), reply, Lead::Shared(source))
            }
            Err(error) => Conclusion::Failed(error),
        };
        match conclusion {
            Conclusion::Shared { head, answer, lead } => self.share(head, answer, lead).await,
            Conclusion::Own { answer, why, lead } => {
                let status = self.exchange.response.status;
                remember(&self.cache, (&key, is_personal), stored.as_ref(), why, status);
                lead.release();
                self.reply(FetchResult::Own { answer: Box::new(answer), why });
            }
            Conclusion::Stored(stored, from) => self.reply(FetchResult::Stored(stored, from)),
            Conclusion::Failed(error) => self.reply(FetchResult::Failed(error)),
        }
    }

    /// Sends the result to the leader, which may have left.
    fn reply(self, result: FetchResult) {
        let _ = self.reply.send(FetchReply { exchange: self.exchange, result });
    }

    /// What was on disk answers; small objects are in memory from here on, and who waits looks for large ones himself.
    fn found(self, stored: Stored, verdict: Verdict, source: Source) {
        match stored.in_memory() {
            Some(response) => source.object(response.clone(), Origin::Unasked, |rules| {
                if self.cache.survives(&response.key, &response.entry.head.fields, rules) {
                    // One that another has overtaken stays where it is.
                    if self.cache.promote(response.clone()) {
                        self.cache.store.promoted.fetch_add(1, Relaxed);
                    }
                }
            }),
            None => source.release(),
        }
        self.reply(FetchResult::Stored(stored, ServedFrom::Hit(verdict)));
    }

    /// Everyone reads what comes.
    async fn share(self, head: Arc<fill::Answer>, answer: Answer, lead: Lead) {
        let context = self.context(&self.snapshot);
        let idle = context.map_or(Duration::ZERO, |context| context.response_body_timeout());
        let Lead::Shared(mut source) = lead else { return };
        source.answer(head.clone());
        let result = FetchResult::Shared(head.clone());
        let _ = self.reply.send(FetchReply { exchange: self.exchange, result });
        // The reader stood for all who would ask while there was no head. It reads nothing, and nobody is to wait for it.
        let refresh = self.refresh.map(|(refresh, _reader)| refresh);
        let before = self.miss.stored.and_then(Stored::into_memory);
        fill(self.cache, (head, before), answer.response, source, idle).await;
        drop((refresh, self.alive));
    }

    /// Where the request goes. All of it was there when the request that leads began, in this very snapshot.
    fn context<'s>(&self, snapshot: &'s WorkerSnapshot) -> Result<RouteContext<'s>> {
        let shared = &snapshot.shared;
        let exchange = &self.exchange;
        let listener = shared.listener(self.listener).ok_or(Kind::NoRoute)?;
        let route = exchange.facts.route.and_then(|index| shared.routes.get(index)).ok_or(Kind::NoRoute)?;
        let worker_upstream =
            exchange.facts.upstream.and_then(|index| snapshot.upstream(index)).ok_or(Kind::NoBackend)?;
        Ok(RouteContext { snapshot, listener, route, worker_upstream })
    }

    async fn ask(&mut self, source: &Source, is_conditional: bool) -> Result<OriginReply> {
        let snapshot = self.snapshot.clone();
        let context = self.context(&snapshot)?;
        let stored = self.miss.stored.as_ref();
        let request = OriginRequest { context: &context, cache: &self.cache, control: &self.control, stored };
        if let Some(owner) = &self.owner {
            let mut detached = Detached::of(source, None);
            let question = (source.key(), is_conditional);
            let asked = owner.ask(&request, question, &mut self.exchange, &mut detached).await;
            if let Some(reply) = asked {
                return Ok(reply);
            }
        }
        let mut detached = Detached::of(source, self.interims.as_deref());
        origin::ask(&request, is_conditional, &mut self.exchange, &mut detached).await
    }
}
