//! Routes, and the table of those of a listener.

use std::{collections::HashMap, sync::Arc};

use super::{builder::Builder, filters};
use crate::{
    cache::{conf::CacheConf, store::Cache},
    config::{Config, listen::ListenerConf},
    route::{
        conf::{self as route_conf, RouteConf, Upgrade},
        matcher::{PathPattern, Rule},
        names::{NameRule, Names},
        table::Table,
    },
    runtime::{
        registry::CacheKey,
        snapshot::{Action, Route},
    },
};

impl Builder<'_> {
    pub(super) fn routes(&self, config: &Config, caches: &[Arc<Cache>]) -> Result<Vec<Arc<Route>>, String> {
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
        let name: Arc<str> = conf.name.as_str().into();
        Route {
            action,
            rewrite: conf.rewrite.clone(),
            request_headers: Some(&conf.request_headers).filter(|edits| !edits.is_empty()).cloned(),
            filters: filters::of_route(conf),
            allows_websocket: conf.upgrade.contains(&Upgrade::Websocket),
            allows_connect: conf.upgrade.contains(&Upgrade::Connect),
            tunnel_idle: conf.tunnel_idle,
            half_close_timeout: conf.half_close_timeout,
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

/// The routes of a listener.
pub(super) fn table(listener: &ListenerConf, routes: &[RouteConf]) -> Result<Table, String> {
    let own = routes.iter().enumerate().filter(|(_, route)| route.listeners.contains(&listener.name));
    let rules = own.map(|(index, route)| rule(index, route)).collect::<Result<Vec<_>, _>>()?;
    Ok(Table::build(rules))
}

/// The routes of a listener whose connections are passed on.
pub(super) fn names(listener: &ListenerConf, routes: &[RouteConf]) -> Names {
    let own = routes.iter().enumerate().filter(|(_, route)| route.listeners.contains(&listener.name));
    let rule = |(index, conf): (usize, &RouteConf)| NameRule {
        index,
        server_names: conf.server_names.clone(),
        alpn: conf.alpn.clone(),
    };
    Names::build(own.map(rule).collect())
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
