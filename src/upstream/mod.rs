//! Upstreams: picking a backend, connections to it, attempts and retries.
//!
//! Previous stop: `http::handle`, which has a route. Next stop: `http::respond`, which brings the response
//! to the client. An [`Upstream`] belongs to a snapshot and is shared by all workers; a [`WorkerUpstream`] is an
//! upstream as one worker sees it, with balancer state, pools and counters of its own.

pub mod acquire;
pub mod affinity;
pub mod announce;
mod attempt;
mod attempt_http2;
pub(crate) mod carrier;
pub mod conf;
mod datagrams;
pub mod discover;
pub mod forward;
pub mod forward_request;
mod grpc_call;
pub mod http2_pool;
mod judged;
pub mod pool;
mod pools;
pub mod queue;
pub mod request_head;
pub mod response;
pub mod retry;
pub mod sessions;
mod switched;
mod upgrade;
pub mod upload;
pub mod verdict;
mod websocket;
pub mod worker_upstream;

use std::{collections::HashMap, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};

use self::{conf::UpstreamConf, queue::Queue, sessions::Sessions};
pub use self::{
    response::UpstreamResponse,
    switched::{Switched, SwitchedTo},
    worker_upstream::{Permit, WorkerUpstream},
};
use crate::{
    backend::{self, Backend},
    balance::{BackendStats, Balancer},
    error::{Kind, ProxyError, Result},
    health::{Change, Condition, passive::Passive},
    telemetry::metrics::{BackendSeries, NameId},
};

/// An upstream of a snapshot.
#[derive(Debug)]
pub struct Upstream {
    /// Its configuration, with what an administrator changed.
    pub conf: UpstreamConf,
    /// The number of its name.
    pub name: NameId,
    /// The generation that it was built for; later ones that change nothing of it share it.
    pub generation: u64,
    /// Its backends; everywhere else a backend is its index here.
    pub backends: Vec<Arc<Backend>>,
    /// TLS to the backends, when there is any.
    pub tls: Option<ClientTls>,
    /// What real traffic says of the backends.
    pub passive: Passive,
    /// Who waits for a backend.
    pub queue: Arc<Queue>,
    /// Sessions of datagrams.
    pub sessions: Arc<Sessions>,
    /// Tables of the balancing policy, made once for all workers.
    pub balancer: Balancer,
    /// What each worker counts and measures: by worker, then by backend.
    pub own: Box<[Box<[BackendCounters]>]>,
    /// Hash of the files that it was built from: certificates and keys.
    pub files: u64,
}

/// What one worker counts and measures of one backend. The registry keeps it beyond this generation.
#[derive(Clone, Debug, Default)]
pub struct BackendCounters {
    /// Its counters.
    pub series: Arc<BackendSeries>,
    /// The balancer's measurements.
    pub row: Arc<BackendStats>,
}

impl Upstream {
    /// For each backend its index in `before`, which may be of another generation. A backend is the same
    /// when what outlives a reload is.
    pub fn map_from(&self, before: &Self) -> Vec<Option<usize>> {
        let identity = |backend: &Arc<Backend>| Arc::as_ptr(&backend.shared);
        let old: HashMap<*const backend::Shared, usize> =
            before.backends.iter().enumerate().map(|(index, backend)| (identity(backend), index)).collect();
        self.backends.iter().map(|backend| old.get(&identity(backend)).copied()).collect()
    }

    /// Whether a connection to a backend of `before` may be used as one of this generation.
    fn speaks_as(&self, before: &Self) -> bool {
        if self.conf.protocol != before.conf.protocol
            || self.conf.http2 != before.conf.http2
            || self.conf.proxy_protocol != before.conf.proxy_protocol
            || self.conf.proxy_protocol_tlvs != before.conf.proxy_protocol_tlvs
            || self.conf.starttls != before.conf.starttls
        {
            return false;
        }
        match (&self.tls, &before.tls) {
            (None, None) => true,
            (Some(tls), Some(before)) => {
                Arc::ptr_eq(&tls.config, &before.config) && tls.server_name == before.server_name
            }
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// Logs that a backend's state changed, and why.
    pub fn log_change(&self, change: &Change) {
        let backend = self.backends.get(change.index).map_or("?", |backend| &backend.name);
        log_change(&self.conf.name, backend, change);
    }
}

/// Logs that a backend's state changed, and why.
pub fn log_change(upstream: &str, backend: &str, change: &Change) {
    match change.condition {
        Condition::Up => tracing::info!(upstream, backend, "backend is up: {}", change.reason),
        Condition::Down => tracing::warn!(upstream, backend, "backend is down: {}", change.reason),
        Condition::Ejected => tracing::warn!(upstream, backend, "backend is ejected: {}", change.reason),
    }
}

/// How TLS to backends is done.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// Roots, versions, client certificate.
    pub config: Arc<ClientConfig>,
    /// The same with HTTP/2 offered by ALPN, where the upstream may speak it.
    pub http2: Option<Arc<ClientConfig>>,
    /// The name to ask for and to verify; the backend's host when there is none.
    pub server_name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// The name to ask this backend for: configured, else the backend's host. Never the request's, since a connection
    /// serves many requests, and who sends them does not choose whom we trust.
    pub fn name_for(&self, backend: &Backend) -> Result<ServerName<'static>> {
        if let Some(name) = &self.server_name {
            return Ok(name.clone());
        }
        let name = match &backend.address {
            backend::Address::Host { host, .. } | backend::Address::OfName { host, .. } => host,
            // A configuration with these and without a name is refused.
            backend::Address::Unix(_) | backend::Address::Srv(_) => "",
        };
        ServerName::try_from(name.to_owned()).map_err(|error| ProxyError::because(Kind::UpstreamTls, error))
    }
}
