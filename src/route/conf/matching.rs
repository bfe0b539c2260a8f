//! What a route matches: hosts, paths, methods.

use std::net::IpAddr;

use serde_json::json;

use crate::{
    route::spelling::is_well_escaped,
    schema::{Node, Place, Reader, Table, Value, name},
};

/// What a path must be like.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path.
    Exact(String),
    /// This path and what is below it. Written `/v1/*`, kept as `/v1`; `/*` is kept as the empty text.
    Prefix(String),
    /// A path that this regular expression finds something in (written after a `~`).
    Regex(String),
}

impl Value for PathPattern {
    fn kind() -> String {
        "a path".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^[/~]", "examples": ["/exact", "/prefix/*", "~^/users/[0-9]+$"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "a path, such as \"/v1/*\"")?;
        if let Some(pattern) = text.strip_prefix('~') {
            return is_regex(pattern, node, reader).then(|| Self::Regex(pattern.to_owned()));
        }
        let problem = if !text.starts_with('/') {
            let hint = if text.starts_with('^') {
                format!("a regular expression must begin with `~`: \"~{text}\"")
            } else {
                format!("a path must begin with `/`: \"/{text}\"")
            };
            Some(hint)
        } else if text.contains(['?', '#']) {
            Some("match the query with `query`, not in the path".to_owned())
        } else if text.chars().any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
            Some("write spaces and special characters percent-encoded, such as `%20`".to_owned())
        } else if !is_well_escaped(text) {
            Some("a `%` is followed by two hexadecimal digits; that sign itself is `%25`".to_owned())
        } else if text.split('/').any(|segment| matches!(segment, "." | "..")) {
            Some("it would match nothing: dot segments are resolved before routes see a path".to_owned())
        } else {
            let stem = text.strip_suffix("/*").unwrap_or(text);
            stem.contains('*').then(|| {
                "`*` at the end stands for whole segments: \"/prefix/*\"; for anything else use a regular expression, \"~…\"".to_owned()
            })
        };
        if let Some(hint) = problem {
            reader.problem_with(node.place, format!("`{text}` is not a path pattern"), hint);
            return None;
        }
        Some(match text.strip_suffix("/*") {
            Some(stem) => Self::Prefix(stem.to_owned()),
            None => Self::Exact(text.to_owned()),
        })
    }
}

/// Whether a regular expression is one; what is wrong with it is reported.
fn is_regex(pattern: &str, node: &Node, reader: &mut Reader<'_>) -> bool {
    let Err(error) = regex::Regex::new(pattern) else { return true };
    // The crate draws the pattern over several lines; the last one says what is wrong.
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
    let caret = text.lines().find(|line| !line.trim().is_empty() && line.trim().chars().all(|c| c == '^'));
    let column = caret.and_then(|line| line.find('^')).map_or(0, |at| at.saturating_sub(4));
    let place = within(node.place, pattern, column, reader);
    let message = format!("the regular expression is invalid: {reason}");
    let hint = "the syntax is that of the Rust crate `regex`, without look-around and back-references";
    reader.problem_with(place, message, hint);
    false
}

/// The place of a character of `pattern` within the string at `whole`, where it is written there unchanged.
fn within(whole: Place, pattern: &str, column: usize, reader: &Reader<'_>) -> Place {
    let written = reader.source().text().get(whole.start..whole.end).unwrap_or_default();
    let offset = pattern.char_indices().nth(column).map_or(pattern.len(), |(at, _)| at);
    match written.find(pattern) {
        Some(at) if !pattern.is_empty() => {
            let start = whole.start + at + offset;
            Place { start, end: start + 1 }
        }
        _ => whole,
    }
}

impl Value for http::Method {
    fn kind() -> String {
        "a method".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "examples": ["GET", "POST"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "a method, such as \"GET\"")?;
        let upper = text.to_ascii_uppercase();
        let hint = if !name::is_token(text) {
            "methods are words, such as \"GET\"".to_owned()
        } else if STANDARD_METHODS.contains(&upper.as_str()) && upper != text {
            // RFC 9110 §9.1: methods are case-sensitive, so `get` would never match.
            format!("methods are upper case: \"{upper}\"")
        } else {
            return Self::from_bytes(text.as_bytes()).ok();
        };
        reader.problem_with(node.place, format!("`{text}` is not a method"), hint);
        None
    }
}

const STANDARD_METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Reports hosts that could never match, and puts the rest in the form in which requests have them;
/// `*` is any host, as none is. Regular expressions are of `hosts` alone: what a certificate or a name of TLS is for is
/// found by look-up.
pub(super) fn check_hosts(key: &str, hosts: &mut Vec<String>, table: &mut Table<'_, '_, '_>) {
    let items = table.entry(key).map_or(&[][..], |entry| entry.node.items());
    for item in items {
        let Some(host) = item.text() else { continue };
        if let Some(pattern) = host.strip_prefix('~').filter(|_| key == "hosts") {
            is_regex(pattern, item, table.reader);
            continue;
        }
        // What a certificate is for has no such wildcard.
        let open = host.strip_suffix(".*").filter(|name| key == "hosts" && !name.contains('*'));
        if let Some(hint) = host_problem(open.unwrap_or(host)) {
            let message = format!("`{host}` is not a host");
            table.reader.problem_with(item.place, message, hint);
        }
    }
    if hosts.iter().any(|host| host == "*") {
        hosts.clear();
    }
    // In an expression `\W` is another than `\w`.
    for host in hosts.iter_mut().filter(|host| !host.starts_with('~')) {
        host.make_ascii_lowercase();
        // As it is in a request: RFC 3986 §3.2.2 has IPv6 addresses in brackets.
        if let Ok(IpAddr::V6(address)) = host.parse() {
            *host = format!("[{address}]");
        }
    }
}

fn host_problem(host: &str) -> Option<String> {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if address.unwrap_or(host).parse::<IpAddr>().is_ok() || host == "*" {
        return None;
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    if let Some((_, rest)) = host.split_once("://") {
        return Some(format!("leave the scheme out: \"{rest}\""));
    }
    if let Some((name, port)) = host.rsplit_once(':')
        && port.parse::<u16>().is_ok()
        && (!name.contains(':') || name.ends_with(']'))
    {
        return Some(format!("leave the port out: \"{name}\""));
    }
    if name.contains('*') {
        return Some(
            "`*` stands for whole labels at one end: \"*.example.com\", in `hosts` also \"example.*\""
                .to_owned(),
        );
    }
    if !name.is_ascii() {
        return Some("write international names in their ASCII form, \"xn--…\"".to_owned());
    }
    let label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed)
    };
    let valid = name.len() <= 253 && name.split('.').all(label);
    (!valid).then(|| "a DNS name or an IP address: \"api.example.com\", \"*.example.com\"".to_owned())
}
