//! Listeners.

use std::{path::Path, sync::Arc};

use super::{
    builder::Builder,
    files::{Files, pair},
    filters,
    routes::{names, table},
};
use crate::{
    config::{
        listen::{ListenerConf, Protocol},
        peers,
    },
    h1::HeadLimits,
    route::conf::{Action, MatcherConf, RouteConf},
    runtime::snapshot::{Listener, Serves},
    tls::server::{Offer, ServerTls},
};

impl Builder<'_> {
    pub(super) fn listener(
        &self,
        conf: &ListenerConf,
        (routes, matchers): (&[RouteConf], &[MatcherConf]),
        files: &mut Files,
    ) -> Result<Listener, String> {
        let (slot, shared) = self.registry.listener(conf);
        let old = self.before.and_then(|before| before.listener(slot));
        let hash = files.hash(certificate_files(conf));
        let serves = match (conf.protocol, old) {
            (Protocol::Http, _) => Serves::Http,
            (Protocol::Tls, _) => Serves::Tls,
            (Protocol::Udp, _) => Serves::Udp,
            (Protocol::Tcp, _) if conf.certificate.is_empty() => Serves::Tcp(None),
            (Protocol::Https | Protocol::Tcp, Some(old))
                if old.files == hash
                    && old.conf.protocol == conf.protocol
                    && old.conf.certificate == conf.certificate
                    && old.conf.client_auth == conf.client_auth
                    && old.conf.tls == conf.tls
                    && old.conf.alpn == conf.alpn =>
            {
                old.serves.clone()
            }
            (Protocol::Https | Protocol::Tcp, _) => {
                let offer = Offer { crypto: &conf.tls, alpn: &conf.offered() };
                let (name, certificates) = (&conf.name, &conf.certificate);
                let tls = ServerTls::build(name, certificates, &conf.client_auth, offer, self.tickets);
                let tls = tls.map_err(|error| format!("listener `{}`: {error}", conf.name))?;
                match conf.protocol {
                    Protocol::Tcp => Serves::Tcp(Some(tls)),
                    _ => Serves::Https(tls),
                }
            }
        };
        let (table, names) = match (old, self.before) {
            (Some(old), Some(before))
                if before.config.route == routes
                    && before.config.matcher == matchers
                    && old.conf.protocol == conf.protocol =>
            {
                (old.table.clone(), old.names.clone())
            }
            _ if conf.protocol.is_http() => (Arc::new(table(conf, routes, matchers)?), Arc::default()),
            _ => (Arc::default(), Arc::new(names(conf, routes))),
        };
        Ok(Listener {
            name: self.registry.name(&conf.name),
            takes_websockets: routes.iter().any(|route| takes_websockets(route, conf)),
            hears_peers: conf.name == peers::NAME,
            slot,
            table,
            names,
            serves,
            files: hash,
            limits: HeadLimits {
                bytes: usize::try_from(conf.limits.header_bytes.0).unwrap_or(usize::MAX),
                fields: conf.limits.headers as usize,
                target: usize::try_from(conf.limits.uri_bytes.0).unwrap_or(usize::MAX),
            },
            filters: filters::of_listener(conf),
            shared,
            conf: conf.clone(),
        })
    }
}

/// Whether a route of this listener leads WebSockets to an upstream.
fn takes_websockets(route: &RouteConf, listener: &ListenerConf) -> bool {
    let is_of_listener = route.listeners.is_empty() || route.listeners.contains(&listener.name);
    let leads_on = matches!(route.action, Action::Upstream(_) | Action::Split(_));
    is_of_listener && leads_on && route.upgrade.allows(b"websocket")
}

fn certificate_files(conf: &ListenerConf) -> impl Iterator<Item = &Path> {
    let ca = conf.client_auth.ca.as_deref();
    conf.certificate.iter().flat_map(pair).chain(ca)
}
