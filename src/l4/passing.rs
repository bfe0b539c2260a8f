//! The task of a connection that is passed on, and the tunnel that it is most of its time. Previous stop: `l4::tcp`, which
//! has a backend for it; next stop: `net::tunnel`.
//!
//! What a task holds while it waits is in the task itself: one block of memory with what the event loop keeps of it. The
//! futures are by hand, since an `async fn` keeps what it was given beside what it makes of it, and room for everything
//! that it once had; `docs/decisions/042` has the bytes.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::active::ActiveTunnel;
use crate::{
    balance::Outcome as Sample,
    moment::Moment,
    net::{
        Deadline, Stream,
        tunnel::{Carried, Joint},
    },
    runtime::{Permit, connections::Place as Entry},
    upstream::Permit as Place,
};

/// What brings a connection to a backend; `None` when it came to nothing.
pub type Opening = Pin<Box<dyn Future<Output = Option<Tunnel>>>>;

/// A connection that is passed on, to its end.
#[expect(
    clippy::large_enum_variant,
    reason = "it is nearly always the large one, and its task has room for it from the beginning"
)]
pub enum Passing {
    /// On its way to a backend. Boxed: it takes several times the memory that waiting does, and gives it back.
    Opening(Opening),
    /// Joined with one.
    Joined(Tunnel),
}

impl Future for Passing {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            match this {
                Self::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Some(tunnel) => *this = Self::Joined(tunnel),
                    None => return Poll::Ready(()),
                },
                Self::Joined(tunnel) => return tunnel.poll(cx),
            }
        }
    }
}

/// A connection of a client and one of a backend, joined. Dropped before its end, both are reset: neither side shall take
/// what came for all.
#[derive(Debug)]
pub struct Tunnel {
    // In the order in which they are dropped: the backend has lost the connection, and its place is free, when the line of
    // the log is written; the client learns of the end after that.
    pub(super) backend: Stream,
    /// At the backend.
    pub(super) place: Place,
    pub(super) answering: Answering,
    pub(super) active: ActiveTunnel,
    pub(super) _permit: Permit,
    pub(super) client: Stream,
    pub(super) deadline: Deadline,
    pub(super) joint: Joint,
    pub(super) _entry: Entry,
}

/// How long the backend took to answer, for the balancer: to the first byte where the client spoke first, else to the
/// connection.
#[derive(Debug)]
pub(super) enum Answering {
    /// From the pick to the connection it took this long; the client has said nothing.
    Connected(Duration),
    /// When the client's last bytes were passed on, before the backend's first.
    Asked(Moment),
    /// The sample is taken.
    Taken,
}

impl Tunnel {
    /// Carries on; ready at the end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { backend, place, answering, active, client, deadline, joint, .. } = self;
        let passed = &active.passed;
        let mut watch = |carried: Carried| {
            let before = passed.carried.replace(carried);
            place.count_bytes(carried.up + carried.down - before.up - before.down);
            answering.look(place, carried);
        };
        let limits = (&*deadline, &active.limits());
        let ended = ready!(joint.poll(cx, (&mut *client, &mut *backend), limits, &mut watch));
        answering.end(place);
        active.end(ended);
        Poll::Ready(())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if !self.active.is_over() {
            self.client.reset();
            self.backend.reset();
        }
    }
}

impl Answering {
    /// Takes the sample with the backend's first byte.
    fn look(&mut self, place: &Place, carried: Carried) {
        if carried.down > 0 {
            self.take(place);
        } else if carried.up > 0 && !matches!(self, Self::Taken) {
            *self = Self::Asked(Moment::recent());
        }
    }

    /// Takes the sample of a connection on which neither side said anything. Where the client waited for an answer that did
    /// not come there is none: what it sent may have asked for nothing.
    fn end(&mut self, place: &Place) {
        match self {
            Self::Connected(_) => self.take(place),
            Self::Asked(_) | Self::Taken => *self = Self::Taken,
        }
    }

    fn take(&mut self, place: &Place) {
        let now = Moment::recent();
        let elapsed = match std::mem::replace(self, Self::Taken) {
            Self::Connected(connecting) => connecting,
            Self::Asked(asked) => now.since(asked),
            Self::Taken => return,
        };
        let sample = Sample { elapsed, failed: false };
        let worker_upstream = place.worker_upstream();
        worker_upstream.with_balancer(|balancer| balancer.on_done(place.index(), &sample, now));
    }
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, sync::Arc};

    use super::*;
    use crate::{
        config,
        runtime::{build, registry::Registry},
        tls::tickets::Tickets,
        upstream::{WorkerUpstream, worker_upstream::WorkerIndex},
    };

    /// The only backend of a route, as the only worker sees it.
    fn place() -> Place {
        let text = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
            [[route]]\nname = \"all\"\nupstream = \"app\"\n[[upstream]]\nname = \"app\"\n\
            balance = \"least-response-time\"\nbackend = [{ address = \"127.0.0.1:53\" }]\n";
        let parsed = config::parse(text, "test.toml".as_ref()).unwrap();
        let tickets = Tickets::new(Moment::now()).unwrap();
        let snapshot = build::build(parsed, 1, &Registry::new(1), &tickets).unwrap();
        let (at, rng) = (WorkerIndex { worker: 0, workers: 1 }, fastrand::Rng::with_seed(1));
        let upstream = snapshot.upstreams[0].clone();
        let worker_upstream = Rc::new(WorkerUpstream::new(upstream, Arc::default(), at, rng, None));
        worker_upstream.pick_index(0, Moment::now()).unwrap()
    }

    fn average(place: &Place) -> Option<Duration> {
        place.worker_upstream().with_balancer(|balancer| balancer.average(0, Moment::now()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_nothing_makes_no_backend_slow() {
        const MINUTE: Duration = Duration::from_secs(60);
        let place = place();
        let pass = async |up, down| {
            let mut answering = Answering::Connected(Duration::ZERO);
            answering.look(&place, Carried { up, ..Carried::default() });
            tokio::time::advance(MINUTE).await;
            Moment::now();
            if down > 0 {
                answering.look(&place, Carried { up, down, ..Carried::default() });
            }
            answering.end(&place);
        };
        pass(1, 0).await;
        assert_eq!(average(&place), None);
        pass(0, 0).await;
        assert_eq!(average(&place), Some(Duration::ZERO), "neither side said anything: what connecting took");
        pass(1, 1).await;
        assert_eq!(average(&place), Some(MINUTE), "it answered");
    }

    /// What tokio puts before and behind a future in the block of its task, which is in steps of 128 bytes.
    const AROUND: usize = 104;

    #[test]
    fn the_task_of_a_tunnel_is_512_bytes() {
        let size = size_of::<Passing>();
        assert!(size + AROUND <= 4 * 128, "{size} bytes");
    }
}
