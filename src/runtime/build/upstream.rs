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
        let backends: Vec<Arc<Backend>> = conf.backend.iter().map(|it| self.backend(conf, it)).collect();
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

    fn backend(&self, upstream: &UpstreamConf, conf: &BackendConf) -> Arc<Backend> {
        let (shared, is_new) = self.registry.backend(&upstream.name, &conf.address.to_string());
        if is_new {
            let is_down = upstream.health_check.as_ref().is_some_and(|it| it.initial == InitialState::Down);
            let probed = if is_down { Probed::Down } else { Probed::Up };
            shared.probed.store(probed as u8, Relaxed);
        } else {
            shared.is_known.store(true, Relaxed);
        }
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
