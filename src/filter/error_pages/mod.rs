//! `error_pages` of listeners and routes.

pub mod conf;

use self::conf::ErrorPagesConf;
use super::{
    hooks::{Body, Hooks, ResponseFacts},
    page::PageBody,
    small_error,
};
use crate::{
    exchange::Exchange,
    fields::{Known, is_digest, list},
    schema::status::Statuses,
    template::{Scope, Use},
};

/// Puts pages of the operator's in the place of errors that Pointsman answers, and of a backend's where that is asked.
#[derive(Debug)]
pub struct ErrorPages {
    pages: Box<[(Statuses, &'static str, PageBody)]>,
    /// Whether they stand for what backends answer too.
    is_for_backends: bool,
}

impl ErrorPages {
    /// The filter of these pages; `None` where there are none.
    pub fn of(conf: &ErrorPagesConf, is_for_backends: bool) -> Option<Self> {
        let page = |(statuses, page): &(Statuses, super::page::Page)| {
            (*statuses, page.media_type(), page.body(page.media_type(), Use::Page))
        };
        let pages: Box<[_]> = conf.0.iter().map(page).collect();
        (!pages.is_empty()).then_some(Self { pages, is_for_backends })
    }
}

impl Hooks for ErrorPages {
    fn acts_on_requests(&self) -> bool {
        false
    }

    fn on_response(&self, exchange: &mut Exchange, facts: &ResponseFacts<'_>) -> Body {
        let status = exchange.response.status;
        let is_theirs = !facts.is_own && self.is_for_backends;
        if status < 400 || !(facts.is_error || is_theirs) {
            return Body::Kept;
        }
        let page = self.pages.iter().find(|(statuses, ..)| statuses.has(status));
        let Some((_, media_type, page)) = page else { return Body::Kept };
        let is_html = media_type.starts_with("text/html");
        let (media_type, body) = match is_html && wants_no_page(exchange) {
            false => (media_type.as_bytes(), page.render(&Scope { exchange, place: facts.place })),
            // What an application says of its failure is for nobody, whatever they read.
            true if is_theirs => {
                let (media_type, body) = small_error::of(exchange, status, CODE, MESSAGE);
                (media_type, body.into())
            }
            true => {
                small_error::vary(&mut exchange.response.fields);
                return Body::Kept;
            }
        };
        let fields = &mut exchange.response.fields;
        fields.retain(|field| {
            !matches!(field.known, Known::ContentLength | Known::ContentType) && !is_digest(field.name)
        });
        for name in OF_THE_BODY {
            fields.remove(name);
        }
        fields.push_known(Known::ContentType, media_type);
        if is_html {
            small_error::vary(fields);
        }
        Body::Replaced(body)
    }
}

/// What a backend's error is for programs, and for people, where the client reads no page.
const CODE: &str = "backend_error";
const MESSAGE: &str = "the backend answered with an error";

/// Fields that say something of the body that goes.
const OF_THE_BODY: [&str; 9] = [
    "accept-ranges",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "etag",
    "last-modified",
    // None comes behind a page.
    "trailer",
];

/// Whether the client asks for something, and for no page: a program that reads JSON has no use for one.
fn wants_no_page(exchange: &Exchange) -> bool {
    let fields = &exchange.request.fields;
    let mut media = list(fields.all_known(Known::Accept)).map(|member| {
        member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase()
    });
    let is_page =
        |media: &[u8]| matches!(media, b"*/*" | b"text/*" | b"text/html" | b"application/xhtml+xml");
    fields.has(Known::Accept) && !media.any(|media| is_page(&media))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        filter::{BodyPlan, Filter, Filters},
        template::{Context, Template},
    };

    fn filters(is_for_backends: bool) -> Filters {
        let text = "<p>{status} {host}: {error}</p>";
        let made = Template::parse(text, Use::Page, Context::Html).unwrap();
        let pages = [
            (Statuses::One(404), "text/html; charset=utf-8", PageBody::Template(made)),
            (Statuses::Class(5), "text/plain; charset=utf-8", PageBody::Fixed("sorry".into())),
        ];
        Filters::new([Filter::ErrorPages(ErrorPages { pages: pages.into(), is_for_backends })])
    }

    /// What becomes of a response of this status, whoever made it.
    fn page(
        filters: &Filters,
        status: u16,
        accept: &str,
        (is_own, is_error): (bool, bool),
    ) -> Option<String> {
        let mut exchange = Exchange::default();
        exchange.host.push_str("a<b");
        if !accept.is_empty() {
            exchange.request.fields.push("accept", accept.as_bytes());
        }
        exchange.response.status = status;
        exchange.response.fields.push("etag", b"\"1\"");
        exchange.response.fields.push("content-type", b"text/x");
        exchange.response.fields.push("trailer", b"x-sum");
        exchange.response.fields.push("retry-after", b"1");
        let mut plan = BodyPlan::default();
        let mut facts = ResponseFacts { is_own, is_error, ..ResponseFacts::default() };
        filters.on_response(&mut exchange, &mut facts, &mut plan);
        let fields = &exchange.response.fields;
        for name in ["etag", "trailer"] {
            assert_eq!(fields.get(name).is_none(), plan.replaced.is_some(), "{status} {name}");
        }
        assert_ne!(fields.get("content-type") == Some(b"text/x"), plan.replaced.is_some(), "{status}");
        assert_eq!(fields.get("retry-after"), Some(&b"1"[..]));
        plan.replaced.map(|body| String::from_utf8(body.to_vec()).unwrap())
    }

    const OWN_ERROR: (bool, bool) = (true, true);
    const BACKEND: (bool, bool) = (false, false);

    #[test]
    fn a_page_stands_for_own_errors_of_its_statuses() {
        let filters = filters(false);
        let not_found = page(&filters, 404, "", OWN_ERROR);
        assert_eq!(not_found.as_deref(), Some("<p>404 a&lt;b: </p>"));
        assert_eq!(page(&filters, 502, "", OWN_ERROR).as_deref(), Some("sorry"));
        assert_eq!(page(&filters, 403, "", OWN_ERROR), None);
        assert_eq!(page(&filters, 404, "", (true, false)), None, "an answer that a route has");
        assert_eq!(page(&filters, 502, "", BACKEND), None);
    }

    #[test]
    fn a_page_stands_for_errors_of_backends_where_asked() {
        let filters = filters(true);
        assert_eq!(page(&filters, 503, "", BACKEND).as_deref(), Some("sorry"));
        assert_eq!(page(&filters, 200, "", BACKEND), None);
        assert_eq!(page(&filters, 404, "", (true, false)), None);
    }

    #[test]
    fn a_backends_body_goes_to_nobody_where_pages_stand() {
        let filters = filters(true);
        let text = page(&filters, 404, "image/png", BACKEND);
        assert_eq!(text.as_deref(), Some("404: the backend answered with an error\nrequest \n"));
        let json = page(&filters, 404, "application/json", BACKEND).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["error"]["code"], "backend_error");
        assert_eq!(page(&filters, 403, "image/png", BACKEND), None, "no page stands for this status");
        assert_eq!(page(&filters, 404, "image/png", (true, false)), None);
    }

