//! `GET /`: a page with the endpoints, for whoever comes with a browser.

use std::fmt::Write;

use http::StatusCode;

use super::{
    Admin, ENDPOINTS, Question,
    about::{About, Gives},
    reply::{Reply, make},
};

/// What it gives.
pub(super) const ABOUT: About =
    About { gives: &[Gives::text(200, "a page", "text/html; charset=utf-8")], ..About::PLAIN };

pub(super) fn get(_: &Admin, _: &Question) -> Reply {
    let mut rows = String::new();
    for endpoint in ENDPOINTS {
        let (method, path, summary) = (endpoint.method, endpoint.path, endpoint.summary);
        // What has a parameter cannot be followed as it stands.
        let link = match path.contains('{') || method != "GET" {
            true => format!("<code>{path}</code>"),
            false => format!("<a href=\"{path}\"><code>{path}</code></a>"),
        };
        // Writing to a string cannot fail; the texts are our own and need no escapes.
        let _ = writeln!(rows, "<tr><td>{method}<td>{link}<td>{summary}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Pointsman</title>\n\
         <style>{STYLE}</style>\n<h1>Pointsman {version}</h1>\n<table>\n{rows}</table>\n</html>\n"
    );
    make(StatusCode::OK, "text/html; charset=utf-8", page.into())
}

const STYLE: &str = ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;margin:2rem}\
                     td{padding:.2rem 1.5rem .2rem 0}";
