//! What listeners and routes do with requests before they go on, and with every response on its way out, whoever made it:
//! **the one place for whatever stands between finding a route and asking a backend**.
//!
//! Previous stop: `runtime::build`, which makes the lists. Next stops: `http::handle`, which asks `on_request` at one
//! place, `http::proxy`, which asks `on_forward` at one place, and `http::respond`, the one way out, which asks
//! `on_response`, and `l4`, which asks `on_connect`. A filter that is in no list costs nothing, and an empty list a branch.

mod access;
pub mod alt_svc;
mod answer;
pub mod coding;
pub mod compression;
mod encoded_head;
pub mod error_pages;
pub mod header_edits;
mod hooks;
pub mod page;
mod request_headers;
mod response_headers;
pub mod small_error;
pub mod stage;
mod translate;

use std::net::IpAddr;

use bytes::Bytes;

use self::{
    alt_svc::AltSvc,
    coding::Coding,
    hooks::{Body, Hooks},
    stage::Stage,
};
use crate::{error::Result, exchange::Exchange, fields::Known, h1::Method, template::Place};

pub use self::{
    access::Access,
    answer::Answer,
    compression::Compression,
    encoded_head::EncodedHead,
    error_pages::ErrorPages,
    hooks::{Kept, ResponseFacts, Verdict},
    request_headers::RequestHeaders,
    response_headers::ResponseHeaders,
    translate::{Translate, names_host},
};

/// A line for each filter: its type, in a file of that name, and its name for people. They act in the order of these lines,
/// each at its hooks.
macro_rules! filters {
    ($($(#[$doc:meta])* $filter:ident = $name:literal,)+) => {
        /// One filter.
        #[derive(Debug)]
        pub enum Filter {
            $($(#[$doc])* $filter($filter),)+
        }

        impl Filter {
            /// The names of all in the order in which they act.
            pub const NAMES: &[&str] = &[$($name),+];

            /// Its name for people.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$filter(_) => $name,)+
                }
            }

            #[inline]
            fn hooks(&self) -> &dyn Hooks {
                match self {
                    $(Self::$filter(filter) => filter,)+
                }
            }
        }
    };
}

filters! {
    /// Lets clients in, or not.
    Access = "access",
    /// Changes fields of the request that goes on, as a route has it.
    RequestHeaders = "request_headers",
    /// Puts pages in the place of errors.
    ErrorPages = "error_pages",
    /// Says where something is as the client sees it, where paths and hosts are rewritten.
    Translate = "rewrite",
    /// Says where else the same is served.
    AltSvc = "alt_svc",
    /// Changes fields of the response, as a route has it.
    ResponseHeaders = "response_headers",
    /// Compresses bodies. It comes last, since it goes by what the others say of a response.
    Compression = "compression",
}

/// The filters of a listener or a route, in their order.
#[derive(Debug, Default)]
pub struct Filters {
    all: Box<[Filter]>,
    /// Whether one of them does anything with requests.
    act_on_requests: bool,
}

impl Filters {
    /// These filters, which act in the order that [`Filter::NAMES`] has.
    pub fn new(filters: impl IntoIterator<Item = Filter>) -> Self {
        let mut filters: Vec<Filter> = filters.into_iter().collect();
        filters.sort_by_key(|filter| Filter::NAMES.iter().position(|name| *name == filter.name()));
        let act_on_requests = filters.iter().any(|filter| filter.hooks().acts_on_requests());
        Self { all: filters.into(), act_on_requests }
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether one of them does anything with requests.
    #[inline]
    pub fn act_on_requests(&self) -> bool {
        self.act_on_requests
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Their names, in the order in which they act.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.all.iter().map(Filter::name)
    }

    /// Has each of them judge a connection that is passed on.
    ///
    /// # Errors
    ///
    /// Of the filter that refuses it.
    pub fn on_connect(&self, client: IpAddr) -> Result<()> {
        self.all.iter().try_for_each(|filter| filter.hooks().on_connect(client))
    }

    /// Has each of them judge the request, to the first that does not let it go on.
    ///
    /// # Errors
    ///
    /// Of the filter that refuses it.
    #[inline]
    pub fn on_request(&self, exchange: &Exchange, place: Place<'_>) -> Result<Verdict> {
        for filter in &self.all {
            match filter.hooks().on_request(exchange, place)? {
                Verdict::Continue => {}
                verdict => return Ok(verdict),
            }
        }
        Ok(Verdict::Continue)
    }

    /// Has each of them change the request that goes on.
    #[inline]
    pub fn on_forward(&self, exchange: &mut Exchange, place: Place<'_>) {
        for filter in &self.all {
            filter.hooks().on_forward(exchange, place);
        }
    }

    /// Has each of them change the head of the response in `exchange`, which is whole and of which nothing went out, and
    /// say what becomes of its body.
    #[inline]
    pub fn on_response(&self, exchange: &mut Exchange, facts: &mut ResponseFacts<'_>, body: &mut BodyPlan) {
        for filter in &self.all {
            match filter.hooks().on_response(exchange, facts) {
                Body::Kept => {}
                Body::Replaced(bytes) => {
                    (facts.length, facts.kept) = (Some(bytes.len() as u64), None);
                    *body = BodyPlan { replaced: Some(bytes), stages: Vec::new() };
                }
                Body::Through(stage) => {
                    (facts.length, facts.kept) = (None, None);
                    body.stages.push(stage);
                }
            }
        }
    }
}

/// What becomes of the body of a response after its filters.
#[derive(Debug, Default)]
pub struct BodyPlan {
    /// What goes out in its place.
    pub replaced: Option<Bytes>,
    /// What it goes through, in this order.
    pub stages: Vec<Box<dyn Stage>>,
}

impl BodyPlan {
    /// How many bytes go out, where that is known; `length` is what the body had. A HEAD is told of it in the head of
    /// `exchange` (RFC 9110 §9.3.2).
    pub fn length(&self, length: Option<u64>, exchange: &mut Exchange) -> Option<u64> {
        let length = match &self.replaced {
            Some(body) => Some(body.len() as u64),
            None => length,
        };
        let length = length.filter(|_| self.stages.is_empty());
        if let Some(length) = length.filter(|_| exchange.request.method == Method::Head) {
            let digits = length.to_string();
            exchange.response.fields.set_known(Known::ContentLength, digits.as_bytes());
        }
        length
    }

    /// The encoding that the body gets, where that is all that becomes of it.
    pub fn only_coding(&self) -> Option<Coding> {
        match (&self.replaced, self.stages.as_slice()) {
            (None, [stage]) => stage.coding(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
