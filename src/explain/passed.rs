//! Why a connection goes where it goes that is passed on (`tcp://`, `tls://`, `quic://`).

use std::net::IpAddr;

use super::destination::{self, Destination};
use crate::{
    route::names::{NameRule, Names},
    runtime::{Listener, Snapshot},
    upstream::affinity,
};

/// A connection that is asked about.
#[derive(Debug)]
pub(super) struct Asked {
    /// The client's address.
    pub(super) from: IpAddr,
    /// The name that a TLS client asks for.
    pub(super) name: Option<String>,
    /// The protocols that it offers.
    pub(super) offered: Vec<Box<[u8]>>,
}

/// What a listener does with it.
#[derive(Debug)]
pub(super) struct Passage {
    /// Its routes in file order, and what became of each.
    pub(super) considered: Vec<(String, String)>,
    /// The route that takes it, and where that leads.
    pub(super) taken: Option<(String, Vec<Destination>)>,
}

/// What a listener would do with such a connection.
pub(super) fn explain(snapshot: &Snapshot, listener: &Listener, asked: &Asked) -> Passage {
    let find = |names: &Names| names.find(asked.name.as_deref(), &asked.offered);
    let taken = find(&listener.names);
    let route = taken.and_then(|index| snapshot.routes.get(index));
    let is_let_in = route.is_none_or(|route| route.filters.on_connect(asked.from).is_ok());
    let own = snapshot.config.route.iter().enumerate();
    let own = own.filter(|(_, route)| route.listeners.contains(&listener.conf.name));
    let considered = own.map(|(index, conf)| {
        let (server_names, alpn) = (conf.server_names.clone(), conf.alpn.clone());
        let verdict = match find(&Names::build(vec![NameRule { index, server_names, alpn }])) {
            _ if taken == Some(index) && !is_let_in => {
                "matches, but its `allow` and `deny` reject the client"
            }
            _ if taken == Some(index) => "matches",
            Some(_) => "matches, but a more specific route comes first",
            None => "the name or the protocols do not match",
        };
        (conf.name.clone(), verdict.to_owned())
    });
    let route = route.filter(|_| is_let_in);
    let taken = route.map(|route| {
        let choices = destination::choices(snapshot, &route.action).map(|(upstream, percent)| {
            let key = affinity::key_of_client(upstream, asked.from);
            destination::explain(upstream, percent, key, None)
        });
        (route.name.to_string(), choices.collect())
    });
    Passage { considered: considered.collect(), taken }
}
