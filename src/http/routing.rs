//! Which route takes a request, and which upstream of several.

use crate::{exchange::Exchange, route::matcher::Facts, runtime::Listener};

/// The route that takes a request, by its index in the snapshot.
pub(super) fn find(listener: &Listener, exchange: &Exchange) -> Option<usize> {
    listener.table.find(&Facts {
        host: &exchange.host,
        path: exchange.path(),
        method: exchange.request.method.as_str(),
        query: exchange.query(),
        headers: &exchange.request.fields,
    })
}

/// One of several upstreams, at random by weight; `total` is the sum of the weights.
pub(super) fn choose(choices: &[(usize, u32)], total: u32) -> usize {
    let mut at = fastrand::u32(0..total.max(1));
    for (upstream, weight) in choices {
        if at < *weight {
            return *upstream;
        }
        at -= weight;
    }
    choices.first().map_or(0, |(upstream, _)| *upstream)
}
