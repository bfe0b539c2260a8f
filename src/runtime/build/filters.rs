//! Which filters a listener and a route have. Those of the listener act before the route's, each in the order of
//! `Filter::NAMES`.

use crate::{
    config::listen::{ListenerConf, Protocol},
    filter::{
        Access, Compression, ErrorPages, Filter, Filters, RequestHeaders, ResponseHeaders, Translate,
        compression::conf::TYPES,
    },
    route::conf::{RewriteConf, RouteConf},
};

pub(super) fn of_listener(conf: &ListenerConf) -> Filters {
    // An alternative is one for what came over TLS, where a certificate has shown whose word it is (RFC 7838 §2.1).
    let alt_svc = conf.alt_svc.clone().filter(|_| conf.protocol == Protocol::Https);
    let alt_svc = alt_svc.map(Filter::AltSvc);
    let error_pages = ErrorPages::of(&conf.error_pages, false).map(Filter::ErrorPages);
    Filters::new([error_pages, alt_svc].into_iter().flatten())
}

pub(super) fn of_route(conf: &RouteConf) -> Filters {
    let access = Access::of(&conf.name, &conf.allow, &conf.deny).map(Filter::Access);
    let request_headers = RequestHeaders::of(&conf.request_headers).map(Filter::RequestHeaders);
    let error_pages = ErrorPages::of(&conf.error_pages, conf.intercept_errors).map(Filter::ErrorPages);
    let undone = conf.rewrite.as_ref().filter(|rewrite| rewrite.responses);
    let translate = undone.map(translate).map(Filter::Translate);
    let response_headers = ResponseHeaders::of(&conf.response_headers).map(Filter::ResponseHeaders);
    let types: Vec<String> = match conf.compression_types.is_empty() {
        true => TYPES.map(str::to_owned).into(),
        false => conf.compression_types.clone(),
    };
    let least = conf.compression_min.0;
    let compression = Compression::of(&conf.compression, &types, least, &conf.compression_level);
    let compression = compression.map(Filter::Compression);
    let all = [access, request_headers, error_pages, translate, response_headers, compression];
    Filters::new(all.into_iter().flatten())
}

fn translate(conf: &RewriteConf) -> Translate {
    Translate::of(&conf.strip_prefix, &conf.add_prefix, &conf.host)
}
