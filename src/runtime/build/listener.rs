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
        listen::{ListenAddress, ListenerConf, Protocol},
        peers,
    },
    exchange::Terms,
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
        // The one in force comes first: one that has an old address back is not the one that had it then.
        let in_force =
            self.before.and_then(|before| before.listeners.iter().find(|old| is_same(&old.conf, conf)));
        let (slot, shared) = match in_force {
            Some(old) => (old.slot, old.shared.clone()),
            None => self.registry.listener(conf),
        };
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
            terms: terms(conf, old),
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

/// What connections are accepted by; the same as before where nothing of it has changed.
fn terms(conf: &ListenerConf, old: Option<&Listener>) -> Arc<Terms> {
    let is_same = |old: &ListenerConf| {
        (&old.allow, &old.deny, &old.trusted_proxies) == (&conf.allow, &conf.deny, &conf.trusted_proxies)
            && old.proxy_protocol_from == conf.proxy_protocol_from
            && old.client_address_from == conf.client_address_from
            && old.via == conf.via
    };
    match old {
        Some(old) if is_same(&old.conf) => old.terms.clone(),
        Some(_) | None => Arc::new(Terms { via: conf.via.clone() }),
    }
}

/// Whether a listener is the same one still: with one address of those that it had it is.
fn is_same(old: &ListenerConf, new: &ListenerConf) -> bool {
    let has = |address: &ListenAddress| old.address.iter().any(|other| other == address);
    old.name == new.name && old.protocol == new.protocol && new.address.iter().any(has)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        moment::Moment,
        runtime::{registry::Registry, snapshot::Snapshot},
        tls::tickets::Tickets,
    };

    /// A generation whose listener has these ports.
    fn generation(registry: &Registry, ports: &[u16], before: Option<&Snapshot>) -> Snapshot {
        let addresses: Vec<String> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        let text = format!(
            "[[listener]]\nname = \"web\"\naddress = [{}]\n[[route]]\nname = \"all\"\nrespond = {{ status = 200 }}\n",
            addresses.join(", ")
        );
        let config = config::parse(&text, "test.toml".as_ref()).unwrap();
        let tickets = Tickets::new(Moment::now()).unwrap();
        Builder { generation: 1, registry, tickets: &tickets, before }.build(config).unwrap()
    }

    /// The number that the listener has in it, once it is in force.
    fn publish(registry: &Registry, snapshot: &Snapshot) -> usize {
        let listener = &snapshot.listeners[0];
        registry.note_listener(&listener.conf, (listener.slot, &listener.shared));
        listener.slot
    }

    /// Else the connections that it has would be ended by a reload that takes nothing away.
    #[test]
    fn a_listener_with_an_old_address_again_stays_the_same() {
        let registry = Registry::new(1);
        let first = generation(&registry, &[8080], None);
        assert_eq!(publish(&registry, &first), 0);
        let second = generation(&registry, &[9090], Some(&first));
        assert_eq!(publish(&registry, &second), 1, "another address alone makes another");
        let third = generation(&registry, &[8080, 9090], Some(&second));
        assert_eq!(publish(&registry, &third), 1);
        assert!(Arc::ptr_eq(&third.listeners[0].shared, &second.listeners[0].shared));
        let fourth = generation(&registry, &[7070, 8080], Some(&third));
        assert_eq!(publish(&registry, &fourth), 1);
        let fifth = generation(&registry, &[6060], Some(&fourth));
        assert_eq!(publish(&registry, &fifth), 2);
        assert_eq!(generation(&registry, &[7070], Some(&fifth)).listeners[0].slot, 1, "it came back");
    }

    #[test]
    fn a_generation_that_is_never_in_force_leaves_no_number() {
        let registry = Registry::new(1);
        let first = generation(&registry, &[8080], None);
        publish(&registry, &first);
        assert_eq!(generation(&registry, &[7070, 8080], Some(&first)).listeners[0].slot, 0);
        assert_eq!(generation(&registry, &[7070], Some(&first)).listeners[0].slot, 1);
    }
}
