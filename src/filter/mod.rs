//! What listeners and routes do with every response on its way out, whoever made it.
//!
//! Previous stop: `runtime::build`, which makes the lists and says their order. Next stop: `http::respond`, the one way
//! out, which calls the hooks at one place. A filter that is in no list costs nothing, and an empty list a branch.

pub mod alt_svc;
pub mod header_edits;
mod hooks;
mod response_headers;

use self::{alt_svc::AltSvc, hooks::ResponseFilter};
use crate::{exchange::Exchange, template::Place};

pub use self::response_headers::ResponseHeaders;

/// One filter.
#[derive(Debug)]
pub enum Filter {
    /// Says where else the same is served.
    AltSvc(AltSvc),
    /// Changes fields as a route has it.
    ResponseHeaders(ResponseHeaders),
}

impl Filter {
    fn on_head(&self, exchange: &mut Exchange, place: Place<'_>) {
        match self {
            Self::AltSvc(filter) => filter.on_head(exchange, place),
            Self::ResponseHeaders(filter) => filter.on_head(exchange, place),
        }
    }
}

/// The filters of a listener or a route, in their order.
#[derive(Debug, Default)]
pub struct Filters(Box<[Filter]>);

impl Filters {
    /// These filters, in this order.
    pub fn new(filters: impl IntoIterator<Item = Filter>) -> Self {
        Self(filters.into_iter().collect())
    }

    /// Has each of them change the head of the response in `exchange`, which is whole and of which nothing went out.
    #[inline]
    pub fn on_head(&self, exchange: &mut Exchange, place: Place<'_>) {
        for filter in &self.0 {
            filter.on_head(exchange, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::header_edits::HeaderEditConf;
    use super::*;

    fn nothing() -> HeaderEditConf {
        let nothing = Vec::new;
        HeaderEditConf { set: nothing(), set_if_missing: nothing(), add: nothing(), remove: Vec::new() }
    }

    #[test]
    fn filters_are_called_in_their_order() {
        let alt_svc = || Filter::AltSvc(AltSvc::parse("clear").unwrap());
        let edits = || {
            let add = vec![("alt-svc".to_owned(), "h2=\":1\"".to_owned())];
            let conf = HeaderEditConf { add, ..nothing() };
            Filter::ResponseHeaders(ResponseHeaders::of(&conf).unwrap())
        };
        for (filters, expected) in [
            (Filters::new([alt_svc(), edits()]), &["clear", "h2=\":1\""][..]),
            (Filters::new([edits(), alt_svc()]), &["clear"]),
            (Filters::default(), &["backend"]),
        ] {
            let mut exchange = Exchange::default();
            exchange.response.status = 200;
            exchange.response.fields.push("Alt-Svc", b"backend");
            filters.on_head(&mut exchange, Place::default());
            let values: Vec<_> =
                exchange.response.fields.all("alt-svc").map(String::from_utf8_lossy).collect();
            assert_eq!(values, expected);
        }
    }

    #[test]
    fn edits_without_an_edit_are_no_filter() {
        assert!(ResponseHeaders::of(&nothing()).is_none());
    }
}
