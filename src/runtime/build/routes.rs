//! Routes, and the table of those of a listener.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU32},
};

use super::{builder::Builder, filters};
use crate::{
    cache::{conf::CacheConf, store::Cache},
    config::{Config, listen::ListenerConf},
    fields::{Known, is_of_address, vouches_for_client},
    file_tree::{Tree, conf::FilesConf},
    filter::{header_edits::HeaderEditConf, page::PageBody},
    h1::trailers::Withheld,
    route::{
        condition::Condition,
        conf::{self as route_conf, MatchConf, MatcherConf, RouteConf, ValueMatch, ValueMatches},
        host::HostPattern,
        matcher::{PathPattern, Rule},
        names::{NameRule, Names},
        rewrite::Rewrite,
        spelling::spelled,
        table::Table,
    },
    runtime::{
        admission::Admission,
        cache_key::CacheKey,
        mirror::{Mirror, MirrorCounts},
        snapshot::{Action, Route},
    },
    template::{Context, Template, Use},
    upstream::request_head::Settled,
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
        let listeners = &config.listener;
        let route = |conf: &RouteConf| {
            let action = action(conf, &find)?;
            let mirrored = conf.mirror.as_ref().map(|mirror| find(&mirror.upstream)).transpose()?;
            let is_own = |cache: &&Arc<Cache>| Some(&cache.conf.name) == conf.cache.as_ref();
            let cache = caches.iter().find(is_own);
            let key_suffix = key_suffix(conf, listeners.len());
            let withheld = withheld(conf, listeners);
            let is_same = |old: &Route| match cache {
                Some(cache) => old.cache.as_ref().is_some_and(|before| Arc::ptr_eq(before, cache)),
                None => true,
            };
            match before.get(conf.name.as_str()) {
                // Action and mirror name upstreams by index, which may have moved.
                Some((old, route))
                    if *old == conf
                        && route.action == action
                        && route.mirror.as_ref().map(|mirror| mirror.upstream) == mirrored
                        && route.key_suffix == key_suffix
                        && route.withheld == withheld
                        && is_same(route) =>
                {
                    Ok((*route).clone())
                }
                other => {
                    let (name, registry) = (conf.name.as_str(), self.registry);
                    // Requests that are under way by the generation before count on, and those of an older one where the
                    // route comes back.
                    let in_flight = other.map(|(_, route)| route.admission.in_flight.clone());
                    let in_flight =
                        in_flight.unwrap_or_else(|| registry.admissions.get(name, AtomicU32::default));
                    let counts = other.and_then(|(_, route)| Some(route.mirror.as_ref()?.counts.clone()));
                    let mirror = conf.mirror.as_ref().zip(mirrored).map(|(conf, upstream)| Mirror {
                        upstream,
                        share: conf.percent / 100.0,
                        max_body: conf.max_body.0,
                        max_in_flight: conf.max_in_flight,
                        counts: counts.unwrap_or_else(|| registry.mirrors.get(name, MirrorCounts::default)),
                    });
                    let cache = cache.cloned().or_else(|| self.collapser(conf));
                    Ok(Arc::new(Route {
                        cache,
                        mirror,
                        key_suffix,
                        withheld,
                        ..self.route(conf, action, in_flight)
                    }))
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

    fn route(&self, conf: &RouteConf, action: Action, in_flight: Arc<AtomicU32>) -> Route {
        let name: Arc<str> = conf.name.as_str().into();
        let rewrite = conf.rewrite.as_ref().map(Rewrite::of);
        let set = conf.request_headers.set.iter().map(|(field, _)| field.as_str());
        let settled = set.chain(rewrite.iter().flat_map(Rewrite::headers));
        Route {
            action,
            settled_fields: settled.map(Box::from).collect(),
            told_fields: made(&conf.request_headers, has_told).map(Box::from).collect(),
            proving_fields: made(&conf.request_headers, Template::has_proof).map(Box::from).collect(),
            judged_fields: made(&conf.request_headers, is_judged).map(Box::from).collect(),
            own_fields: own_fields(&conf.request_headers).collect(),
            files: conf.files.0.as_ref().map(tree),
            rewrite,
            captures: captures(conf),
            filters: filters::of_route(conf),
            admission: Admission { max_in_flight: conf.max_in_flight, in_flight },
            body_bytes: conf.limits.body_bytes.map(|limit| limit.0),
            timeouts: conf.timeouts.clone(),
            buffer: conf.buffer.0,
            upgrades: conf.upgrade.clone(),
            tunnel_idle: conf.tunnel_idle,
            half_close_timeout: conf.half_close_timeout,
            min_rate: conf.min_rate.0,
            forwarded: conf.forwarded,
            settled_forwarding: Settled::of(set_or_removed(&conf.request_headers)),
            timeout: conf.timeout,
            stream_idle: conf.stream_idle,
            cache: None,
            mirror: None,
            key_suffix: None,
            withheld: Withheld::default(),
            withheld_of_responses: Withheld::new(edited(&conf.response_headers)),
            series: self.registry.workers().iter().map(|worker| worker.route(&name)).collect(),
            name,
        }
    }
}

/// What the keys of a route's cache have besides. It depends on how many listeners there are, and so does what the route
/// may share with the generation before: else one URI could lead to two routes, and one's responses be served for the
/// other's.
fn key_suffix(conf: &RouteConf, listeners: usize) -> Option<Arc<str>> {
    let is_one_of_several = conf.has_more_conditions() || conf.listeners.len() < listeners;
    is_one_of_several.then(|| conf.name.as_str().into())
}

/// The names of fields of which these edits say the last word, or none.
fn edited(conf: &HeaderEditConf) -> impl Iterator<Item = &str> {
    let set = conf.set.iter().map(|(name, _)| name);
    let replaced = conf.replace.0.iter().map(|replace| &replace.name);
    set.chain(replaced).chain(&conf.remove).map(String::as_str)
}

/// The names of fields that these edits set or remove, whatever is there.
fn set_or_removed(conf: &HeaderEditConf) -> impl Iterator<Item = &str> {
    conf.set.iter().map(|(name, _)| name).chain(&conf.remove).map(String::as_str)
}

/// The names of fields that these edits make of such values.
fn made(conf: &HeaderEditConf, is_such: fn(&Template) -> bool) -> impl Iterator<Item = &str> {
    let made = conf.set.iter().chain(&conf.set_if_missing).chain(&conf.add);
    let is_of = move |text: &str| is_such(&Template::of(text, Use::RequestField, Context::Field));
    made.filter(move |(_, text)| is_of(text)).map(|(name, _)| name.as_str())
}

/// Whether a value has what proxies say of a client, but for addresses.
fn has_told(value: &Template) -> bool {
    let of_proxy = [Known::OfProxy, Known::XForwardedHost, Known::XForwardedProto];
    let is_told =
        |name: &str| of_proxy.contains(&Known::of(name.as_bytes())) && !is_of_address(name.as_bytes());
    value.headers().any(is_told)
}

/// Whether a value has what a backend judges a write by: what clients prove themselves by, their cookies, or what proxies say
/// of who they are.
fn is_judged(value: &Template) -> bool {
    let has_vouched = || value.headers().any(|name| vouches_for_client(name.as_bytes()));
    value.has_proof() || value.has_cookies() || has_vouched()
}

/// The names of fields that these edits set to something that is not judged.
fn own_fields(conf: &HeaderEditConf) -> impl Iterator<Item = Box<str>> {
    let is_own = |text: &str| !is_judged(&Template::of(text, Use::RequestField, Context::Field));
    conf.set.iter().filter(move |(_, text)| is_own(text)).map(|(name, _)| name.as_str().into())
}

/// What trailers of requests on a route may not have. It depends on its listeners too.
fn withheld(conf: &RouteConf, listeners: &[ListenerConf]) -> Withheld {
    let own = listeners.iter().filter(|listener| conf.listeners.contains(&listener.name));
    let of_clients = own.filter_map(|listener| listener.client_address_from.header());
    Withheld::new(edited(&conf.request_headers).chain(of_clients))
}

/// The folder of this configuration; what is stripped of paths is as those are compared.
fn tree(conf: &FilesConf) -> Arc<Tree> {
    Arc::new(Tree::new(FilesConf { strip_prefix: spelled(&conf.strip_prefix), ..conf.clone() }))
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
            let to = Template::of(&redirect.to, Use::Redirect, Context::Url);
            Action::Redirect { to, status: redirect.status.0 }
        }
        route_conf::Action::Files(files) => Action::Files(tree(files)),
        route_conf::Action::Respond(respond) => {
            let body = match &respond.file {
                Some(page) => page.body(&respond.content_type, Use::Body),
                None => PageBody::of(&respond.body, &respond.content_type, Use::Body),
            };
            Action::Respond { status: respond.status, body, content_type: respond.content_type.clone() }
        }
    })
}

