//! `GET /`: the dashboard, one page that holds its style and its script, and no data.
//!
//! The page asks the API for everything that it shows, so that it may be given to whoever asks; where a token
//! is needed the page asks for it. It loads nothing from anywhere, and its policy lets it run exactly the
//! script that is in it: the policy names the script's hash (Content Security Policy Level 3 §2.3.1).
//! No other page may frame it, so that nobody can be led to click on what is behind another picture.

use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::{
    Admin, Params,
    reply::{Reply, make},
    spec::{ResponseSpec, Spec},
};

/// What it gives.
pub(super) const ABOUT: Spec =
    Spec { gives: &[ResponseSpec::text(200, "a page", "text/html; charset=utf-8")], ..Spec::PLAIN };

pub(super) fn get(_: &Admin, _: &Params) -> Reply {
    static PAGE: OnceLock<Page> = OnceLock::new();
    let page = PAGE.get_or_init(Page::new);
    let mut reply = make(StatusCode::OK, "text/html; charset=utf-8", page.body.clone());
    let headers = reply.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&page.policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    reply
}

struct Page {
    body: Bytes,
    policy: String,
}

impl Page {
    fn new() -> Self {
        let body = HTML.replacen("/*style*/", STYLE, 1).replacen("/*script*/", SCRIPT, 1);
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            STANDARD.encode(digest(&SHA256, SCRIPT.as_bytes()).as_ref()),
            STANDARD.encode(digest(&SHA256, STYLE.as_bytes()).as_ref()),
        );
        Self { body: body.into(), policy }
    }
}

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
/// The parts in the order in which they need each other.
const SCRIPT: &str = concat!(
    include_str!("format.js"),
    include_str!("page.js"),
    include_str!("history.js"),
    include_str!("chart.js"),
    include_str!("api.js"),
    include_str!("traffic.js"),
    include_str!("errors.js"),
    include_str!("alarms.js"),
    include_str!("upstreams.js"),
    include_str!("listeners.js"),
    include_str!("caches.js"),
    include_str!("cluster.js"),
    include_str!("state.js"),
    include_str!("start.js"),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_its_parts_and_nothing_from_elsewhere() {
        let page = Page::new();
        let body = std::str::from_utf8(&page.body).unwrap();
        for (part, before, after) in
            [(STYLE, "<style>", "</style>"), (SCRIPT, "<script type=\"module\">", "</script>")]
        {
            // The hash is over what is between the tags, and must be over all of it.
            assert!(body.contains(&format!("{before}{part}{after}")));
            assert_eq!(body.matches(before).count(), 1);
            assert!(!part.contains("</"), "an end tag would end the part early");
        }
        let namespace = "http://www.w3.org/2000/svg";
        let body = body.replace(namespace, "");
        for word in ["http:", "https:", "//cdn", "src=", "@import", "url("] {
            assert!(!body.contains(word), "{word}");
        }
        // Names come from the configuration and errors from the network: they are put in as text only.
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            " style=",
            " onclick=",
            "javascript:",
        ] {
            assert!(!body.contains(word), "{word}");
        }
        assert!(!page.policy.contains("unsafe"));
    }
}
