//! One immutable, checked, built configuration. [`super::build`] makes it; `reload` acquires what it needs
//! and publishes it.
//!
//! Generations share what did not change: a route, a table of routes, an upstream is one object in all of
//! them, so that an exchange that holds an old generation for hours holds little memory, and a worker that
//! goes on to a new one keeps what hangs on it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ipnet::IpNet;
use regex::Regex;

use super::{
    admission::Admission,
    mirror::Mirror,
    registry::{ListenerId, ListenerShared},
};
use crate::{
    backend::Admin,
    cache::store::Cache,
    cluster::peers::members::Members,
    config::{
        Config,
        listen::{ClientAddressFrom, ListenerConf},
    },
    exchange::Terms,
    file_tree::Tree,
    filter::{Filters, page::PageBody},
    h1::{HeadLimits, trailers::Withheld},
    net::tunnel::Silence,
    route::{
        conf::{RouteTimeoutsConf, Upgrades},
        names::Names,
        rewrite::Rewrite,
        table::Table,
    },
    telemetry::metrics::{NameId, RouteSeries},
    template::Template,
    tls::server::ServerTls,
    upstream::{Upstream, request_head::Settled},
};

/// A built configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// What lines of the access log have besides.
    pub log_fields: Box<[(Box<str>, Template)]>,
    /// Its number; each publish is one more.
    pub generation: u64,
    /// What it was built from.
    pub config: Config,
    /// Whether some upstream's backends are told by PROXY headers whom a connection is for.
    pub tells_backends: bool,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// The routes in file order.
    pub routes: Vec<Arc<Route>>,
    /// The upstreams.
    pub upstreams: Vec<Arc<Upstream>>,
    /// The index of the upstream whose backends are the peers of this node, where one may be asked for something.
    pub peers: Option<usize>,
    /// What is known of them.
    pub members: Arc<Members>,
    /// The caches in file order; those of routes that only collapse are the routes' own.
    pub caches: Vec<Arc<Cache>>,
    /// By worker: its counts of requests that no route took.
    pub no_route: Box<[Arc<RouteSeries>]>,
    /// For each slot the index of its listener here.
    pub(super) by_slot: Box<[Option<usize>]>,
    /// For each upstream's name its index here.
    pub(super) by_name: HashMap<NameId, usize>,
}

impl Snapshot {
    /// The listener that is in a slot; `None` when this generation does not have it.
    #[inline]
    pub fn listener(&self, slot: ListenerId) -> Option<&Listener> {
        self.listeners.get((*self.by_slot.get(slot)?)?)
    }

    /// The upstream whose name has this number.
    pub fn upstream(&self, name: NameId) -> Option<&Arc<Upstream>> {
        self.upstreams.get(*self.by_name.get(&name)?)
    }
}

/// A listener, built.
#[derive(Debug)]
pub struct Listener {
    /// Its configuration.
    pub conf: ListenerConf,
    /// The number of its name.
    pub name: NameId,
    /// Whether one of its routes takes WebSockets.
    pub takes_websockets: bool,
    /// Whether it hears the peers of this node, and nobody else.
    pub hears_peers: bool,
    /// Its own number, by which connections know it over generations.
    pub slot: ListenerId,
    /// Its routes.
    pub table: Arc<Table>,
    /// Its routes, where connections are passed on.
    pub names: Arc<Names>,
    /// What its connections are accepted by.
    pub terms: Arc<Terms>,
    /// What it serves.
    pub serves: Serves,
    /// Hash of the files that its TLS was built from.
    pub files: u64,
    /// Bounds on request heads.
    pub limits: HeadLimits,
    /// What it does with requests and with every response.
    pub filters: Filters,
    /// Its counts.
    pub shared: Arc<ListenerShared>,
}

/// What a listener serves.
#[derive(Clone, Debug)]
pub enum Serves {
    /// HTTP/1.1, and HTTP/2 with prior knowledge.
    Http,
    /// HTTP/1.1 and HTTP/2 over TLS.
    Https(ServerTls),
    /// TCP, byte for byte, with TLS ended here or without.
    Tcp(Option<ServerTls>),
    /// TLS, byte for byte.
    Tls,
    /// Datagrams.
    Udp,
}

impl Serves {
    /// How connections are decrypted, where they are.
    pub fn tls(&self) -> Option<&ServerTls> {
        match self {
            Self::Http | Self::Tls | Self::Udp => None,
            Self::Https(tls) => Some(tls),
            Self::Tcp(tls) => tls.as_ref(),
        }
    }

    /// Whether nothing comes of a connection before its client has spoken.
    pub fn awaits_client(&self) -> bool {
        match self {
            Self::Http | Self::Https(_) | Self::Tls | Self::Udp => true,
            Self::Tcp(tls) => tls.is_some(),
        }
    }
}