/// The regular expressions of a route's paths, where it may name their groups.
fn captures(conf: &RouteConf) -> Box<[regex::Regex]> {
    let regexes = conf.paths.iter().filter_map(|path| match path {
        route_conf::PathPattern::Regex(regex) => regex::Regex::new(regex).ok(),
        route_conf::PathPattern::Exact(_) | route_conf::PathPattern::Prefix(_) => None,
    });
    let edits = [&conf.request_headers, &conf.response_headers];
    let values =
        edits.into_iter().flat_map(|edits| edits.set.iter().chain(&edits.set_if_missing).chain(&edits.add));
    let action = match &conf.action {
        route_conf::Action::Redirect(redirect) => Some(&redirect.to),
        route_conf::Action::Respond(respond) => Some(&respond.body),
        route_conf::Action::Upstream(_) | route_conf::Action::Split(_) | route_conf::Action::Files(_) => None,
    };
    let rewrites = conf.rewrite.iter().flat_map(|rewrite| [&rewrite.path, &rewrite.host]);
    let queries = conf.rewrite.iter().flat_map(|rewrite| &rewrite.query);
    let parameters = queries.flat_map(|query| query.set.iter().chain(&query.add));
    let mut texts = values.chain(parameters).map(|(_, value)| value).chain(action).chain(rewrites);
    if texts.any(|text| text.contains("{path.")) { regexes.collect() } else { Box::default() }
}

