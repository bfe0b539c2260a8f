//! A backend for a session, and what is said of it to health, balancer and metrics.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    rc::Rc,
    time::Duration,
};

use socket2::SockRef;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    balance::{self, Outcome as Sample},
    error::{Kind, ProxyError},
    health::passive::Verdict,
    moment::Moment,
    net::dial,
    runtime::flows::Flow,
    telemetry::{datagrams::Dropped, metrics::Outcome},
    upstream::{
        Permit as Place, WorkerUpstream, acquire::Acquire, affinity::key_of_client, sessions::client_hash,
        verdict,
    },
};

/// A place at a backend, and a socket that is for it alone.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) place: Place,
    pub(super) socket: OwnedFd,
}

impl Backend {
    /// Where its socket leads.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        SockRef::from(&self.socket).peer_addr().ok()?.as_socket()
    }
}

/// Backends that are tried for one datagram, where there is no way to those before.
const MOST_TRIES: usize = 3;

/// A backend, as the policy says.
pub(super) fn first(
    worker_upstream: &Rc<WorkerUpstream>,
    client: IpAddr,
    now: Moment,
) -> Result<Backend, Dropped> {
    pick(worker_upstream, client, Vec::new(), now)
}

/// The one that the client's address leads to, whatever the policy: the same on every worker and after a restart, where
/// nothing else is known of a client.
pub(super) fn by_address(
    worker_upstream: &Rc<WorkerUpstream>,
    client: IpAddr,
    now: Moment,
) -> Result<Backend, Dropped> {
    let backends = &worker_upstream.upstream.backends;
    // Of each the hash with the client; the greatest of those that are there has it (rendezvous hashing).
    let weight = |name: &str| xxh3_64(format!("{client} {name}").as_bytes());
    let best = |is_backup: bool| {
        let available =
            backends.iter().enumerate().filter(|(_, it)| it.backup == is_backup && it.is_available(now));
        available.max_by_key(|(_, backend)| weight(&backend.name)).map(|(index, _)| index)
    };
    // As everywhere, others that are merely full do not wake the backups.
    let best =
        best(false).or_else(|| balance::is_any_free(backends, now, false).then(|| best(true)).flatten());
    let place = best.and_then(|index| worker_upstream.pick_index(index, now));
    match place {
        Some(place) => place.connect_datagrams().map(|socket| Backend { place, socket }).map_err(dropped),
        None => first(worker_upstream, client, now),
    }
}

/// The one that a connection has already, whatever health and administration say of it: nobody else knows it.
pub(super) fn bound(
    worker_upstream: &Rc<WorkerUpstream>,
    flow: &Flow,
    now: Moment,
) -> Result<Backend, Dropped> {
    let place = worker_upstream.pick_kept(flow.backend, now).ok_or(Dropped::NoBackend)?;
    let socket = dial::datagrams(flow.peer).map_err(dropped)?;
    Ok(Backend { place, socket })
}

fn dropped(error: ProxyError) -> Dropped {
    if error.kind() == Kind::NoSocket { Dropped::NoSocket } else { Dropped::NoBackend }
}

/// Another one than the one that was left: as far as the retry budget goes where that failed, which makes it a retry.
pub(super) fn another(
    worker_upstream: &Rc<WorkerUpstream>,
    client: IpAddr,
    (left, is_retry): (usize, bool),
    now: Moment,
) -> Result<Backend, Dropped> {
    if is_retry && !worker_upstream.has_retry(now) {
        return Err(Dropped::NoBackend);
    }
    let backend = pick(worker_upstream, client, vec![left], now)?;
    // Not before: while there is no other, each datagram would take one.
    if is_retry {
        worker_upstream.may_retry(now);
    }
    Ok(backend)
}

fn pick(
    worker_upstream: &Rc<WorkerUpstream>,
    client: IpAddr,
    mut tried: Vec<usize>,
    now: Moment,
) -> Result<Backend, Dropped> {
    let key = key_of_client(&worker_upstream.upstream, client);
    let target = Acquire { worker_upstream, key, sticky: None, end: None, connect_timeout: None };
    let first = tried.len();
    for _ in 0..MOST_TRIES {
        let Ok(place) = target.pick_now(&tried, now) else { break };
        // There is no other, and nothing is another way with this one a moment later.
        if tried.get(first..).is_some_and(|here| here.contains(&place.index())) {
            break;
        }
        match place.connect_datagrams() {
            Ok(socket) => return Ok(Backend { place, socket }),
            Err(error) => match error.kind() {
                Kind::NoSocket => return Err(Dropped::NoSocket),
                // Its name is being looked up.
                Kind::NoBackend => {}
                kind => failed(&place, kind, Duration::ZERO, now),
            },
        }
        tried.push(place.index());
    }
    Err(Dropped::NoBackend)
}

/// A backend's first answer to a session of this client.
pub(super) fn answered(place: &Place, client: IpAddr, waited: Duration, now: Moment) {
    let (worker_upstream, index) = (place.worker_upstream(), place.index());
    worker_upstream.upstream.sessions.note_answer(client_hash(client));
    if let Some(backend) = place.backend() {
        backend.shared.note_answer(now);
    }
    if let Some(series) = worker_upstream.series.get(index) {
        series.record(Outcome::Tunnel);
        series.response.record(waited);
    }
    let sample = Sample { elapsed: waited, failed: false };
    worker_upstream.with_balancer(|balancer| balancer.on_done(index, &sample, now));
    worker_upstream.record_health(index, Verdict::Success, now);
}

