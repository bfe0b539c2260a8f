//! One immutable, checked, built configuration. `build` is fallible and has no effect outside; see
//! `app` for acquiring and publishing it.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;

use super::registry::{ListenerShared, Registry};
use crate::{
    backend::{Admin, Backend, Probed},
    balance::Balancer,
    config::{
        Config,
        listen::{ListenAddress, ListenerConf, Protocol},
    },
    h1::{HeadLimits, head::MOST_FIELDS},
    health::{conf::InitialState, ejection::Ejection, passive::Passive},
    route::{
        conf::{self as route_conf, HeaderEditConf, RewriteConf, RouteConf, Upgrade},
        matcher::{PathPattern, Rule},
        table::Table,
    },
    telemetry::metrics::NameId,
    tls::{client, server::ServerTls, tickets::Tickets},
    upstream::{ClientTls, Upstream, conf::UpstreamConf, discover, queue::Queue},
};

/// A built configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Its number; each publish is one more.
    pub generation: u64,
    /// What it was built from.
    pub config: Config,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// The routes in file order.
    pub routes: Vec<Route>,
    /// The upstreams.
    pub upstreams: Vec<Arc<Upstream>>,
}

/// A listener, built.
#[derive(Debug)]
pub struct Listener {
    /// Its configuration.
    pub conf: ListenerConf,
    /// The number of its name.
    pub name: NameId,
    /// Its routes.
    pub table: Table,
    /// TLS, on `https`.
    pub tls: Option<ServerTls>,
    /// Bounds on request heads.
    pub limits: HeadLimits,
    /// Its counts.
    pub shared: Arc<ListenerShared>,
}

/// A route, built.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// What becomes of its requests.
    pub action: Action,
    /// How host and path change on the way.
    pub rewrite: Option<RewriteConf>,
    /// Edits of the request's fields; `None` when there is nothing to do.
    pub request_headers: Option<HeaderEditConf>,
    /// Edits of the response's fields; `None` when there is nothing to do.
    pub response_headers: Option<HeaderEditConf>,
    /// Whether WebSocket upgrades are let through.
    pub allows_websocket: bool,
    /// Whether CONNECT is let through.
    pub allows_connect: bool,
    /// How long a tunnel, or a response under way, may be silent.
    pub tunnel_idle: Duration,
    /// Whether to send `Forwarded`.
    pub forwarded: bool,
    /// Most that the whole exchange may take; zero is no limit.
    pub timeout: Duration,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Action {
    /// It goes to an upstream, by index.
    Upstream(usize),
    /// It goes to one of several at random by weight; the sum comes second.
    Split(Vec<(usize, u32)>, u32),
    /// The client is sent elsewhere.
    Redirect {
        /// Template of the location.
        to: String,
        /// The status.
        status: u16,
    },
    /// A fixed answer.
    Respond {
        /// The status.
        status: u16,
        /// The body.
        body: Arc<[u8]>,
        /// Its media type.
        content_type: String,
    },
}

/// Builds a snapshot. The error is for people.
pub fn build(
    config: Config,
    generation: u64,
    registry: &Registry,
    tickets: &Arc<Tickets>,
) -> Result<Snapshot, String> {
    let workers = registry.workers().len();
    let mut upstreams = Vec::with_capacity(config.upstream.len());
    for conf in &config.upstream {
        upstreams.push(Arc::new(build_upstream(conf, registry, workers)?));
    }
    let names: std::collections::HashMap<&str, usize> =
        config.upstream.iter().enumerate().map(|(index, conf)| (conf.name.as_str(), index)).collect();
    let find =
        |name: &str| names.get(name).copied().ok_or_else(|| format!("the upstream `{name}` is not there"));
    let routes = config.route.iter().map(|conf| build_route(conf, &find)).collect::<Result<Vec<_>, _>>()?;
    let listeners = config
        .listener
        .iter()
        .map(|conf| build_listener(conf, &config.route, registry, tickets))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Snapshot { generation, listeners, routes, upstreams, config })
}

