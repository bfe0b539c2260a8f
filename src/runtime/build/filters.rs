//! Which filters a listener and a route have, and in which order: those of the listener come before the route's.

use crate::{
    config::listen::{ListenerConf, Protocol},
    filter::{Filter, Filters, ResponseHeaders},
    route::conf::RouteConf,
};

pub(super) fn of_listener(conf: &ListenerConf) -> Filters {
    // An alternative is one for what came over TLS, where a certificate has shown whose word it is (RFC 7838 §2.1).
    let alt_svc = conf.alt_svc.clone().filter(|_| conf.protocol == Protocol::Https);
    Filters::new(alt_svc.map(Filter::AltSvc))
}

pub(super) fn of_route(conf: &RouteConf) -> Filters {
    Filters::new(ResponseHeaders::of(&conf.response_headers).map(Filter::ResponseHeaders))
}
