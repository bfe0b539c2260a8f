//! Upstreams and their backends.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use rustls::ClientConfig;

use super::{
    builder::Builder,
    files::{Files, pair},
};
use crate::{
    backend::{Address, Backend, Probed},
    balance::Balancer,
    health::{conf::InitialState, ejection::Ejection, passive::Passive},
    moment::Moment,
    runtime::registry::WorkerRegistry,
    tls::{client, conf::UpstreamTlsConf},
    upstream::{
        BackendCounters, ClientTls, Upstream,
        conf::{BackendConf, UpstreamConf, UpstreamProtocol},
        discover,
        queue::Queue,
        sessions::Sessions,
    },
};

impl Builder<'_> {
    pub(super) fn upstream(
        &self,
        conf: &UpstreamConf,
        before: Option<&Arc<Upstream>>,
        files: &mut Files,
    ) -> Result<Arc<Upstream>, String> {
        let hash = files.hash(conf.tls.iter().flat_map(tls_files));
        if let Some(before) = before.filter(|before| before.conf == *conf && before.files == hash) {
            return Ok(before.clone());
        }
        let same_tls = before
            .filter(|before| before.files == hash && before.conf.tls == conf.tls && conf.tls.is_some())
            .filter(|before| before.conf.protocol == conf.protocol);
        let tls = match (&conf.tls, same_tls) {
            (None, _) => None,
            // Its sessions can be resumed, and connections in the pools go on.
            (Some(_), Some(before)) => before.tls.clone(),
            (Some(tls), None) => {
                let (config, server_name) =
                    client::build(tls).map_err(|error| format!("upstream `{}`: {error}", conf.name))?;
                Some(ClientTls { http2: offering_http2(&config, conf.protocol), config, server_name })
            }
        };
        let backends: Vec<Arc<Backend>> =
            conf.backend.iter().map(|it| self.backend(conf, it, before)).collect();
        let workers = self.registry.workers();
        let own = |backend: &Arc<Backend>, worker: &WorkerRegistry| -> BackendCounters {
            worker.backend(&conf.name, &backend.address.to_string())
        };
        let upstream = Upstream {
            passive: Passive::new(ejection(conf), &backends, workers.len()),
            balancer: Balancer::build(conf.balance, conf.hash_balance, &backends, 0),
            // What an older generation has of one that comes back gives its places to those who wait now.
            queue: before.map_or_else(
                || self.registry.queues.get(&conf.name, || queue(conf)),
                |before| before.queue.clone(),
            ),
            sessions: before.map_or_else(
                || self.registry.sessions.get(&conf.name, Sessions::default),
                |before| before.sessions.clone(),
            ),
            own: workers
                .iter()
                .map(|worker| backends.iter().map(|backend| own(backend, worker)).collect())
                .collect(),
            name: self.registry.name(&conf.name),
            generation: self.generation,
            files: hash,
            tls,
            backends,
            conf: conf.clone(),
        };
        if let Some(before) = before {
            upstream.passive.carry_over(&before.passive, &upstream.map_from(before));
        }
        Ok(Arc::new(upstream))
    }

    fn backend(
        &self,
        upstream: &UpstreamConf,
        conf: &BackendConf,
        before: Option<&Arc<Upstream>>,
    ) -> Arc<Backend> {
        let (shared, is_new) = self.registry.backend(&upstream.name, &conf.address.to_string());
        let is_old =
            |before: &Arc<Upstream>| before.backends.iter().any(|it| Arc::ptr_eq(&it.shared, &shared));
        // One that was left out and comes again was not checked meanwhile, however long an old generation is held.
        let comes_again = self.before.is_some() && !before.is_some_and(is_old);
        let begins = is_new || comes_again;
        let other_form = before.filter(|_| begins).and_then(|before| other_form(before, &conf.address));
        if let Some(other) = other_form {
            shared.inherit(&other.shared, Moment::now());
            // Those of a name are one backend again.
            if matches!(conf.address, Address::Host { .. }) {
                shared.inherit_failures(&other.shared);
            }
        }
        let check = upstream.health_check.as_ref();
        if begins && (other_form.is_none() || check.is_none()) {
            let is_down = check.is_some_and(|it| it.initial == InitialState::Down);
            let probed = if is_down { Probed::Down } else { Probed::Up };
            shared.probed.store(probed as u8, Relaxed);
        }
        shared.is_known.store(!begins || other_form.is_some(), Relaxed);
        let backend = Backend {
            name: conf.name.as_str().into(),
            address: conf.address.clone(),
            weight: conf.weight,
            max_connections: conf.max_connections,
            backup: conf.backup,
            slow_start: upstream.slow_start,
            shared,
        };
        discover::seed(&backend);
        Arc::new(backend)
    }
}

