//! `request_headers` of a route.

use super::{
    header_edits::{HeaderEditConf, HeaderEdits},
    hooks::Hooks,
};
use crate::{
    exchange::Exchange,
    template::{Place, Use},
};

/// Changes fields of the request as a route has it: of what a cache is asked and what goes to a backend.
#[derive(Debug)]
pub struct RequestHeaders(HeaderEdits);

impl RequestHeaders {
    /// The filter of these edits; `None` where there is nothing to do.
    pub fn of(conf: &HeaderEditConf) -> Option<Self> {
        HeaderEdits::of(conf, Use::RequestField).map(Self)
    }
}

impl Hooks for RequestHeaders {
    fn on_forward(&self, exchange: &mut Exchange, place: Place<'_>) {
        self.0.apply(exchange, place, |exchange| &mut exchange.request.fields);
    }
}
