//! Which filters a listener and a route have. Those of the listener act before the route's, each in the order of
//! `Filter::NAMES`.

use crate::{
    config::listen::{ListenerConf, Protocol},
    filter::{Compression, Filter, Filters, RequestHeaders, ResponseHeaders, compression::conf::TYPES},
    route::conf::RouteConf,
};

pub(super) fn of_listener(conf: &ListenerConf) -> Filters {
    // An alternative is one for what came over TLS, where a certificate has shown whose word it is (RFC 7838 §2.1).
    let alt_svc = conf.alt_svc.clone().filter(|_| conf.protocol == Protocol::Https);
    Filters::new(alt_svc.map(Filter::AltSvc))
}

pub(super) fn of_route(conf: &RouteConf) -> Filters {
    let request_headers = RequestHeaders::of(&conf.request_headers).map(Filter::RequestHeaders);
    let response_headers = ResponseHeaders::of(&conf.response_headers).map(Filter::ResponseHeaders);
    let types: Vec<String> = match conf.compression_types.is_empty() {
        true => TYPES.map(str::to_owned).into(),
        false => conf.compression_types.clone(),
    };
    let least = conf.compression_min.0;
    let compression = Compression::of(&conf.compression, &types, least, &conf.compression_level);
    let compression = compression.map(Filter::Compression);
    Filters::new([request_headers, response_headers, compression].into_iter().flatten())
}
