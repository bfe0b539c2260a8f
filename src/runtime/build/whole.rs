//! A snapshot, of its parts.

use std::{collections::HashMap, sync::Arc};

use super::{builder::Builder, files::Files};
use crate::{
    cache::{conf::CacheConf, store::Cache},
    config::{Config, peers},
    moment::Moment,
    runtime::{cache_key::CacheKey, registry::Registry, snapshot::Snapshot},
    template::{Context, Template, Use},
    tls::tickets::Tickets,
    upstream::{
        Upstream,
        conf::{SendProxyProtocol, UpstreamConf},
    },
};

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
            listeners.push(self.listener(conf, (&config.route, &config.matcher), &mut files)?);
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
        let peers = config.upstream.iter().position(|conf| conf.name == peers::NAME);
        let is_told = |conf: &UpstreamConf| conf.proxy_protocol != SendProxyProtocol::Off;
        let tells_backends = config.upstream.iter().any(is_told);
        let field = |(name, text): &(String, String)| {
            (name.as_str().into(), Template::of(text, Use::Log, Context::Plain))
        };
        let log_fields = config.log.fields.iter().map(field).collect();
        Ok(Snapshot {
            generation,
            tells_backends,
            log_fields,
            listeners,
            routes,
            upstreams,
            caches,
            peers,
            members: self.registry.members.clone(),
            no_route,
            by_slot,
            by_name,
            config,
        })
    }

    /// A cache that is configured as before is the same one; another one holds what that held. One with a new name, and the
    /// folder of one that is not configured any more, is that one: the folder has one owner, who goes on.
    fn caches(&self, confs: &[CacheConf]) -> Vec<Arc<Cache>> {
        let before = self.before.map_or(&[][..], |before| &before.caches);
        let named = |name: &str| before.iter().find(|before| before.conf.name == name);
        let renamed = |conf: &CacheConf| {
            let is_gone = |before: &Cache| confs.iter().all(|conf| conf.name != before.conf.name);
            before.iter().find(|before| before.conf.has_folder_of(conf) && is_gone(before))
        };
        let store = |conf: &CacheConf| match named(&conf.name).or_else(|| renamed(conf)) {
            Some(before) => before.store.clone(),
            None => {
                let key = CacheKey::Named(conf.name.as_str().into());
                self.registry.cache(key, Some(Cache::shape(conf)))
            }
        };
        confs
            .iter()
            .map(|conf| match before.iter().find(|before| before.conf == *conf) {
                Some(before) => before.clone(),
                None => Arc::new(Cache::new(conf, store(conf))),
            })
            .collect()
    }
}
