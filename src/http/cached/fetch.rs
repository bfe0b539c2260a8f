//! A fetch that others may wait for: a task of its own on the worker of the request that led to it.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    collapse::is_of_origin,
    detached::Detached,
    disk_lookup::{self, DiskLookup, ServedFrom},
    interims::Interims,
    now,
    origin::{self, NotShared, OriginReply, OriginRequest},
    pump,
};
use crate::{
    cache::{
        cache_control::RequestControl,
        disk_tier::DiskObject,
        fill::{Answer, Failure, Origin, Reader, Source},
        freshness::Verdict,
        status::Forward,
        store::Cache,
        stored_response::StoredResponse,
    },
    error::{Kind, ProxyError, Result},
    exchange::Exchange,
    http::proxy::RouteContext,
    runtime::{ListenerId, WorkerSnapshot, worker::Fetching},
    upstream::forward::UpstreamResponse,
};

/// A fetch.
pub(super) struct Fetch {
    /// The request, forked from the one that leads.
    pub(super) exchange: Box<Exchange>,
    pub(super) snapshot: Rc<WorkerSnapshot>,
    pub(super) listener: ListenerId,
    /// The worker ends after it.
    pub(super) alive: Fetching,
    pub(super) cache: Arc<Cache>,
    pub(super) control: RequestControl,
    /// What is stored, to be validated.
    pub(super) stored: Option<Arc<StoredResponse>>,
    /// Who leads hears of the head, if it is still there.
    pub(super) told: oneshot::Sender<FetchReply>,
    /// And of what comes before it; none where nobody is to hear.
    pub(super) interims: Option<Rc<Interims>>,
    /// What it refreshes in the background; the reader stands for all who will ask.
    pub(super) refresh: Option<(Refresh, Reader)>,
}

/// What the leader is told.
pub(super) struct FetchReply {
    /// The request as it was asked, its response, and who was asked.
    pub(super) exchange: Box<Exchange>,
    pub(super) answered: FetchResult,
}

/// What became of a fetch.
pub(super) enum FetchResult {
    /// Everyone reads it from the fill.
    Shared { answer: Arc<Answer>, is_stored: bool },
    /// What is stored answers. `status` is the origin's, if there was one.
    Validated { object: Arc<StoredResponse>, status: Option<u16> },
    /// It is the leader's alone.
    Own { live: Box<UpstreamResponse>, sticky: Option<usize>, detail: &'static str },
    /// It lay on disk, and is in memory now.
    Found { object: Arc<StoredResponse>, verdict: Verdict },
    /// It lies on disk.
    DiskObject { kept: Box<DiskObject>, how: ServedFrom },
    /// There is none.
    Failed(ProxyError),
}

/// A refresh in the background; when it ends, another may begin.
pub(super) struct Refresh(Arc<StoredResponse>);

impl Refresh {
    pub(super) fn new(object: Arc<StoredResponse>) -> Self {
        Self(object)
    }
}

impl Drop for Refresh {
    fn drop(&mut self) {
        self.0.end_refresh();
    }
}

impl Fetch {
    pub(super) async fn run(mut self, source: Source) {
        let mut kept = None;
        if self.stored.is_none() {
            let request = &self.exchange.request.fields;
            match disk_lookup::look(&self.cache, source.key(), request, &self.control).await {
                DiskLookup::Here(object, verdict) => return self.found(object, verdict, source),
                DiskLookup::There(large, verdict) => {
                    source.release();
                    return self.tell(FetchResult::DiskObject { kept: large, how: ServedFrom::Hit(verdict) });
                }
                DiskLookup::StaleHere(object) => self.stored = Some(object),
                DiskLookup::StaleThere(large) => {
                    self.stored = Some(Arc::new(large.head()));
                    kept = Some(large);
                }
                DiskLookup::Nothing => {}
            }
        }
        let is_conditional = origin::prepare(&mut self.exchange, self.stored.as_ref());
        let reply = self.ask(&source, is_conditional).await;
        match (reply, kept) {
            (Ok(OriginReply::Shared { answer, live, .. }), _) => self.share(answer, live, source).await,
            (Ok(OriginReply::Own { live, sticky, why }), _) => self.release(live, sticky, why, source),
            (reply, None) => self.conclude(reply, source),
            (reply, Some(kept)) => self.conclude_kept(reply, kept, source),
        }
    }

    /// Tells the leader, which may have left.
    fn tell(self, answered: FetchResult) {
        let _ = self.told.send(FetchReply { exchange: self.exchange, answered });
    }

    /// What lay on disk answers, and is in memory from here on.
    fn found(self, object: Arc<StoredResponse>, verdict: Verdict, source: Source) {
        source.object(object.clone(), Origin::Unasked, |rules| {
            if self.cache.survives(&object.key, &object.entry.head.fields, rules) {
                self.cache.store.promoted.fetch_add(1, Relaxed);
                self.cache.put(object.clone());
            }
        });
        self.tell(FetchResult::Found { object, verdict });
    }

