//! `response_headers` of a route.

use super::{
    header_edits::{HeaderEditConf, HeaderEdits},
    hooks::ResponseFilter,
};
use crate::{
    exchange::Exchange,
    template::{Place, Use},
};

/// Changes fields as a route has it: of every response that it answers with, errors included.
#[derive(Debug)]
pub struct ResponseHeaders(HeaderEdits);

impl ResponseHeaders {
    /// The filter of these edits; `None` where there is nothing to do.
    pub fn of(conf: &HeaderEditConf) -> Option<Self> {
        HeaderEdits::of(conf, Use::ResponseField).map(Self)
    }
}

impl ResponseFilter for ResponseHeaders {
    fn on_head(&self, exchange: &mut Exchange, place: Place<'_>) {
        self.0.apply(exchange, place, |exchange| &mut exchange.response.fields);
    }
}
