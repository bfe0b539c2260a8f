//! A fetch that others may wait for: a task of its own on the worker of the request that led to it.

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use super::{
    now,
    origin::{self, Question, Reply},
    pump,
};
use crate::{
    cache::{
        control::RequestControl,
        fill::{Answer, Failure, Reader, Source},
        marks,
        object::Object,
        store::Cache,
    },
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    fields::Fields,
    h1::ResponseHead,
    http::pass::Way,
    moment::Moment,
    net::{Block, Deadline, Piece},
    runtime::{Slot, WorkerSnapshot},
    upstream::forward::Live,
};

/// A fetch.
pub(super) struct Fetch {
    /// The request, forked from the one that leads.
    pub(super) exchange: Box<Exchange>,
    pub(super) snapshot: Rc<WorkerSnapshot>,
    pub(super) listener: Slot,
    pub(super) cache: Arc<Cache>,
    pub(super) control: RequestControl,
    /// What is stored, to be validated.
    pub(super) stored: Option<Arc<Object>>,
    /// Who leads hears of the head, if it is still there.
    pub(super) told: oneshot::Sender<Back>,
    /// What it refreshes in the background; the reader stands for all who will ask.
    pub(super) refresh: Option<(Refresh, Reader)>,
}

/// What the leader is told.
pub(super) struct Back {
    /// The request as it was asked, its response, and who was asked.
    pub(super) exchange: Box<Exchange>,
    pub(super) answered: Answered,
}

/// What became of a fetch.
pub(super) enum Answered {
    /// Everyone reads it from the fill.
    Shared { answer: Arc<Answer>, is_stored: bool },
    /// What is stored answers. `status` is the origin's, if there was one.
    Validated { object: Arc<Object>, status: Option<u16> },
    /// It is the leader's alone.
    Own { live: Box<Live>, sticky: Option<usize>, detail: &'static str },
    /// There is none.
    Failed(ProxyError),
}

/// A refresh in the background; when it ends, another may begin.
pub(super) struct Refresh(Arc<Object>);

impl Refresh {
    pub(super) fn new(object: Arc<Object>) -> Self {
        Self(object)
    }
}

impl Drop for Refresh {
    fn drop(&mut self) {
        self.0.end_refresh();
    }
}

impl Fetch {
    pub(super) async fn run(mut self, mut source: Source) {
        let is_conditional = origin::prepare(&mut self.exchange, self.stored.as_ref());
        let reply = self.ask(&source, is_conditional).await;
        let mut idle = std::time::Duration::ZERO;
        if let Some(route) = self.exchange.route.and_then(|index| self.snapshot.shared.routes.get(index)) {
            idle = route.tunnel_idle;
        }
        let Self { exchange, cache, control, stored, told, refresh, .. } = self;
        let mut pumped = None;
        let answered = match reply {
            Ok(Reply::Validated { object, may_stay }) => {
                settle(&cache, stored.as_ref(), &object, may_stay, source);
                Answered::Validated { object, status: Some(304) }
            }
            Ok(Reply::Failing { status }) => {
                let stored_or = stored.clone();
                match stored_or {
                    Some(object) => {
                        source.validated(object.clone(), |_| {});
                        Answered::Validated { object, status: Some(status) }
                    }
                    None => Answered::Failed(Kind::BodyBroken.into()),
                }
            }
            Ok(Reply::Shared { answer, live, .. }) => {
                source.answer(answer.clone());
                pumped = Some((live, source, answer.clone()));
                Answered::Shared { is_stored: answer.is_open, answer }
            }
            Ok(Reply::Own { live, sticky, why }) => {
                if why.is_of_response() {
                    let is_error = exchange.response.status >= 500;
                    let long = if is_error { marks::SHORT } else { marks::LONG };
                    cache.store.unshared.set(source.key(), Moment::now().plus(long));
                }
                source.release();
                Answered::Own { live: Box::new(live), sticky, detail: why.name() }
            }
            Err(error) => {
                fail(source, stored.as_ref(), &control, &error);
                Answered::Failed(error)
            }
        };
        // Who leads may have left.
        let _ = told.send(Back { exchange, answered });
        if let Some((live, source, answer)) = pumped {
            pump::pump(live, source, idle, |key, body, rules| {
                let object = pump::object(key, &answer, body);
                cache.put(object, rules);
            })
            .await;
        }
        drop(refresh);
    }

    async fn ask(&mut self, source: &Source, is_conditional: bool) -> Result<Reply> {
        let snapshot = self.snapshot.clone();
        let shared = &snapshot.shared;
        let exchange = &mut self.exchange;
        // They were there when the request that leads began, in this very snapshot.
        let listener = shared.listener(self.listener).ok_or(Kind::NoRoute)?;
        let route = exchange.route.and_then(|index| shared.routes.get(index)).ok_or(Kind::NoRoute)?;
        let group = exchange.upstream.and_then(|index| snapshot.group(index)).ok_or(Kind::NoBackend)?;
        let way = Way { listener, route, group };
        let mut nobody = Nobody { source, deadline: Deadline::new() };
        let question =
            Question { way: &way, cache: &self.cache, control: &self.control, stored: self.stored.as_ref() };
        origin::ask(&question, is_conditional, exchange, &mut nobody).await
    }
}

/// Puts a validated response in the place of the one that it was, or takes that out where it may not stay.
pub(super) fn settle(
    cache: &Arc<Cache>,
    before: Option<&Arc<Object>>,
    object: &Arc<Object>,
    may_stay: bool,
    source: Source,
) {
    source.validated(object.clone(), |rules| match before {
        Some(before) if may_stay => cache.replace(before, object.clone(), rules),
        Some(before) => cache.remove(before),
        None => {}
    });
}

/// Tells those who wait that there is no answer: what is stored and stale, where that may be served, or the error.
fn fail(source: Source, stored: Option<&Arc<Object>>, control: &RequestControl, error: &ProxyError) {
    let is_usable = |object: &&Arc<Object>| object.freshness().may_serve_on_error(control, now());
    match stored.filter(is_usable).filter(|_| super::join::is_of_origin(error)) {
        Some(object) => source.validated(object.clone(), |_| {}),
        None => source.fail(Failure { kind: error.kind(), text: error.to_string() }),
    }
}

/// The client's side of a fetch, which nobody stands at: there is no request body, and responses are read elsewhere.
struct Nobody<'a> {
    source: &'a Source,
    deadline: Deadline,
}

impl Downstream for Nobody<'_> {
    fn poll_body(&mut self, _: &mut Context<'_>) -> Poll<Result<Piece>> {
        Poll::Ready(Ok(Piece::End(None)))
    }

    fn is_body_done(&self) -> bool {
        true
    }

    fn has_body_bytes(&self) -> bool {
        false
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.source.poll_abandoned(cx)
    }

    fn takes_interim(&self) -> bool {
        // Whom they would go to is not known, and they are not stored.
        false
    }

    fn interim(&mut self, _: &ResponseHead) {}

    fn begin(&mut self, _: &ResponseHead, _: bool, _: Option<u64>) -> Result<()> {
        Ok(())
    }

    fn distrust(&mut self) {}

    fn is_begun(&self) -> bool {
        false
    }

    fn poll_data(&mut self, _: &mut Context<'_>, block: &mut Block) -> Poll<Result<()>> {
        *block = Block::default();
        Poll::Ready(Ok(()))
    }

    fn end(&mut self, _: Option<&Fields>) -> Result<()> {
        Ok(())
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn deadline(&self) -> &Deadline {
        &self.deadline
    }
}