    /// Everyone reads what comes.
    async fn share(self, answer: Arc<Answer>, live: UpstreamResponse, mut source: Source) {
        source.answer(answer.clone());
        let route = self.exchange.route.and_then(|index| self.snapshot.shared.routes.get(index));
        let idle = route.map_or(Duration::ZERO, |route| route.tunnel_idle);
        let (cache, refresh, alive) = (self.cache.clone(), self.refresh, self.alive);
        let answered = FetchResult::Shared { is_stored: answer.is_open, answer: answer.clone() };
        let _ = self.told.send(FetchReply { exchange: self.exchange, answered });
        pump::pump(cache, answer, live, source, idle).await;
        drop((refresh, alive));
    }

    /// It is the leader's alone.
    fn release(self, live: UpstreamResponse, sticky: Option<usize>, why: NotShared, source: Source) {
        let status = self.exchange.response.status;
        origin::note(&self.cache, source.key(), self.stored.as_ref(), why, status);
        source.release();
        self.tell(FetchResult::Own { live: Box::new(live), sticky, detail: why.name() });
    }

    /// The end of a question about something in memory, or about nothing.
    fn conclude(self, reply: Result<OriginReply>, source: Source) {
        let answered = match (reply, self.stored.clone()) {
            (Ok(OriginReply::Validated { object, stays }), before) => {
                stays.settle(&self.cache, before.as_ref(), &object, source);
                FetchResult::Validated { object, status: Some(304) }
            }
            (Ok(OriginReply::Failing { status }), Some(object)) => {
                source.object(object.clone(), Origin::Failed, |_| {});
                FetchResult::Validated { object, status: Some(status) }
            }
            (Err(error), stored) => {
                fail(source, stored.as_ref(), &self.control, &error);
                FetchResult::Failed(error)
            }
            // The others were told apart before, and nothing fails in the place of nothing.
            (Ok(_), _) => FetchResult::Failed(Kind::BodyBroken.into()),
        };
        self.tell(answered);
    }

    /// The end of a question about something large on disk: who waits looks there for himself.
    fn conclude_kept(self, reply: Result<OriginReply>, kept: Box<DiskObject>, source: Source) {
        let may_be_stale = kept.record.entry.freshness.may_serve_on_error(&self.control, now());
        let answered = match reply {
            Ok(OriginReply::Validated { object, stays }) => {
                let kept = Box::new(stays.settle_kept(*kept, &object, source.begun()));
                FetchResult::DiskObject { kept, how: ServedFrom::Validated(Forward::Stale) }
            }
            Ok(OriginReply::Failing { status }) => {
                FetchResult::DiskObject { kept, how: ServedFrom::Failed(Some(status)) }
            }
            Err(error) if may_be_stale && is_of_origin(&error) => {
                FetchResult::DiskObject { kept, how: ServedFrom::Failed(None) }
            }
            Err(error) => FetchResult::Failed(error),
            Ok(_) => FetchResult::Failed(Kind::BodyBroken.into()),
        };
        match &answered {
            FetchResult::Failed(error) => {
                source.fail(Failure { kind: error.kind(), text: error.to_string() });
            }
            _ => source.release(),
        }
        self.tell(answered);
    }

    async fn ask(&mut self, source: &Source, is_conditional: bool) -> Result<OriginReply> {
        let snapshot = self.snapshot.clone();
        let shared = &snapshot.shared;
        let exchange = &mut self.exchange;
        // They were there when the request that leads began, in this very snapshot.
        let listener = shared.listener(self.listener).ok_or(Kind::NoRoute)?;
        let route = exchange.route.and_then(|index| shared.routes.get(index)).ok_or(Kind::NoRoute)?;
        let group = exchange.upstream.and_then(|index| snapshot.group(index)).ok_or(Kind::NoBackend)?;
        let way = RouteContext { listener, route, group };
        let interims = self.interims.as_deref();
        let mut nobody = Detached::of(source, interims);
        let question = OriginRequest {
            way: &way,
            cache: &self.cache,
            control: &self.control,
            stored: self.stored.as_ref(),
        };
        origin::ask(&question, is_conditional, exchange, &mut nobody).await
    }
}

/// Tells those who wait that there is no answer: what is stored and stale, where that may be served, or the error.
fn fail(source: Source, stored: Option<&Arc<StoredResponse>>, control: &RequestControl, error: &ProxyError) {
    let is_usable = |object: &&Arc<StoredResponse>| object.freshness().may_serve_on_error(control, now());
    match stored.filter(is_usable).filter(|_| is_of_origin(error)) {
        Some(object) => source.object(object.clone(), Origin::Failed, |_| {}),
        None => source.fail(Failure { kind: error.kind(), text: error.to_string() }),
    }
}