/// The routes of a listener.
pub(super) fn table(
    listener: &ListenerConf,
    routes: &[RouteConf],
    matchers: &[MatcherConf],
) -> Result<Table, String> {
    let own = routes.iter().enumerate().filter(|(_, route)| route.listeners.contains(&listener.name));
    let rules = own.map(|(index, route)| rule(index, route, matchers)).collect::<Result<Vec<_>, _>>()?;
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

/// A route's conditions beside host, path and method: those of exact values, and the others.
fn conditions(conf: &RouteConf, matchers: &[MatcherConf]) -> Result<Conditions, regex::Error> {
    let own = conf.conditions();
    let (headers, of_headers) = exact(own.headers);
    let (query, of_query) = exact(own.query);
    let others = MatchConf {
        // The table finds rules by them.
        hosts: Vec::new(),
        methods: Vec::new(),
        headers: of_headers,
        query: of_query,
        ..own
    };
    let mut more = Condition::of(&others)?.into_vec();
    for matcher in matchers.iter().filter(|matcher| conf.matchers.contains(&matcher.name)) {
        more.extend(Condition::of(&matcher.conditions)?);
    }
    if !conf.any.is_empty() {
        more.push(Condition::Any(conf.any.iter().map(Condition::of).collect::<Result<_, _>>()?));
    }
    for group in &conf.not {
        more.push(Condition::Not(Condition::of(group)?));
    }
    Ok((headers, query, more))
}

/// Names with one exact value each, and what else is said of values.
fn exact(values: ValueMatches) -> (Exact, ValueMatches) {
    let (mut exact, mut others) = (Vec::new(), ValueMatches::default());
    for (name, value) in values.0 {
        match value {
            ValueMatch::In(texts) if texts.len() == 1 => exact.push((name, texts.concat())),
            other => others.0.push((name, other)),
        }
    }
    (exact, others)
}

type Exact = Vec<(String, String)>;
type Conditions = (Exact, Exact, Vec<Condition>);

fn rule(index: usize, conf: &RouteConf, matchers: &[MatcherConf]) -> Result<Rule, String> {
    let (headers, query, more) = conditions(conf, matchers).map_err(|error| error.to_string())?;
    let path = |pattern: &route_conf::PathPattern| {
        Ok::<_, String>(match pattern {
            route_conf::PathPattern::Exact(path) => PathPattern::Exact(spelled(path)),
            route_conf::PathPattern::Prefix(path) => PathPattern::Prefix(spelled(path)),
            route_conf::PathPattern::Regex(regex) => {
                PathPattern::Regex(regex::Regex::new(regex).map_err(|error| error.to_string())?)
            }
        })
    };
    Ok(Rule {
        index,
        hosts: HostPattern::all(&conf.hosts).map_err(|error| error.to_string())?.into_vec(),
        paths: conf.paths.iter().map(path).collect::<Result<_, _>>()?,
        methods: conf.methods.iter().map(|method| method.as_str().to_owned()).collect(),
        headers,
        query,
        more,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        moment::Moment,
        runtime::{registry::Registry, snapshot::Snapshot},
        tls::tickets::Tickets,
    };

    /// Else what the one route stored would be served by the other, which is on a listener that came later.
    #[test]
    fn keys_tell_routes_apart_once_there_is_another_listener() {
        let config = |more: &str, routes: &str| {
            let text = format!(
                "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{more}[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n\
                 [[upstream]]\nname = \"app\"\n[[upstream.backend]]\naddress = \"127.0.0.1:1\"\n\
                 [[route]]\nname = \"a\"\nlisteners = [\"web\"]\npaths = [\"/a/*\"]\nupstream = \"app\"\ncache = \"pages\"\n{routes}"
            );
            crate::config::parse(&text, "test.toml".as_ref())
                .unwrap_or_else(|problems| panic!("{problems:?}"))
        };
        let (registry, tickets) = (Registry::new(1), Tickets::new(Moment::now()).unwrap());
        let build = |before, config| {
            Builder { generation: 1, registry: &registry, tickets: &tickets, before }.build(config).unwrap()
        };
        let alone = build(None, config("", ""));
        assert_eq!(alone.routes[0].key_suffix, None);
        let listener = "[[listener]]\nname = \"internal\"\naddress = \"127.0.0.2:0\"\n";
        let route = "[[route]]\nname = \"b\"\nupstream = \"app\"\ncache = \"pages\"\n";
        let both = build(Some(&alone), config(listener, route));
        assert_eq!(both.routes[0].key_suffix.as_deref(), Some("a"));
        assert_eq!(both.routes[1].key_suffix, None);
        let again = build(Some(&both), config("", ""));
        assert_eq!(again.routes[0].key_suffix, None);
    }

    /// Else it would let in as many as it may beside those that it has.
    #[test]
    fn requests_of_a_route_count_when_it_comes_back() {
        let config = |routes: &str| {
            let text = format!(
                "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[upstream]]\nname = \"app\"\n\
                 [[upstream.backend]]\naddress = \"127.0.0.1:1\"\n[[upstream]]\nname = \"copy\"\n\
                 [[upstream.backend]]\naddress = \"127.0.0.1:2\"\n[[route]]\nname = \"all\"\nupstream = \"app\"\n{routes}"
            );
            crate::config::parse(&text, "test.toml".as_ref())
                .unwrap_or_else(|problems| panic!("{problems:?}"))
        };
        let limited = "[[route]]\nname = \"a\"\npaths = [\"/a/*\"]\nupstream = \"app\"\nmax_in_flight = 1\n\
             mirror = { upstream = \"copy\", max_in_flight = 1 }\n";
        let (registry, tickets) = (Registry::new(1), Tickets::new(Moment::now()).unwrap());
        let build = |before: Option<&Snapshot>, routes: &str| {
            let builder = Builder { generation: 1, registry: &registry, tickets: &tickets, before };
            builder.build(config(routes)).unwrap()
        };
        let first = build(None, limited);
        let request = first.routes[1].admission.enter().unwrap();
        let copy = first.routes[1].mirror.as_ref().unwrap().enter().unwrap();
        let second = build(Some(&first), "");
        drop(first);
        let third = build(Some(&second), limited);
        let (admission, mirror) = (&third.routes[1].admission, third.routes[1].mirror.as_ref().unwrap());
        assert!(admission.enter().is_err() && mirror.enter().is_none());
        drop((request, copy));
        assert!(admission.enter().is_ok() && mirror.enter().is_some());
    }
}
