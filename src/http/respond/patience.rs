//! How long a body may stall on its way, and who is to blame when it does.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::{
    error::{Kind, ProxyError},
    moment::Moment,
    net::{Deadline, LeastRate},
};

/// How long a body may stall.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// While its source brings nothing.
    pub backend: Duration,
    /// While the client takes nothing; without end for one whose pace does not matter.
    pub client: Option<Duration>,
    /// Bytes per second that the client must take while it is waited for, and a backend, a place of the route, or what a
    /// fill brought, is held; 0 = any.
    pub min_rate: u64,
    /// Whether the client has one of the places of its route, which it holds to the end.
    pub holds_place: bool,
    /// When the whole exchange must be over.
    pub end: Option<Moment>,
}

/// Who a body waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Who reads it.
    Client,
    /// Who brings it: a backend, or what others fetch from one.
    Backend,
    /// The client, for the rest of the request: the backend waits for it too.
    Upload,
}

/// Watches that a body does not stall for longer than it may.
#[derive(Debug)]
pub(super) struct Stall {
    /// What is waited for since the deadline was set, and how far the body was then.
    since: Option<(Side, u64)>,
    /// Since when it is the client that is waited for.
    client_since: Option<Moment>,
    /// For how long it was before that.
    client_took: Duration,
    patience: Patience,
    rate: LeastRate,
}

impl Stall {
    pub(super) fn new(patience: Patience) -> Self {
        let rate = LeastRate::new(patience.min_rate);
        Self { since: None, client_since: None, client_took: Duration::ZERO, patience, rate }
    }

    /// Ready when it has stood still too long; `bytes` is how far it is.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        bytes: u64,
        deadline: &Deadline,
    ) -> Poll<ProxyError> {
        if self.since != Some((side, bytes)) {
            self.since = Some((side, bytes));
            self.set(side, bytes, deadline);
        }
        ready!(deadline.poll_elapsed(cx));
        Poll::Ready(ProxyError::new(match side {
            _ if self.is_over() => Kind::RouteTimeout,
            Side::Client => Kind::ClientStalled,
            Side::Backend => Kind::BodyBroken,
            Side::Upload => Kind::BodyTimeout,
        }))
    }

    /// For how long the client was waited for, and kept the source from bringing more.
    #[cold]
    pub(super) fn client_took(&self) -> Duration {
        self.client_since.map_or(self.client_took, |since| self.client_took + Moment::now().since(since))
    }

    /// Whether the whole exchange is to be over by now.
    #[cold]
    pub(super) fn is_over(&self) -> bool {
        self.patience.end.is_some_and(|end| end <= Moment::now())
    }

    /// What is still to come is waited for no longer than this.
    pub(super) fn hurry(&mut self, limit: Duration) {
        self.patience.backend = self.patience.backend.min(limit);
    }

    /// The backend is held no more: the client may take the rest as it likes, unless it keeps others out.
    pub(super) fn free_backend(&mut self) {
        if !self.patience.holds_place {
            self.rate = LeastRate::new(0);
        }
    }

    fn set(&mut self, side: Side, bytes: u64, deadline: &Deadline) {
        let now = Moment::now();
        let (patience, too_slow) = match side {
            Side::Client => {
                self.client_since.get_or_insert(now);
                (self.patience.client, self.rate.begin(bytes, now))
            }
            Side::Backend | Side::Upload => {
                self.client_took += self.client_since.take().map_or(Duration::ZERO, |since| now.since(since));
                self.rate.end(now);
                (Some(self.patience.backend), None)
            }
        };
        let at = patience.map(|patience| now.plus(patience)).into_iter().chain(too_slow).min();
        match (at, self.patience.end) {
            (Some(at), Some(end)) => deadline.at(end.min(at)),
            (Some(at), None) | (None, Some(at)) => deadline.at(at),
            (None, None) => deadline.clear(),
        }
    }
}
