//! `response_headers` of a route.

use super::hooks::ResponseFilter;
use crate::{h1::ResponseHead, route::conf::HeaderEditConf};

/// Changes fields as a route has it: of every response that it answers with, errors included.
#[derive(Debug)]
pub struct ResponseHeaders(HeaderEditConf);

impl ResponseHeaders {
    /// The filter of these edits; `None` where there is nothing to do.
    pub fn of(conf: &HeaderEditConf) -> Option<Self> {
        (!conf.is_empty()).then(|| Self(conf.clone()))
    }
}

impl ResponseFilter for ResponseHeaders {
    fn on_head(&self, response: &mut ResponseHead) {
        self.0.apply(&mut response.fields);
    }
}
