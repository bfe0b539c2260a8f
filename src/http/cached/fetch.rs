//! A fetch that others may wait for: a task of its own on the worker of the request that led to it.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
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
        object::Object,
        store::Cache,
    },
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    fields::Fields,
    h1::ResponseHead,
    http::pass::Way,
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
    /// And of what comes before it; none where nobody is to hear.
    pub(super) interims: Option<Rc<Interims>>,
    /// What it refreshes in the background; the reader stands for all who will ask.
    pub(super) refresh: Option<(Refresh, Reader)>,
}

/// Interim responses on their way to who leads (RFC 9110 §15.2: a proxy passes them on). They are not stored, and those
/// who wait do not get them: each may have come before them.
#[derive(Debug, Default)]
pub(super) struct Interims {
    heads: RefCell<Vec<ResponseHead>>,
    waker: RefCell<Option<Waker>>,
}

impl Interims {
    fn add(&self, head: &ResponseHead) {
        self.heads.borrow_mut().push(head.clone());
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Gives those that came to the client; who polls is woken when there are more.
    pub(super) fn pass_to<D: Downstream>(&self, client: &mut D, cx: &mut Context<'_>) -> Poll<Result<()>> {
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        let heads = self.heads.take();
        if heads.is_empty() {
            return Poll::Ready(Ok(()));
        }
        heads.iter().for_each(|head| client.interim(head));
        client.poll_flush(cx)
    }
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
            Ok(Reply::Validated { object, stays }) => {
                source
                    .validated(object.clone(), |rules| stays.settle(&cache, stored.as_ref(), &object, rules));
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
                origin::note(&cache, source.key(), stored.as_ref(), why, exchange.response.status);
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
        let interims = self.interims.as_deref();
        let mut nobody = Nobody { source, deadline: Deadline::new(), interims };
        let question =
            Question { way: &way, cache: &self.cache, control: &self.control, stored: self.stored.as_ref() };
        origin::ask(&question, is_conditional, exchange, &mut nobody).await
    }
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
    interims: Option<&'a Interims>,
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
        self.interims.is_some()
    }

    fn interim(&mut self, head: &ResponseHead) {
        if let Some(interims) = self.interims {
            interims.add(head);
        }
    }

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
