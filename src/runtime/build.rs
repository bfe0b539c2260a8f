//! Builds a [`Snapshot`] from a checked configuration: fallible, and without effect outside. What the
//! generation before has already, and did not change, is shared with it.
//!
//! Runs on a thread of its own at a reload: ten thousand routes take longer than an event loop may be blocked.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    registry::{CacheKey, Registry},
    snapshot::{Action, Listener, Route, Serves, Snapshot},
};
use crate::{
    backend::{Backend, Probed},
    balance::Balancer,
    cache::{conf::CacheConf, store::Cache},
    config::{
        Config,
        listen::{ListenerConf, Protocol},
    },
    h1::{HeadLimits, grammar::MOST_FIELDS},
    health::{conf::InitialState, ejection::Ejection, passive::Passive},
    moment::Moment,
    route::{
        conf::{self as route_conf, HeaderEditConf, RouteConf, Upgrade},
        matcher::{PathPattern, Rule},
        table::Table,
    },
    tls::{
        client,
        conf::{CertificateConf, UpstreamTlsConf},
        server::ServerTls,
        tickets::Tickets,
    },
    upstream::{BackendCounters, ClientTls, Upstream, conf::UpstreamConf, discover, queue::Queue},
};

/// What a snapshot is built with.
#[derive(Debug)]
pub struct Builder<'a> {
    /// The number of the generation.
    pub generation: u64,
    /// What outlives it.
    pub registry: &'a Registry,
    /// Keys of TLS session tickets.
    pub tickets: &'a Arc<Tickets>,
    /// The generation before.
    pub before: Option<&'a Snapshot>,
}

/// Builds a first snapshot. The error is for people.
pub fn build(
    config: Config,
    generation: u64,
    registry: &Registry,
    tickets: &Arc<Tickets>,
) -> Result<Snapshot, String> {
    Builder { generation, registry, tickets, before: None }.build(config)
}

/// Builds what a configuration describes to see whether it can be, or to look at it: what runs, if anything
/// does, is not shared with it and learns nothing of it.
pub fn build_apart(config: Config) -> Result<Snapshot, String> {
    let tickets = Tickets::new(Moment::now()).map_err(|error| error.to_string())?;
    build(config, 1, &Registry::new(1), &tickets)
}

