//! A place at a backend for whoever needs one, at once or after waiting, and a connection to it.
//!
//! It knows no protocol: who waits is a [`Waiter`], and what it gets is a [`Permit`] and a [`Stream`]. Next stop of an
//! HTTP exchange: `upstream::attempt`.

use std::{future::poll_fn, rc::Rc, sync::Arc, task::Poll, time::Duration};

use super::{Permit, WorkerUpstream, announce::Opening};
#[cfg(test)]
use crate::sync::{self, Pause};
use crate::{
    backend::Backend,
    balance::{self, Outlook},
    error::{Kind, Result},
    moment::Moment,
    net::{Stream, Waiter},
};

/// What is asked of an upstream.
#[derive(Clone, Copy, Debug)]
pub struct Acquire<'a> {
    /// The upstream.
    pub worker_upstream: &'a Rc<WorkerUpstream>,
    /// What the policy hashes on.
    pub key: u64,
    /// The backend that a sticky cookie names.
    pub sticky: Option<usize>,
    /// When the whole exchange must be over.
    pub end: Option<Moment>,
    /// How long connecting may take, where that is not as the upstream says.
    pub connect_timeout: Option<Duration>,
}

impl Acquire<'_> {
    /// A place at a backend, at once or after waiting in the queue, and when it was had. Backends that were `tried` are taken only where
    /// there is no other. Fails with [`Kind::NoBackend`], [`Kind::QueueFull`], [`Kind::QueueTimeout`], [`Kind::RouteTimeout`]
    /// or [`Kind::ClientGone`].
    pub async fn pick<W: Waiter>(&self, tried: &[usize], waiter: &mut W) -> Result<(Permit, Moment)> {
        let worker_upstream = self.worker_upstream;
        let now = waiter.now();
        let upstream = &worker_upstream.upstream;
        // Who comes later does not overtake those who wait; those who know full backends only are not overtaken.
        let has_before = upstream.queue.has_before(upstream.passive.backends(), now);
        if !has_before && let Some(permit) = self.try_pick(tried, now) {
            return Ok((permit, now));
        }
        let is_down = self.are_all_down(now);
        if is_down {
            if !has_before && let Some(permit) = self.pick_with_all_down(tried, now) {
                return Ok((permit, now));
            }
            if self.outlook(now) == Outlook::Nothing {
                return Err(Kind::NoBackend.into());
            }
        }
        // Not whether it is full now: its place may have become free since the look, and be taken again.
        let can_be_full = |backend: &Arc<Backend>| {
            let is_used = backend.is_healthy(now) || is_down && backend.is_enabled();
            is_used && backend.max_connections > 0 && (backend.is_full() || backend.weight_at(now) > 0)
        };
        if !has_before && !upstream.backends.iter().any(can_be_full) {
            return Err(Kind::NoBackend.into());
        }
        let waited = self.wait(tried, waiter, now).await;
        waiter.stop_watching();
        Ok((waited?, waiter.now()))
    }

    /// A place at a backend at once, for what does not wait. Fails with [`Kind::NoBackend`].
    pub fn pick_now(&self, tried: &[usize], now: Moment) -> Result<Permit> {
        let permit = match self.are_all_down(now) {
            true => self.pick_with_all_down(tried, now),
            // Who waits does so for its own place; who does not has no other.
            false => self.try_pick(tried, now),
        };
        permit.ok_or_else(|| Kind::NoBackend.into())
    }

    fn are_all_down(&self, now: Moment) -> bool {
        balance::are_all_down(&self.worker_upstream.upstream.backends, now)
    }

    fn pick_with_all_down(&self, tried: &[usize], now: Moment) -> Option<Permit> {
        let uses_all = self.worker_upstream.upstream.queue.uses_all();
        uses_all.then(|| self.worker_upstream.pick_despite_health(self.key, tried, now)).flatten()
    }

    fn outlook(&self, now: Moment) -> Outlook {
        let upstream = &self.worker_upstream.upstream;
        balance::outlook(&upstream.backends, upstream.queue.uses_all(), now)
    }

    /// What one who waits finds when it looks: a place, or that there is none to wait for any more, as who comes now would.
    fn look(&self, tried: &[usize], now: Moment) -> Result<Option<Permit>> {
        if let Some(permit) = self.try_pick(tried, now) {
            return Ok(Some(permit));
        }
        if !self.are_all_down(now) {
            return Ok(None);
        }
        match self.pick_with_all_down(tried, now) {
            None if self.outlook(now) == Outlook::Nothing => Err(Kind::NoBackend.into()),
            found => Ok(found),
        }
    }

    fn try_pick(&self, tried: &[usize], now: Moment) -> Option<Permit> {
        let sticky = self.sticky.filter(|_| tried.is_empty());
        if let Some(permit) = sticky.and_then(|index| self.worker_upstream.pick_index(index, now)) {
            return Some(permit);
        }
        self.worker_upstream.pick(self.key, tried, now)
    }

    async fn wait<W: Waiter>(&self, tried: &[usize], waiter: &mut W, now: Moment) -> Result<Permit> {
        let upstream = &self.worker_upstream.upstream;
        let end = now.plus(upstream.conf.queue.timeout);
        waiter.deadline().at(self.end.map_or(end, |total| total.min(end)));
        let mut again = None;
        loop {
            let joined = upstream.queue.join(upstream.passive.backends(), again);
            let Some(place) = joined else { return self.pick_without_queue(tried, waiter.now()) };
            #[cfg(test)]
            sync::pause(Pause::Joined).await;
            // A place may have become free while we joined.
            let found = if place.is_first() { self.look(tried, waiter.now()) } else { Ok(None) };
            if let Some(found) = found.transpose() {
                // Called meanwhile, it passes the call on by leaving.
                drop(place);
                self.call_next(waiter.now());
                return found;
            }
            if !place.is_first() || again.is_some() {
                // Nobody calls those before it when a backend is up again; and a call that was of no use to this one may
                // be of use to who knows other backends.
                self.call_next(waiter.now());
            }
            poll_fn(|cx| {
                if place.poll_called(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                if waiter.poll_left(cx).is_ready() {
                    return Poll::Ready(Err(Kind::ClientGone));
                }
                waiter.deadline().poll_elapsed(cx).map(|()| Err(self.elapsed(Kind::QueueTimeout)))
            })
            .await?;
            again = Some(place.served());
            #[cfg(test)]
            sync::pause(Pause::Called).await;
            if let Some(found) = self.look(tried, waiter.now()).transpose() {
                // Several places may have become free; the next one looks for itself.
                self.call_next(waiter.now());
                return found;
            }
            #[cfg(test)]
            sync::pause(Pause::CalledForNothing).await;
        }
    }

    /// A place where the queue has no room: nobody is sent away from a free backend because others wait who came before a
    /// reload, and have no room of this one's.
    fn pick_without_queue(&self, tried: &[usize], now: Moment) -> Result<Permit> {
        let upstream = &self.worker_upstream.upstream;
        let are_own = upstream.queue.has_waiters_of(upstream.passive.backends());
        let found = if are_own { None } else { self.look(tried, now)? };
        found.ok_or_else(|| Kind::QueueFull.into())
    }

    /// Calls the next in the queue if there still is a place.
    fn call_next(&self, now: Moment) {
        self.worker_upstream.upstream.queue.call_if_free(now);
    }

    /// A new connection to the backend, within `connect_timeout`; `opening` is what it begins with.
    pub async fn dial<W: Waiter>(&self, permit: &Permit, waiter: &W, opening: &Opening) -> Result<Stream> {
        self.set_connect_deadline(waiter);
        let mut dial = std::pin::pin!(permit.dial(opening));
        poll_fn(|cx| {
            if let Poll::Ready(result) = dial.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            // A client that leaves meanwhile is noticed when it is written to.
            waiter.deadline().poll_elapsed(cx).map(|()| Err(self.elapsed(Kind::ConnectTimeout).into()))
        })
        .await
    }

    /// Moves the deadline to when a connection must be made.
    pub(super) fn set_connect_deadline<W: Waiter>(&self, waiter: &W) {
        let within = self.connect_timeout.unwrap_or(self.worker_upstream.upstream.conf.connect_timeout);
        let within = Moment::now().plus(within);
        waiter.deadline().at(self.end.map_or(within, |end| end.min(within)));
    }

    /// What a deadline that elapsed means: the route's, if that has come, else what was waited for.
    pub fn elapsed(&self, kind: Kind) -> Kind {
        let is_over = self.end.is_some_and(|end| end <= Moment::now());
        if is_over { Kind::RouteTimeout } else { kind }
    }
}
