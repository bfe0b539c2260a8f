//! The head of a request as a backend gets it.

use crate::{
    exchange::Exchange,
    h1::Framing,
    http::{answer, context::RequestPlan, proxy},
    runtime::Route,
};

/// The head as a backend gets it.
pub(super) fn head(
    (route, host): (&Route, Option<String>),
    exchange: &Exchange,
    framing: Framing,
    is_upgrade: bool,
) -> Vec<String> {
    let has_body = framing != Framing::None;
    let plan = RequestPlan { framing, has_body, is_upgrade };
    let expects_continue = has_body && answer::expects_continue(exchange);
    // A request names a host, so that no upstream's name takes its place.
    let mut upstream_head = proxy::upstream_head(route, "", plan, expects_continue, exchange);
    upstream_head.backend_host = host.map(Into::into);
    let mut head = Vec::new();
    upstream_head.write_http1(exchange, &mut head);
    let head = String::from_utf8_lossy(&head);
    head.split("\r\n").filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
