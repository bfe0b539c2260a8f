//! `GET /`: the dashboard, one page that holds its style and its script, and no data.
//!
//! The page asks the API for everything that it shows, so that it may be given to whoever asks; where a token
//! is needed the page asks for it. It loads nothing from anywhere, and its policy lets it run exactly the
//! script that is in it: the policy names the script's hash (Content Security Policy Level 3 §2.3.1).
//! No other page may frame it, so that nobody can be led to click on what is behind another picture.

use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
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
            base64(digest(&SHA256, SCRIPT.as_bytes()).as_ref()),
            base64(digest(&SHA256, STYLE.as_bytes()).as_ref()),
        );
        Self { body: body.into(), policy }
    }
}

/// As RFC 4648 §4 has it, with padding.
fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| group.get(at).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for sign in 0..4 {
            let value = (bits >> (18 - 6 * sign)) as usize & 63;
            // One byte makes two signs, two make three.
            text.push(match SIGNS.get(value) {
                Some(sign_of_value) if sign <= group.len() => char::from(*sign_of_value),
                _ => '=',
            });
        }
    }
    text
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
    include_str!("upstreams.js"),
    include_str!("caches.js"),
    include_str!("state.js"),
    include_str!("start.js"),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let known = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (text, expected) in known {
            assert_eq!(base64(text.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
    }

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
