//! What a route changes of a request's host and path, and the location of a redirect.

use crate::{exchange::Exchange, route::conf::RewriteConf};

/// Host and target that go upstream in the place of the client's, where a route changes them.
pub fn rewritten<'a>(
    exchange: &Exchange,
    rewrite: Option<&'a RewriteConf>,
) -> (Option<&'a str>, Option<String>) {
    let Some(rewrite) = rewrite else { return (None, None) };
    let host = (!rewrite.host.is_empty()).then_some(&*rewrite.host);
    let path = if rewrite.path.is_empty() {
        let prefix = &rewrite.strip_prefix;
        let matched = || exchange.readings.as_ref().and_then(|readings| stripped(&readings.matched, prefix));
        stripped(exchange.path(), prefix).or_else(matched).unwrap_or_else(|| exchange.path().to_owned())
    } else {
        rewrite.path.clone()
    };
    let query = exchange.request.target.get(exchange.path_length..).unwrap_or_default();
    (host, Some(path + query))
}

/// The path without a prefix of whole segments; `None` when it does not begin with it.
fn stripped(path: &str, prefix: &str) -> Option<String> {
    let prefix = prefix.trim_end_matches('/');
    match path.strip_prefix(prefix)? {
        "" => Some("/".to_owned()),
        rest => rest.starts_with('/').then(|| rest.to_owned()),
    }
}

/// The location of a redirect: its placeholders filled from the request.
pub fn expand(template: &str, exchange: &Exchange) -> String {
    let mut out = String::with_capacity(template.len() + exchange.request.target.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            rest = after;
            break;
        };
        match name {
            "scheme" => out.push_str(exchange.scheme()),
            "host" => out.push_str(&exchange.host),
            "port" => out.push_str(port_of(&exchange.authority)),
            "path" => out.push_str(exchange.path()),
            "query" => out.push_str(exchange.query()),
            "path_and_query" => out.push_str(&exchange.request.target),
            _ => {}
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn port_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => port,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_stripped_by_whole_segments() {
        for (path, prefix, stripped_path) in [
            ("/v1/users", "/v1", Some("/users")),
            ("/v1/users", "/v1/", Some("/users")),
            ("/v1", "/v1", Some("/")),
            ("/v1/", "/v1", Some("/")),
            ("/v12/users", "/v1", None),
            ("/users", "", Some("/users")),
        ] {
            assert_eq!(stripped(path, prefix).as_deref(), stripped_path, "{path} {prefix}");
        }
    }

    #[test]
    fn placeholders_are_filled_from_the_request() {
        let mut exchange = Exchange { path_length: 2, ..Exchange::default() };
        exchange.authority.push_str("A.example:8080");
        exchange.host.push_str("a.example");
        exchange.request.target.push_str("/a?b=c");
        assert_eq!(expand("https://{host}{path_and_query}", &exchange), "https://a.example/a?b=c");
        assert_eq!(expand("{scheme}://x:{port}{path}?{query}", &exchange), "http://x:8080/a?b=c");
    }
}