impl Builder<'_> {
    /// Builds a snapshot. The error is for people.
    pub fn build(&self, config: Config) -> Result<Snapshot, String> {
        let mut files = Files::default();
        let mut upstreams = Vec::with_capacity(config.upstream.len());
        let before = self.before.map_or(&[][..], |before| &before.upstreams);
        let before: HashMap<&str, &Arc<Upstream>> =
            before.iter().map(|upstream| (upstream.conf.name.as_str(), upstream)).collect();
        for conf in &config.upstream {
            let before = before.get(conf.name.as_str()).copied();
            upstreams.push(self.upstream(conf, before, &mut files)?);
        }
        let caches = self.caches(&config.cache);
        let routes = self.routes(&config, &caches)?;
        let mut listeners = Vec::with_capacity(config.listener.len());
        for conf in &config.listener {
            listeners.push(self.listener(conf, &config.route, &mut files)?);
        }
        let slots = listeners.iter().map(|listener| listener.slot + 1).max().unwrap_or(0);
        let mut by_slot = vec![None; slots].into_boxed_slice();
        for (index, listener) in listeners.iter().enumerate() {
            if let Some(place) = by_slot.get_mut(listener.slot) {
                *place = Some(index);
            }
        }
        let no_route = self.registry.workers().iter().map(|worker| worker.route(&"".into())).collect();
        let by_name = upstreams.iter().enumerate().map(|(index, upstream)| (upstream.name, index)).collect();
        let generation = self.generation;
        Ok(Snapshot { generation, listeners, routes, upstreams, caches, no_route, by_slot, by_name, config })
    }

    /// A cache that is configured as before is the same one; another one holds what that held.
    fn caches(&self, confs: &[CacheConf]) -> Vec<Arc<Cache>> {
        let before = self.before.map_or(&[][..], |before| &before.caches);
        confs
            .iter()
            .map(|conf| match before.iter().find(|before| before.conf == *conf) {
                Some(before) => before.clone(),
                None => {
                    let key = CacheKey::Named(conf.name.as_str().into());
                    Arc::new(Cache::new(conf, self.registry.cache(key, Some(Cache::shape(conf)))))
                }
            })
            .collect()
    }

    fn routes(&self, config: &Config, caches: &[Arc<Cache>]) -> Result<Vec<Arc<Route>>, String> {
        let names: HashMap<&str, usize> =
            config.upstream.iter().enumerate().map(|(index, conf)| (conf.name.as_str(), index)).collect();
        let find = |name: &str| {
            names.get(name).copied().ok_or_else(|| format!("the upstream `{name}` is not there"))
        };
        let before: HashMap<&str, (&RouteConf, &Arc<Route>)> = self
            .before
            .iter()
            .flat_map(|before| before.config.route.iter().zip(&before.routes))
            .map(|(conf, route)| (conf.name.as_str(), (conf, route)))
            .collect();
        let listeners = config.listener.len();
        let route = |conf: &RouteConf| {
            let action = action(conf, &find)?;
            let is_own = |cache: &&Arc<Cache>| Some(&cache.conf.name) == conf.cache.as_ref();
            let cache = caches.iter().find(is_own);
            let is_same = |old: &Route| match cache {
                Some(cache) => old.cache.as_ref().is_some_and(|before| Arc::ptr_eq(before, cache)),
                None => true,
            };
            match before.get(conf.name.as_str()) {
                // The action names upstreams by index, which may have moved.
                Some((old, route)) if *old == conf && route.action == action && is_same(route) => {
                    Ok((*route).clone())
                }
                Some(_) | None => {
                    let cache = cache.cloned().or_else(|| self.collapser(conf));
                    Ok(Arc::new(Route { cache, ..self.route(conf, action, listeners) }))
                }
            }
        };
        config.route.iter().map(route).collect()
    }

    /// What collapses the requests of a route without a cache.
    fn collapser(&self, conf: &RouteConf) -> Option<Arc<Cache>> {
        let key = || CacheKey::Route(conf.name.as_str().into());
        let cache = || Cache::new(&CacheConf::collapsing(&conf.name), self.registry.cache(key(), None));
        conf.collapse.then(|| Arc::new(cache()))
    }

    fn route(&self, conf: &RouteConf, action: Action, listeners: usize) -> Route {
        let edits = |conf: &HeaderEditConf| {
            let is_empty = conf.set.is_empty() && conf.add.is_empty() && conf.remove.is_empty();
            (!is_empty).then(|| conf.clone())
        };
        let name: Arc<str> = conf.name.as_str().into();
        Route {
            action,
            rewrite: conf.rewrite.clone(),
            request_headers: edits(&conf.request_headers),
            response_headers: edits(&conf.response_headers),
            allows_websocket: conf.upgrade.contains(&Upgrade::Websocket),
            allows_connect: conf.upgrade.contains(&Upgrade::Connect),
            tunnel_idle: conf.tunnel_idle,
            min_rate: conf.min_rate.0,
            forwarded: conf.forwarded,
            timeout: conf.timeout,
            cache: None,
            // Else one URI could lead to two routes, and one's responses be served for the other's.
            key_suffix: (!conf.headers.is_empty() || conf.listeners.len() < listeners).then(|| name.clone()),
            series: self.registry.workers().iter().map(|worker| worker.route(&name)).collect(),
            name,
        }
    }

    fn listener(
        &self,
        conf: &ListenerConf,
        routes: &[RouteConf],
        files: &mut Files,
    ) -> Result<Listener, String> {
        let (slot, shared) = self.registry.listener(conf);
        let old = self.before.and_then(|before| before.listener(slot));
        let hash = files.hash(certificate_files(conf));
        let serves = match (conf.protocol, old) {
            (Protocol::Http, _) => Serves::Http,
            (Protocol::Https, Some(old))
                if old.files == hash
                    && old.conf.certificate == conf.certificate
                    && old.conf.client_auth == conf.client_auth =>
            {
                old.serves.clone()
            }
            (Protocol::Https, _) => {
                let tls = ServerTls::build(&conf.name, &conf.certificate, &conf.client_auth, self.tickets);
                Serves::Https(tls.map_err(|error| format!("listener `{}`: {error}", conf.name))?)
            }
        };
        let table = match (old, self.before) {
            (Some(old), Some(before)) if before.config.route == routes => old.table.clone(),
            _ => Arc::new(table(conf, routes)?),
        };
        Ok(Listener {
            name: self.registry.name(&conf.name),
            slot,
            table,
            serves,
            files: hash,
            limits: HeadLimits {
                bytes: usize::try_from(conf.limits.header_bytes.0).unwrap_or(usize::MAX),
                fields: (conf.limits.headers as usize).min(MOST_FIELDS),
                target: usize::try_from(conf.limits.uri_bytes.0).unwrap_or(usize::MAX),
            },
            shared,
            conf: conf.clone(),
        })
    }

    fn upstream(
        &self,
        conf: &UpstreamConf,
        before: Option<&Arc<Upstream>>,
        files: &mut Files,
    ) -> Result<Arc<Upstream>, String> {
        let hash = files.hash(conf.tls.iter().flat_map(tls_files));
        if let Some(before) = before.filter(|before| before.conf == *conf && before.files == hash) {
            return Ok(before.clone());
        }
        let same_tls =
            before.filter(|before| before.files == hash && before.conf.tls == conf.tls && conf.tls.is_some());
        let tls = match (&conf.tls, same_tls) {
            (None, _) => None,
            // Its sessions can be resumed, and connections in the pools go on.
            (Some(_), Some(before)) => before.tls.clone(),
            (Some(tls), None) => {
                let (config, server_name) =
                    client::build(tls).map_err(|error| format!("upstream `{}`: {error}", conf.name))?;
                Some(ClientTls { config, server_name })
            }
        };
        let backends: Vec<Arc<Backend>> = conf.backend.iter().map(|it| self.backend(conf, it)).collect();
        let workers = self.registry.workers();
        let own = |backend: &Arc<Backend>, worker: &super::registry::WorkerRegistry| -> BackendCounters {
            worker.backend(&conf.name, &backend.address.to_string())
        };
        let upstream = Upstream {
            passive: Passive::new(ejection(conf), &backends, workers.len()),
            balancer: Balancer::build(conf.balance, conf.hash_balance, &backends, 0),
            queue: before.map_or_else(
                || Arc::new(Queue::new(conf.queue.size as usize)),
                |before| before.queue.clone(),
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

    fn backend(&self, upstream: &UpstreamConf, conf: &crate::upstream::conf::BackendConf) -> Arc<Backend> {
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

fn action(conf: &RouteConf, find: &dyn Fn(&str) -> Result<usize, String>) -> Result<Action, String> {
    Ok(match &conf.action {
        route_conf::Action::Upstream(name) => Action::Upstream(find(name)?),
        route_conf::Action::Split(parts) => {
            let choices = parts
                .iter()
                .map(|(name, weight)| Ok((find(name)?, *weight)))
                .collect::<Result<Vec<_>, String>>()?;
            let total = choices.iter().map(|(_, weight)| weight).sum();
            Action::Split(choices, total)
        }
        route_conf::Action::Redirect(redirect) => {
            Action::Redirect { to: redirect.to.clone(), status: redirect.status.0 }
        }
        route_conf::Action::Respond(respond) => Action::Respond {
            status: respond.status,
            body: respond.body.clone().into(),
            content_type: respond.content_type.clone(),
        },
    })
}

fn table(listener: &ListenerConf, routes: &[RouteConf]) -> Result<Table, String> {
    let own = routes.iter().enumerate().filter(|(_, route)| route.listeners.contains(&listener.name));
    let rules = own.map(|(index, route)| rule(index, route)).collect::<Result<Vec<_>, _>>()?;
    Ok(Table::build(rules))
}

fn rule(index: usize, conf: &RouteConf) -> Result<Rule, String> {
    let path = |pattern: &route_conf::PathPattern| {
        Ok::<_, String>(match pattern {
            route_conf::PathPattern::Exact(path) => PathPattern::Exact(path.clone()),
            route_conf::PathPattern::Prefix(path) => PathPattern::Prefix(path.clone()),
            route_conf::PathPattern::Regex(regex) => {
                PathPattern::Regex(regex::Regex::new(regex).map_err(|error| error.to_string())?)
            }
        })
    };
    Ok(Rule {
        index,
        hosts: conf.hosts.clone(),
        paths: conf.paths.iter().map(path).collect::<Result<_, _>>()?,
        methods: conf.methods.iter().map(|method| method.as_str().to_owned()).collect(),
        headers: conf.headers.clone(),
        query: conf.query.clone(),
    })
}

/// Hashes of files, each read once: a thousand upstreams may name one authority.
#[derive(Debug, Default)]
struct Files(HashMap<PathBuf, u64>);

impl Files {
    fn hash<'a>(&mut self, paths: impl Iterator<Item = &'a Path>) -> u64 {
        let mut sum = Vec::new();
        for path in paths {
            let hash = match self.0.get(path) {
                Some(hash) => *hash,
                None => {
                    // What cannot be read is reported by who needs it.
                    let hash = fs::read(path).map_or(0, |bytes| xxh3_64(&bytes));
                    self.0.insert(path.to_owned(), hash);
                    hash
                }
            };
            sum.extend_from_slice(&hash.to_le_bytes());
        }
        xxh3_64(&sum)
    }
}

fn certificate_files(conf: &ListenerConf) -> impl Iterator<Item = &Path> {
    let ca = conf.client_auth.ca.as_deref();
    conf.certificate.iter().flat_map(pair).chain(ca)
}

fn tls_files(conf: &UpstreamTlsConf) -> impl Iterator<Item = &Path> {
    conf.certificate.iter().flat_map(pair).chain(conf.ca.as_deref())
}

fn pair(conf: &CertificateConf) -> [&Path; 2] {
    [&conf.chain, &conf.key]
}
