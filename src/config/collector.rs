//! Where spans are sent to: the address of a collector, and what it asks for beside them.

use std::{fmt, path::PathBuf};

use http::{HeaderName, HeaderValue, Uri, uri::Authority};
use serde_json::json;

use crate::schema::{
    Data, Entry, Node, Reader, Secret, Value,
    name::{HEADER_HINT, check_spellings},
};

/// The address of a collector; `None` is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Otlp(pub Option<Endpoint>);

/// A collector that takes OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether it speaks TLS.
    pub is_https: bool,
    /// The host, an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Host and port as they were written, for `Host`.
    pub authority: String,
    /// The path that spans are posted to.
    pub path: String,
}

/// What is put behind the path of a collector's address, as its specification has it.
const TRACES: &str = "/v1/traces";

impl Endpoint {
    /// Reads an address; the error is a hint.
    fn parse(text: &str) -> Result<Self, &'static str> {
        const SHAPE: &str = "use a URL such as \"http://collector:4318\"; `/v1/traces` is appended to it";
        let uri: Uri = text.parse().map_err(|_| SHAPE)?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(SHAPE),
        };
        let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or(SHAPE)?;
        if authority.as_str().contains('@') {
            return Err("put the user and password in `headers`, as `authorization`");
        }
        if uri.query().is_some() || text.contains('#') || uri.path().ends_with(TRACES) {
            return Err(SHAPE);
        }
        Ok(Self {
            is_https,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: port(authority, is_https).ok_or(SHAPE)?,
            authority: authority.as_str().to_owned(),
            path: format!("{}{TRACES}", uri.path().trim_end_matches('/')),
        })
    }
}

fn port(authority: &Authority, is_https: bool) -> Option<u16> {
    match authority.as_str().strip_prefix(authority.host()) {
        Some("") => Some(if is_https { 443 } else { 80 }),
        _ => authority.port_u16().filter(|port| *port > 0),
    }
}

impl Value for Otlp {
    fn kind() -> String {
        "a URL".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^(https?://.+)?$"})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "a URL")?;
        if text.is_empty() {
            return Some(Self(None));
        }
        match Endpoint::parse(text) {
            Ok(endpoint) => Some(Self(Some(endpoint))),
            Err(hint) => {
                let message = format!("`{text}` is not a valid collector URL");
                reader.problem_with(node.place, message, hint);
                None
            }
        }
    }
}

/// Header fields that a collector asks for, with their secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<Header>);

/// One of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
    /// The file that the value is in.
    file: Option<PathBuf>,
}

impl fmt::Debug for Headers {
    /// Their names only: values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|header| &header.name)).finish()
    }
}

/// Fields that say what is sent and how, which is not for a configuration to say.
const OURS: [&str; 6] =
    ["connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding"];

impl Value for Headers {
    fn kind() -> String {
        "a table of strings, each a text, `env:NAME` or `file:path`".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "object", "additionalProperties": {"type": "string"}})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Data::Table(entries) = &node.data else {
            reader.wrong_type(node, "a table of strings, such as `{ authorization = \"env:TOKEN\" }`");
            return None;
        };
        check_spellings(entries, reader);
        Some(Self(entries.iter().filter_map(|entry| header(entry, reader)).collect()))
    }

    fn files(&self, files: &mut Vec<PathBuf>) {
        files.extend(self.0.iter().filter_map(|header| header.file.clone()));
    }
}

fn header(entry: &Entry, reader: &mut Reader<'_>) -> Option<Header> {
    let Entry { key, node, place } = entry;
    let name = HeaderName::from_bytes(key.as_bytes()).ok();
    if name.is_none() {
        reader.problem_with(*place, format!("`{key}` is not a header name"), HEADER_HINT);
    }
    if OURS.contains(&key.to_ascii_lowercase().as_str()) {
        let hint = "Pointsman sets this header itself";
        reader.problem_with(*place, format!("`{key}` cannot be set"), hint);
    }
    let Some(text) = node.text() else {
        let message = format!("`{key}` must be a string, not {}", node.kind());
        reader.problem_with(node.place, message, "put it in quotes");
        return None;
    };
    let is_kept_elsewhere = text.starts_with("env:") || text.starts_with("file:");
    // What is wrong with a secret is reported by reading it.
    let secret = if is_kept_elsewhere { Some(Secret::read(node, reader)?) } else { None };
    let text = match secret.as_ref().map(Secret::reveal) {
        Some(Ok(text)) => text,
        // It could be a moment ago.
        Some(Err(error)) => {
            let hint = "is it being replaced?";
            reader.lacking(node.place, format!("the value of `{key}` cannot be read: {error}"), hint);
            return None;
        }
        None => text.to_owned(),
    };
    let file = match secret {
        Some(Secret::File(path)) => Some(path),
        Some(Secret::Environment(_)) | None => None,
    };
    let Ok(mut value) = HeaderValue::from_str(&text) else {
        let message = format!("the value of `{key}` is not allowed in a header");
        let hint = "header values cannot contain control characters or line breaks";
        match file {
            Some(_) => reader.lacking(node.place, message, hint),
            None => reader.problem_with(node.place, message, hint),
        }
        return None;
    };
    value.set_sensitive(true);
    Some(Header { name: name?, value, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_scheme_host_port_and_path() {
        let parse = |text| Endpoint::parse(text).unwrap();
        let is = |text, host: &str, port, path: &str| {
            let found = parse(text);
            assert_eq!((found.host.as_str(), found.port, found.path.as_str()), (host, port, path), "{text}");
        };
        is("http://collector:4318", "collector", 4318, "/v1/traces");
        is("http://collector", "collector", 80, "/v1/traces");
        is("https://otlp.example.com/", "otlp.example.com", 443, "/v1/traces");
        is("https://[::1]:4318/otlp", "::1", 4318, "/otlp/v1/traces");
        assert_eq!(parse("https://[::1]:4318/otlp").authority, "[::1]:4318");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in [
            "collector:4318",
            "grpc://collector:4317",
            "http://",
            "http://:4318",
            "http://collector:x",
            "http://collector:0",
            "http://collector:99999",
            "http://collector:",
            "http://a b",
            "http://collector/?a=b",
            "http://collector/v1/traces",
            "http://me:secret@collector",
        ] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
