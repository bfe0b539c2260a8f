//! Conditions on fields, parameters, cookies and clients.

use ipnet::IpNet;
use serde_json::json;

use super::matching;
use crate::{
    fields::ValueRegex,
    schema::{Data, Node, Reader, Table, Value, choice, name, section},
};

/// What a value must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// One of these.
    In(Vec<String>),
    /// It begins so.
    Prefix(String),
    /// It ends so.
    Suffix(String),
    /// This regular expression finds something in it.
    Regex(String),
    /// It is there, or it is not.
    Present(bool),
}

/// Names, and what the value of each must be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueMatches(pub Vec<(String, ValueMatch)>);

impl Value for ValueMatches {
    fn kind() -> String {
        "a table of values: each a string, an array of strings, `true` (is there), `false` (is not), or `{ prefix | suffix | regex = \"…\" }`".into()
    }

    fn schema() -> serde_json::Value {
        let text = json!({"type": "string"});
        let one = |key: &str| json!({"type": "object", "properties": {key: text}, "required": [key], "additionalProperties": false});
        let value = json!({"anyOf": [
            text, {"type": "boolean"}, {"type": "array", "items": text}, one("prefix"), one("suffix"), one("regex"),
        ]});
        json!({"type": "object", "additionalProperties": value})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Data::Table(entries) = &node.data else {
            reader.wrong_type(node, "a table, such as `{ name = \"value\" }`");
            return None;
        };
        let read = |(key, node): (&String, &Node)| Some((key.clone(), value(key, node, reader)?));
        Some(Self(entries.iter().map(|entry| (&entry.key, &entry.node)).filter_map(read).collect()))
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

fn value(key: &str, node: &Node, reader: &mut Reader<'_>) -> Option<ValueMatch> {
    const HINT: &str = "a value is \"text\", [\"one\", \"of\"], true, false, or { prefix = \"…\" }, { suffix = \"…\" } or { regex = \"…\" }";
    match &node.data {
        Data::String(text) => return Some(ValueMatch::In(vec![text.clone()])),
        Data::Boolean(is_there) => return Some(ValueMatch::Present(*is_there)),
        Data::Array(items) if !items.is_empty() && items.iter().all(|item| item.text().is_some()) => {
            return Some(ValueMatch::In(items.iter().filter_map(Node::text).map(str::to_owned).collect()));
        }
        Data::Table(entries) => {
            if let [entry] = entries.as_slice()
                && let Some(text) = entry.node.text()
            {
                match entry.key.as_str() {
                    "prefix" => return Some(ValueMatch::Prefix(text.to_owned())),
                    "suffix" => return Some(ValueMatch::Suffix(text.to_owned())),
                    "regex" => {
                        let Err(error) = ValueRegex::new(text) else {
                            return Some(ValueMatch::Regex(text.to_owned()));
                        };
                        let text = error.to_string();
                        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                        let message = format!("the regular expression is invalid: {reason}");
                        let hint = "the syntax is that of the Rust crate `regex`, without look-around and back-references";
                        reader.problem_with(entry.node.place, message, hint);
                        return None;
                    }
                    _ => {}
                }
            }
        }
        Data::Array(_) | Data::Integer(_) | Data::Float(_) | Data::Datetime => {}
    }
    reader.problem_with(node.place, format!("the value of `{key}` is not a condition on a value"), HINT);
    None
}

choice! {
    /// What a client speaks.
    pub enum Scheme {
        /// Without TLS.
        Http = "http",
        /// Over TLS.
        Https = "https",
    }
}

choice! {
    /// What a client speaks to ask.
    pub enum RequestProtocol {
        /// HTTP/1.1 or HTTP/1.0.
        Http1 = "http1",
        /// HTTP/2.
        H2 = "h2",
    }
}

/// Keys of a route by which requests and connections are told apart: nothing else lists them. Those of [`MatchConf`] are
/// among them.
pub const CONDITIONS: [&str; 16] = [
    "listeners",
    "hosts",
    "paths",
    "methods",
    "headers",
    "query",
    "cookies",
    "clients",
    "scheme",
    "protocol",
    "ports",
    "matchers",
    "any",
    "not",
    "server_names",
    "alpn",
];

section! {
    /// A group of conditions, which must all match; at least one must be given.
    pub struct MatchConf {
        /// Hosts to match, as in a route; empty = any.
        pub hosts: Vec<String> = [];
        /// Methods to match; empty = any.
        pub methods: Vec<http::Method> = [];
        /// Headers that must have these values, as in a route.
        pub headers: ValueMatches = {};
        /// Query parameters that must have these values.
        pub query: ValueMatches = {};
        /// Cookies that must have these values.
        pub cookies: ValueMatches = {};
        /// Networks that the client must be in; empty = any.
        pub clients: Vec<IpNet> = [];
        /// Scheme that the client must use, as reported by a trusted proxy or else by its connection.
        pub scheme: Option<Scheme>;
        /// Server names that the client must have asked for in its TLS handshake (SNI): exact or `*.example.com`; empty = any.
        pub server_names: Vec<String> = [];
        /// HTTP version that the client must use.
        pub protocol: Option<RequestProtocol>;
        /// Ports that the client must have connected to; empty = any.
        pub ports: Vec<u16> = [];
    }
    check Self::check;
}

section! {
    /// A named group of conditions that several routes can use, by `matchers`.
    pub struct MatcherConf {
        /// Its name, used by `matchers` in routes.
        pub name: String;
    }
    flat {
        /// What must hold.
        pub conditions: MatchConf;
    }
    check Self::check_name;
}

impl MatcherConf {
    fn check_name(&mut self, table: &mut Table<'_, '_, '_>) {
        name::check(table);
    }
}

impl MatchConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        check_names(&mut self.headers, table);
        matching::check_hosts("hosts", &mut self.hosts, table);
        matching::check_hosts("server_names", &mut self.server_names, table);
        check_ports(table);
        let is_written = |key: &&str| table.entry(key).is_some();
        if self.is_empty() && !CONDITIONS.iter().any(is_written) {
            let hint = "add at least one condition, such as `clients = [\"10.0.0.0/8\"]`";
            table.reader.problem_with(
                table.place,
                "there is no condition, so it would match every request",
                hint,
            );
        }
    }
}

