//! `response_headers` of a route.

use super::{
    header_edits::{HeaderEditConf, HeaderEdits},
    hooks::{Body, Hooks, ResponseFacts},
};
use crate::{exchange::Exchange, template::Use};

/// Changes fields as a route has it: of every response that it answers with, errors included.
#[derive(Debug)]
pub struct ResponseHeaders(HeaderEdits);

impl ResponseHeaders {
    /// The filter of these edits; `None` where there is nothing to do.
    pub fn of(conf: &HeaderEditConf) -> Option<Self> {
        HeaderEdits::of(conf, Use::ResponseField).map(Self)
    }
}

impl Hooks for ResponseHeaders {
    fn acts_on_requests(&self) -> bool {
        false
    }

    fn on_response(&self, exchange: &mut Exchange, facts: &ResponseFacts<'_>) -> Body {
        self.0.apply(exchange, facts.place, |exchange| &mut exchange.response.fields);
        Body::Kept
    }
}