    #[test]
    fn what_goes_by_accept_says_so() {
        for (status, accept, expected) in [
            (404, "text/html", Some(&b"accept"[..])),
            (404, "image/png", Some(&b"accept"[..])),
            // A page that is no HTML is everybody's.
            (502, "image/png", None),
        ] {
            for is_own in [true, false] {
                let mut exchange = Exchange::default();
                exchange.request.fields.push("accept", accept.as_bytes());
                exchange.response.status = status;
                let mut facts = ResponseFacts { is_own, is_error: is_own, ..ResponseFacts::default() };
                filters(true).on_response(&mut exchange, &mut facts, &mut BodyPlan::default());
                assert_eq!(exchange.response.fields.get("vary"), expected, "{status} {accept} {is_own}");
            }
        }
    }

    #[test]
    fn programs_that_read_no_pages_get_none() {
        let filters = filters(false);
        for (accept, is_page) in [
            ("application/json", false),
            ("text/html, application/json", true),
            ("application/json, */*;q=0.1", true),
            ("TEXT/*", true),
            ("image/png", false),
        ] {
            assert_eq!(page(&filters, 404, accept, OWN_ERROR).is_some(), is_page, "{accept}");
        }
        assert_eq!(page(&filters, 500, "application/json", OWN_ERROR).as_deref(), Some("sorry"));
    }
}