impl MatchConf {
    /// Whether it holds for everything.
    pub fn is_empty(&self) -> bool {
        // A new condition does not compile until it is asked for here.
        let Self { hosts, methods, headers, query, cookies, clients, scheme, server_names, protocol, ports } =
            self;
        hosts.is_empty()
            && methods.is_empty()
            && [headers, query, cookies].iter().all(|values| values.0.is_empty())
            && clients.is_empty()
            && scheme.is_none()
            && server_names.is_empty()
            && protocol.is_none()
            && ports.is_empty()
    }
}

/// Reports a port that nobody connects to.
pub(super) fn check_ports(table: &mut Table<'_, '_, '_>) {
    let items = table.entry("ports").map_or(&[][..], |entry| entry.node.items());
    for item in items.iter().filter(|item| matches!(item.data, Data::Integer(0))) {
        let hint = "write the port that clients connect to, from 1 to 65535";
        table.reader.problem_with(item.place, "clients cannot connect to port 0", hint);
    }
}

/// Reports names that no header and no cookie can have, and writes those of headers in lower case.
pub(super) fn check_names(headers: &mut ValueMatches, table: &mut Table<'_, '_, '_>) {
    name::check_header_fields(table.entries_of("headers"), table.reader);
    name::check_spellings(table.entries_of("headers"), table.reader);
    for entry in table.entries_of("cookies") {
        if !name::is_token(&entry.key) {
            let message = format!("`{}` is not a valid cookie name", entry.key);
            table.reader.problem_with(entry.place, message, "use letters, digits, `-` and `_`");
        }
    }
    headers.0.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
}