/// A route, built.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// What becomes of its requests.
    pub action: Action,
    /// The folder whose files answer requests before they go to an upstream.
    pub files: Option<Arc<Tree>>,
    /// How host and path change on the way.
    pub rewrite: Option<Rewrite>,
    /// The regular expressions of its paths, where placeholders name their groups.
    pub captures: Box<[Regex]>,
    /// What it does with requests and with every response.
    pub filters: Filters,
    /// Which clients it is for, and how many requests may be under way.
    pub admission: Admission,
    /// Most bytes of a request body, 0 = any; where the listener's do not hold.
    pub body_bytes: Option<u64>,
    /// Limits of time in the place of those of listener and upstream.
    pub timeouts: RouteTimeoutsConf,
    /// Most bytes of a request body that is read whole before a backend is picked; 0 = none is.
    pub buffer: u64,
    /// What a request may turn its connection into.
    pub upgrades: Upgrades,
    /// How long a tunnel may be silent.
    pub tunnel_idle: Duration,
    /// How long a tunnel may be silent of which one side has ended.
    pub half_close_timeout: Duration,
    /// Bytes per second that a client must keep while a backend, a place of the route, or memory for what is fetched through
    /// a cache, is held for it; 0 = any.
    pub min_rate: u64,
    /// Whether to send `Forwarded`.
    pub forwarded: bool,
    /// What it says itself of the fields by which a backend is told where a request comes from.
    pub settled_forwarding: Settled,
    /// Most that the whole exchange may take; zero is no limit.
    pub timeout: Duration,
    /// How long a stream of events may be silent.
    pub stream_idle: Duration,
    /// What of its requests is copied to another upstream.
    pub mirror: Option<Mirror>,
    /// Its cache, or what collapses its requests.
    pub cache: Option<Arc<Cache>>,
    /// Something that its keys have more than others': where it is not the URI alone that leads to this route.
    pub key_suffix: Option<Arc<str>>,
    /// Fields of requests that it sets itself, or that its rewrite has in the key: by these no client leads backends elsewhere.
    pub settled_fields: Box<[Box<str>]>,
    /// Fields of requests that it makes of what proxies say of a client, but for addresses. Though it sets them, they are as
    /// much the proxy's as those that go on, and in the key as those are.
    pub told_fields: Box<[Box<str>]>,
    /// Fields of requests that it makes of what clients prove themselves by, such as their certificates. To the backend they are
    /// what Authorization is, and no cache knows them for that.
    pub proving_fields: Box<[Box<str>]>,
    /// Fields of requests that it makes of what a backend judges a write by: those, and what it makes of cookies, or of what
    /// proxies vouch for.
    pub judged_fields: Box<[Box<str>]>,
    /// Fields of requests that it sets to something else, whatever clients and proxies say there.
    pub own_fields: Box<[Box<str>]>,
    /// What trailers of requests may not have: names that it sets or removes itself, or by which a proxy names the client.
    pub withheld: Withheld,
    /// What trailers of responses, and interim responses, may not have: names that it sets or removes itself.
    pub withheld_of_responses: Withheld,
    /// By worker: its counts.
    pub series: Box<[Arc<RouteSeries>]>,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes to an upstream, by index.
    Upstream(usize),
    /// It goes to one of several at random by weight; the sum comes second.
    Split(Vec<(usize, u32)>, u32),
    /// The client is sent elsewhere.
    Redirect {
        /// Template of the location.
        to: Template,
        /// The status.
        status: u16,
    },
    /// An answer of its own.
    Respond {
        /// The status.
        status: u16,
        /// The body.
        body: PageBody,
        /// Its media type.
        content_type: String,
    },
    /// A file of this folder.
    Files(Arc<Tree>),
}

impl Route {
    /// Bytes per second that a client must keep while no backend is held for it: 0, any, where it takes no place from others
    /// either.
    pub fn min_rate_of_place(&self) -> u64 {
        if self.admission.max_in_flight > 0 { self.min_rate } else { 0 }
    }

    /// How long its tunnels may be silent.
    pub fn silence(&self) -> Silence {
        Silence { idle: self.tunnel_idle, half_closed: self.half_close_timeout }
    }
}

/// One of several upstreams, at random by weight; `total` is the sum of the weights.
pub fn choose(choices: &[(usize, u32)], total: u32) -> usize {
    let mut at = fastrand::u32(0..total.max(1));
    for (upstream, weight) in choices {
        if at < *weight {
            return *upstream;
        }
        at -= weight;
    }
    choices.first().map_or(0, |(upstream, _)| *upstream)
}

impl Action {
    /// The upstream that it leads to, one of several at random by weight.
    pub fn upstream(&self) -> Option<usize> {
        match self {
            Self::Upstream(index) => Some(*index),
            Self::Split(choices, total) => Some(choose(choices, *total)),
            Self::Redirect { .. } | Self::Respond { .. } | Self::Files(_) => None,
        }
    }
}

impl Listener {
    /// Whether `allow` and `deny` let this address in; `deny` wins.
    pub fn admits(&self, address: std::net::IpAddr) -> bool {
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !is_in(&self.conf.deny) && (self.conf.allow.is_empty() || is_in(&self.conf.allow))
    }

    /// Whether a connection from this address must begin with a PROXY header.
    pub fn needs_proxy_header(&self, address: std::net::IpAddr) -> bool {
        self.conf.proxy_protocol_from.iter().any(|network| network.contains(&address))
    }

    /// Whether this address is of a proxy whose word on its clients is believed.
    pub fn trusts(&self, address: std::net::IpAddr) -> bool {
        self.conf.trusted_proxies.iter().any(|network| network.contains(&address))
    }

    /// Whether clients behind a connection from this address are judged by what each request says of them, and not all
    /// by this address.
    pub fn judges_requests_from(&self, address: std::net::IpAddr) -> bool {
        self.conf.client_address_from != ClientAddressFrom::Connection && self.trusts(address)
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
