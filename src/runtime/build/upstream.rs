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
    backend::{Backend, Probed},
    balance::Balancer,
    health::{conf::InitialState, ejection::Ejection, passive::Passive},
    runtime::registry::WorkerRegistry,
    tls::{client, conf::UpstreamTlsConf},
    upstream::{
        BackendCounters, ClientTls, Upstream,
        conf::{BackendConf, UpstreamConf, UpstreamProtocol},
        discover,
        queue::Queue,
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
            queue: before.map_or_else(|| queue(conf), |before| before.queue.clone()),
            sessions: before.map_or_else(Arc::default, |before| before.sessions.clone()),
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
        if is_new || comes_again {
            let is_down = upstream.health_check.as_ref().is_some_and(|it| it.initial == InitialState::Down);
            let probed = if is_down { Probed::Down } else { Probed::Up };
            shared.probed.store(probed as u8, Relaxed);
        }
        shared.is_known.store(!is_new && !comes_again, Relaxed);
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

fn queue(conf: &UpstreamConf) -> Arc<Queue> {
    let queue = Queue::new(conf.queue.size as usize);
    queue.set_when_all_down(conf.when_all_down);
    Arc::new(queue)
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
    use std::time::Duration;

    use super::*;
    use crate::{
        config,
        health::state::{Checks, Thresholds},
        moment::Moment,
        runtime::{registry::Registry, snapshot::Snapshot},
        tls::tickets::Tickets,
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
}