/// Whether a backend is to blame that this client, which asked then, has no answer: it has given no session its first
/// answer since; and what it leaves unanswered is not one client's alone, or is one's that was answered before
/// (`docs/decisions/048`, `docs/decisions/050`).
pub(super) fn is_to_blame(place: &Place, client: IpAddr, asked: Moment) -> bool {
    let Some(backend) = place.backend().filter(|backend| !backend.shared.has_answered_since(asked)) else {
        return false;
    };
    let client = client_hash(client);
    let is_another = backend.shared.note_silence(client);
    is_another || place.worker_upstream().upstream.sessions.has_answered_to(client)
}

/// A backend failed a session.
pub(super) fn failed(place: &Place, kind: Kind, waited: Duration, now: Moment) {
    let (worker_upstream, index) = (place.worker_upstream(), place.index());
    let (verdict, outcome) = verdict::of_error(kind);
    if let Some(series) = worker_upstream.series.get(index) {
        series.record(outcome);
    }
    if let Some(failed) = verdict::is_failure(verdict) {
        let sample = Sample { elapsed: waited, failed };
        worker_upstream.with_balancer(|balancer| balancer.on_done(index, &sample, now));
    }
    worker_upstream.record_health(index, verdict, now);
}

/// A session ended, or is left, of which the backend was never heard, and of which that says nothing.
pub(super) fn unheard(place: &Place) {
    if let Some(series) = place.worker_upstream().series.get(place.index()) {
        series.record(Outcome::Tunnel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering::Relaxed};

    use super::*;
    use crate::{
        config,
        runtime::{build, registry::Registry},
        tls::tickets::Tickets,
        upstream::worker_upstream::WorkerIndex,
    };

    const CONFIG: &str = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
        [[route]]\nname = \"all\"\nupstream = \"app\"\n[[upstream]]\nname = \"app\"\n\
        backend = [{ address = \"app.test:53\" }, { address = \"127.0.0.1:53\" }]\n";

    /// The upstream of a configuration, as its only worker sees it.
    fn worker_upstream(text: &str) -> Rc<WorkerUpstream> {
        let parsed = config::parse(text, "test.toml".as_ref()).unwrap();
        let tickets = Tickets::new(Moment::now()).unwrap();
        let snapshot = build::build(parsed, 1, &Registry::new(1), &tickets).unwrap();
        let (place, rng) = (WorkerIndex { worker: 0, workers: 1 }, fastrand::Rng::with_seed(1));
        let upstream = snapshot.upstreams[0].clone();
        Rc::new(WorkerUpstream::new(upstream, Arc::default(), place, rng, None))
    }

    #[test]
    fn backups_get_an_unknown_version_where_no_other_is_up() {
        let backends = "[{ address = \"127.0.0.1:53\", max_connections = 50 }, { address = \"127.0.0.1:54\", backup = true }]";
        let text = CONFIG.split_once("backend = ").unwrap().0.to_owned() + &format!("backend = {backends}\n");
        let worker_upstream = worker_upstream(&text);
        let (primary, backup) =
            (&worker_upstream.upstream.backends[0], &worker_upstream.upstream.backends[1]);
        let now = Moment::now();
        let of_all = || -> Vec<_> {
            let client = |last| IpAddr::from([192, 0, 2, last]);
            let held = (0..100).map(|last| by_address(&worker_upstream, client(last), now));
            held.filter_map(Result::ok).map(|backend| backend.place.index()).collect()
        };
        assert_eq!(of_all(), [0; 100]);
        primary.shared.in_flight.0.store(50, Relaxed);
        assert_eq!(of_all(), [0; 0], "it is full, and no more than that");
        primary.shared.probed.store(crate::backend::Probed::Down as u8, Relaxed);
        assert_eq!(of_all(), [1; 100]);
        assert_eq!(backup.in_flight(), 0);
    }

    #[test]
    fn a_retry_is_taken_once_there_is_another_backend() {
        let worker_upstream = worker_upstream(&CONFIG.replace("app.test", "127.0.0.2"));
        let (client, now) = (IpAddr::from([192, 0, 2, 1]), Moment::now());
        let set = |probed: crate::backend::Probed| {
            worker_upstream.upstream.backends[1].shared.probed.store(probed as u8, Relaxed);
        };
        let move_on = |is_retry| another(&worker_upstream, client, (0, is_retry), now).is_ok();
        let retries = || worker_upstream.worker.retries.get();
        worker_upstream.upstream.backends[0].shared.probed.store(crate::backend::Probed::Down as u8, Relaxed);
        set(crate::backend::Probed::Down);
        assert!(!move_on(true) && !move_on(false));
        assert_eq!(retries(), 0, "there is none to try");
        set(crate::backend::Probed::Up);
        assert!(move_on(false));
        assert_eq!(retries(), 0);
        assert!(move_on(true));
        assert_eq!(retries(), 1);
    }

    #[test]
    fn backend_whose_name_is_being_looked_up_has_not_failed() {
        let worker_upstream = worker_upstream(CONFIG);
        let (named, other) = (&worker_upstream.upstream.backends[0], &worker_upstream.upstream.backends[1]);
        let (client, now) = (IpAddr::from([192, 0, 2, 1]), Moment::now());
        for _ in 0..4 {
            let backend = first(&worker_upstream, client, now).unwrap();
            assert_eq!(backend.place.index(), 1, "the other takes it");
        }
        other.shared.probed.store(crate::backend::Probed::Down as u8, Relaxed);
        let failures = || named.shared.failures_in_a_row.load(Relaxed);
        assert!(first(&worker_upstream, client, now).is_err());
        assert_eq!((failures(), named.in_flight()), (0, 0));
        // Once it has been looked up for nothing, that counts, and once for each datagram.
        named.shared.is_looked_up.store(true, Relaxed);
        assert!(first(&worker_upstream, client, now).is_err());
        assert_eq!((failures(), named.in_flight()), (1, 0));
    }
}