fn build_listener(
    conf: &ListenerConf,
    routes: &[RouteConf],
    registry: &Registry,
    tickets: &Arc<Tickets>,
) -> Result<Listener, String> {
    let tls = match conf.protocol {
        Protocol::Http => None,
        Protocol::Https => {
            let tls = ServerTls::build(&conf.name, &conf.certificate, &conf.client_auth, tickets);
            Some(tls.map_err(|error| format!("listener `{}`: {error}", conf.name))?)
        }
    };
    let rules = routes
        .iter()
        .enumerate()
        .filter(|(_, route)| route.listeners.contains(&conf.name))
        .map(|(index, route)| rule(index, route))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Listener {
        name: registry.name(&conf.name),
        table: Table::build(rules),
        tls,
        limits: HeadLimits {
            bytes: usize::try_from(conf.limits.header_bytes.0).unwrap_or(usize::MAX),
            fields: (conf.limits.headers as usize).min(MOST_FIELDS),
            target: usize::try_from(conf.limits.uri_bytes.0).unwrap_or(usize::MAX),
        },
        shared: registry.listener(&conf.name),
        conf: conf.clone(),
    })
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

fn build_route(conf: &RouteConf, find: &dyn Fn(&str) -> Result<usize, String>) -> Result<Route, String> {
    let action = match &conf.action {
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
            body: respond.body.as_bytes().into(),
            content_type: respond.content_type.clone(),
        },
    };
    let edits = |conf: &HeaderEditConf| {
        let is_empty = conf.set.is_empty() && conf.add.is_empty() && conf.remove.is_empty();
        (!is_empty).then(|| conf.clone())
    };
    Ok(Route {
        name: conf.name.as_str().into(),
        action,
        rewrite: conf.rewrite.clone(),
        request_headers: edits(&conf.request_headers),
        response_headers: edits(&conf.response_headers),
        allows_websocket: conf.upgrade.contains(&Upgrade::Websocket),
        allows_connect: conf.upgrade.contains(&Upgrade::Connect),
        tunnel_idle: conf.tunnel_idle,
        forwarded: conf.forwarded,
        timeout: conf.timeout,
    })
}

fn build_upstream(conf: &UpstreamConf, registry: &Registry, workers: usize) -> Result<Upstream, String> {
    let tls = match &conf.tls {
        None => None,
        Some(tls) => {
            let (config, server_name) =
                client::build(tls).map_err(|error| format!("upstream `{}`: {error}", conf.name))?;
            Some(ClientTls { config, server_name })
        }
    };
    let backends: Vec<Arc<Backend>> = conf
        .backend
        .iter()
        .map(|backend| {
            let (shared, is_new) = registry.backend(&conf.name, &backend.address.to_string());
            if is_new {
                let is_down = conf.health_check.as_ref().is_some_and(|it| it.initial == InitialState::Down);
                let probed = if is_down { Probed::Down } else { Probed::Up };
                shared.probed.store(probed as u8, std::sync::atomic::Ordering::Relaxed);
            }
            let backend = Backend {
                name: backend.name.as_str().into(),
                address: backend.address.clone(),
                weight: backend.weight,
                max_connections: backend.max_connections,
                backup: backend.backup,
                slow_start: conf.slow_start,
                shared,
            };
            discover::seed(&backend);
            Arc::new(backend)
        })
        .collect();
    let outlier = &conf.outlier;
    let ejection = Ejection {
        consecutive_failures: outlier.consecutive_failures,
        failure_percent: outlier.failure_percent,
        minimum_requests: outlier.minimum_requests,
        window: outlier.window,
        base_ejection: outlier.base_ejection,
        max_ejected_percent: outlier.max_ejected_percent,
    };
    Ok(Upstream {
        passive: Passive::new(ejection, &backends, workers),
        balancer: Balancer::build(conf.balance, conf.hash_balance, &backends, 0),
        queue: Arc::new(Queue::new(conf.queue.size as usize)),
        tls,
        backends,
        conf: conf.clone(),
    })
}

impl Listener {
    /// Whether `allow` and `deny` let this address in; `deny` wins.
    pub fn admits(&self, address: std::net::IpAddr) -> bool {
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !is_in(&self.conf.deny) && (self.conf.allow.is_empty() || is_in(&self.conf.allow))
    }

    /// Whether it listens on a unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self.conf.address, ListenAddress::Unix(_))
    }
}

/// What an administrator may have said of a backend, for people.
pub fn admin_text(admin: u8) -> Option<&'static str> {
    if admin == Admin::Draining as u8 {
        Some("draining")
    } else if admin == Admin::Disabled as u8 {
        Some("disabled")
    } else {
        None
    }
}