/// The backend that stood for the same servers in the generation before, where a name was one backend and each of its
/// addresses is one now, or the other way round: nothing became of them, and what is known of them holds. Of several that
/// one is taken that is well, since which of their addresses the name has kept is not known here.
fn other_form<'b>(before: &'b Upstream, address: &Address) -> Option<&'b Arc<Backend>> {
    let now = Moment::now();
    let is_well = |it: &Backend| it.is_probed_up() && it.shared.ejected_until.load(Relaxed) <= now.0;
    let is_it = |it: &&Arc<Backend>| match (&it.address, address) {
        (Address::Host { host, port }, Address::OfName { host: of, at })
        | (Address::OfName { host: of, at }, Address::Host { host, port }) => {
            host == of && *port == at.port()
        }
        _ => false,
    };
    before.backends.iter().filter(is_it).max_by_key(|it| is_well(it))
}

fn queue(conf: &UpstreamConf) -> Queue {
    let queue = Queue::new(conf.queue.size as usize);
    queue.set_when_all_down(conf.when_all_down);
    queue
}

/// The same TLS with HTTP/2 offered, where it may be spoken.
fn offering_http2(config: &Arc<ClientConfig>, protocol: UpstreamProtocol) -> Option<Arc<ClientConfig>> {
    let offered = match protocol {
        UpstreamProtocol::Http1 => return None,
        UpstreamProtocol::H2 => vec![b"h2".to_vec()],
        UpstreamProtocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols = offered;
    Some(Arc::new(config))
}

fn ejection(conf: &UpstreamConf) -> Ejection {
    let outlier = &conf.outlier;
    Ejection {
        consecutive_failures: outlier.consecutive_failures,
        failure_percent: outlier.failure_percent,
        minimum_requests: outlier.minimum_requests,
        window: outlier.window,
        base_ejection: outlier.base_ejection,
        max_ejected_percent: outlier.max_ejected_percent,
    }
}

fn tls_files(conf: &UpstreamTlsConf) -> impl Iterator<Item = &Path> {
    conf.certificate.iter().flat_map(pair).chain(conf.ca.as_deref())
}

#[cfg(test)]
mod tests {
    use std::{
        rc::Rc,
        task::{Context, Waker},
        time::Duration,
    };

    use super::*;
    use crate::{
        config,
        health::state::{Checks, Thresholds},
        runtime::{
            addresses::Addresses,
            registry::{Live, Registry},
            snapshot::Snapshot,
        },
        tls::tickets::Tickets,
        upstream::{Permit, WorkerUpstream, discover::Discovered, worker_upstream::WorkerIndex},
    };

    /// A generation with backends at these ports, each of which is down until a check has passed.
    fn generation(registry: &Registry, ports: &[u16], before: Option<&Snapshot>) -> Snapshot {
        let backends: Vec<String> =
            ports.iter().map(|port| format!("{{ address = \"127.0.0.1:{port}\" }}")).collect();
        let text = format!(
            "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[route]]\nname = \"all\"\nupstream = \"app\"\n\
             [[upstream]]\nname = \"app\"\nbackend = [{}]\n[upstream.health_check]\nkind = \"tcp\"\ninitial = \"down\"\n",
            backends.join(", ")
        );
        let config = config::parse(&text, "test.toml".as_ref()).unwrap();
        let tickets = Tickets::new(Moment::now()).unwrap();
        Builder { generation: 1, registry, tickets: &tickets, before }.build(config).unwrap()
    }

    /// What is held of an old generation, such as by a long exchange, must not let one in that nobody has checked.
    #[test]
    fn backend_that_comes_again_begins_as_a_new_one() {
        let registry = Registry::new(1);
        let first = generation(&registry, &[1, 2], None);
        let now = Moment::now();
        let checks_of = |backend: &Backend| {
            let (thresholds, mut rng) = (Thresholds { rise: 1, fall: 1 }, fastrand::Rng::new());
            let mut checks = Checks::new(thresholds, Duration::from_secs(1), false, backend, now, &mut rng);
            checks.on_sent(now, &mut rng);
            checks.on_result(0, backend, Ok(()), now);
            checks
        };
        let [stays, goes] = [0, 1].map(|index: usize| &first.upstreams[0].backends[index]);
        let (_kept, checks) = (checks_of(stays), checks_of(goes));
        let second = generation(&registry, &[1], Some(&first));
        checks.retire(goes, now);
        let third = generation(&registry, &[1, 2], Some(&second));
        let of_third = |index: usize| &third.upstreams[0].backends[index];
        assert!(Arc::ptr_eq(&of_third(1).shared, &goes.shared));
        assert!(!of_third(1).is_probed_up());
        assert!(!of_third(1).shared.is_known.load(Relaxed), "its checks begin as the file says");
        assert!(of_third(0).is_probed_up() && of_third(0).shared.is_known.load(Relaxed));
    }

    /// A generation with an upstream that has one place, or without it.
    fn limited(registry: &Registry, is_there: bool, before: Option<&Snapshot>) -> Snapshot {
        let rest = match is_there {
            true => {
                "upstream = \"app\"\n[[upstream]]\nname = \"app\"\nqueue = { size = 1 }\n\
                 backend = [{ address = \"127.0.0.1:1\", max_connections = 1 }]\n"
            }
            false => "respond = { status = 200 }\n",
        };
        let text = format!(
            "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[route]]\nname = \"all\"\n{rest}"
        );
        let config = config::parse(&text, "test.toml".as_ref()).unwrap();
        let tickets = Tickets::new(Moment::now()).unwrap();
        Builder { generation: 1, registry, tickets: &tickets, before }.build(config).unwrap()
    }

    /// A place at its backend.
    fn place(snapshot: &Snapshot) -> Permit {
        let (at, rng) = (WorkerIndex { worker: 0, workers: 1 }, fastrand::Rng::with_seed(1));
        let upstream = snapshot.upstreams[0].clone();
        let worker_upstream = Rc::new(WorkerUpstream::new(upstream, Arc::default(), at, rng, None));
        worker_upstream.pick_index(0, Moment::now()).unwrap()
    }

    /// Else nobody is called for a place that an exchange of the first generation gives back.
    #[test]
    fn an_upstream_that_comes_back_has_its_queue_and_sessions() {
        let registry = Registry::new(1);
        let first = limited(&registry, true, None);
        let second = limited(&registry, false, Some(&first));
        let third = limited(&registry, true, Some(&second));
        let (old, new) = (&first.upstreams[0], &third.upstreams[0]);
        let permit = place(&first);
        let waiting = new.queue.join(new.passive.backends(), None).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting.poll_called(&mut cx).is_pending());
        drop(permit);
        assert!(waiting.poll_called(&mut cx).is_ready());
        assert!(Arc::ptr_eq(&old.sessions, &new.sessions));
    }

    /// What a fetch of a cache has while nobody waits for it any more: a place, and no generation.
    #[test]
    fn a_place_at_a_backend_counts_without_its_generation() {
        let registry = Registry::new(1);
        let permit = place(&limited(&registry, true, None));
        registry.keep_only(&Live::default());
        let again = limited(&registry, true, None);
        assert!(again.upstreams[0].backends[0].is_full());
        drop(permit);
        assert!(!again.upstreams[0].backends[0].is_full());
        registry.keep_only(&Live::default());
        assert!(registry.backend("app", "127.0.0.1:1").1, "it is forgotten then");
    }

    /// A generation with a name that was looked up, whose addresses are these.
    fn named(registry: &Registry, initial: &str, at: &[&str], before: Option<&Snapshot>) -> Snapshot {
        let text = format!(
            "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[route]]\nname = \"all\"\nupstream = \"app\"\n\
             [[upstream]]\nname = \"app\"\nbackend = [{{ address = \"app.test:80\" }}]\n\
             [upstream.health_check]\nkind = \"tcp\"\ninitial = \"{initial}\"\n"
        );
        let mut config = config::parse(&text, "test.toml".as_ref()).unwrap();
        let mut addresses = Addresses::default();
        let servers = at.iter().map(|it| it.parse().unwrap()).collect();
        let (upstream, address) = ("app".into(), "app.test:80".into());
        addresses.note(Discovered { upstream, address, servers, left_out: 0 }, Moment::now());
        addresses.expand(&mut config.upstream[0]);
        let tickets = Tickets::new(Moment::now()).unwrap();
        Builder { generation: 1, registry, tickets: &tickets, before }.build(config).unwrap()
    }

    /// Else one record more in the DNS has nothing left that is up until all are checked.
    #[test]
    fn name_that_becomes_several_backends_stays_as_well() {
        let several = ["10.0.0.1:80", "10.0.0.2:80"];
        for (initial, other) in [("down", Probed::Up), ("up", Probed::Down)] {
            let registry = Registry::new(1);
            let set = |snapshot: &Snapshot, probed: Probed| {
                let backends = &snapshot.upstreams[0].backends;
                backends.iter().for_each(|it| it.shared.probed.store(probed as u8, Relaxed));
            };
            let states = |snapshot: &Snapshot| -> Vec<(bool, bool)> {
                let state = |it: &Arc<Backend>| (it.is_probed_up(), it.shared.is_known.load(Relaxed));
                snapshot.upstreams[0].backends.iter().map(state).collect()
            };
            let first = named(&registry, initial, &[], None);
            assert_eq!(states(&first), [(initial == "up", false)]);
            set(&first, other);
            let is_up = other == Probed::Up;
            let second = named(&registry, initial, &several, Some(&first));
            assert_eq!(states(&second), [(is_up, true), (is_up, true)], "initial = {initial}");
            // What the first is held by, such as a long exchange, has it come again: with what the others say.
            set(&first, if is_up { Probed::Down } else { Probed::Up });
            let third = named(&registry, initial, &[], Some(&second));
            assert!(Arc::ptr_eq(
                &third.upstreams[0].backends[0].shared,
                &first.upstreams[0].backends[0].shared
            ));
            assert_eq!(states(&third), [(is_up, true)], "initial = {initial}");
            // One that joins others is new.
            let more =
                named(&registry, initial, &["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"], Some(&second));
            assert_eq!(states(&more)[2], (initial == "up", false));
        }
    }

    /// A server that joins a failing one has done nothing.
    #[test]
    fn ejection_of_a_name_is_not_that_of_each_address() {
        let registry = Registry::new(1);
        let one = named(&registry, "up", &[], None);
        let shared = &one.upstreams[0].backends[0].shared;
        shared.ejected_until.store(u64::MAX, Relaxed);
        shared.failures_in_a_row.store(4, Relaxed);
        let several = named(&registry, "up", &["10.0.0.1:80", "10.0.0.2:80"], Some(&one));
        let backends = &several.upstreams[0].backends;
        assert_eq!(backends.len(), 2);
        for shared in backends.iter().map(|it| &it.shared) {
            let is = (shared.ejected_until.load(Relaxed), shared.failures_in_a_row.load(Relaxed));
            assert_eq!(is, (0, 0));
        }
    }

    #[test]
    fn name_that_is_one_again_is_as_its_best() {
        let registry = Registry::new(1);
        let several = named(&registry, "down", &["10.0.0.1:80", "10.0.0.2:80"], None);
        let [well, ejected] = [0, 1].map(|index: usize| &several.upstreams[0].backends[index].shared);
        well.probed.store(Probed::Up as u8, Relaxed);
        ejected.probed.store(Probed::Up as u8, Relaxed);
        ejected.ejected_until.store(u64::MAX, Relaxed);
        let one = named(&registry, "down", &[], Some(&several));
        assert!(one.upstreams[0].backends[0].is_healthy(Moment::now()));
        well.probed.store(Probed::Down as u8, Relaxed);
        let again = named(&Registry::new(1), "down", &[], Some(&several));
        assert!(!again.upstreams[0].backends[0].is_healthy(Moment::now()));
    }
}
