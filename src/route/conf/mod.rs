//! Routes as configured.

mod action;
mod conditions;
mod edit;
mod limits;
mod matching;
mod mirror;
mod templates;
mod upgrade;

use std::time::Duration;

use ipnet::IpNet;

use crate::{
    filter::{
        coding::Coding, compression::conf::LevelsConf, error_pages::conf::ErrorPagesConf,
        header_edits::HeaderEditConf,
    },
    schema::{Size, Table, name, section},
};

pub use action::{Action, ActionKeys, FilesFirst, RedirectConf, RedirectStatus, RespondConf, SplitConf};
pub use conditions::{CONDITIONS, MatchConf, MatcherConf, RequestProtocol, Scheme, ValueMatch, ValueMatches};
pub use edit::{QueryEditConf, RewriteConf};
pub use limits::{RouteLimitsConf, RouteTimeoutsConf};
pub use matching::PathPattern;
pub use mirror::MirrorConf;
pub use upgrade::Upgrades;

section! {
    /// Matches requests and decides what happens to them, with exactly one action: `upstream`, `split`, `redirect`, `respond` or `files` (`files` may also be combined with `upstream` or `split`). If several routes match, the most specific wins: an exact host before the longest wildcard (`*.example.com` before `example.*`) before a regular expression before any host; then an exact path before the longest prefix before a regular expression before any path; then a route with `methods`; then more `headers`; then more `query`; then more other conditions; then the order in the file. `pointsman explain` shows which one wins.
    pub struct RouteConf {
        /// The route's name, used in metrics and the log.
        pub name: String;
        /// Listeners that the route applies to; empty = every http and https listener.
        pub listeners: Vec<String> = [];
        /// Hosts to match: exact, `*.example.com` or `example.*` (one or more labels), or `~regex`, ignoring case; empty or `*` = any.
        pub hosts: Vec<String> = [];
        /// Paths to match: `/exact`, `/prefix/*` (whole segments) or `~regex`; empty = any.
        pub paths: Vec<PathPattern> = [];
        /// Methods to match; empty = any.
        pub methods: Vec<http::Method> = [];
        /// Headers that must have these values: `{ x-a = "b", x-c = ["d", "e"], x-f = { prefix = "g" }, x-h = true }`. In a `regex` of any value, `.` matches line breaks too, and a byte that is not UTF-8 counts as one character.
        pub headers: ValueMatches = {};
        /// Query parameters that must have these values, decoded. As some backends separate parameters at a `;` too, `a=1;b=2` has the parameter `a` with `1` and with `1;b=2`, and `b` with `2`.
        pub query: ValueMatches = {};
        /// Cookies that must have these values.
        pub cookies: ValueMatches = {};
        /// Networks that the client must be in; empty = any.
        pub clients: Vec<IpNet> = [];
        /// Scheme that the client must use, as reported by a trusted proxy or else by its connection.
        pub scheme: Option<Scheme>;
        /// HTTP version that the client must use.
        pub protocol: Option<RequestProtocol>;
        /// Ports that the client must have connected to, as seen on its connection or in a PROXY header; empty = any.
        pub ports: Vec<u16> = [];
        /// `[[matcher]]` tables that must match too, by name.
        pub matchers: Vec<String> = [];
        /// Groups of conditions of which at least one must match; empty = no such requirement.
        pub any: Vec<MatchConf> = [];
        /// Groups of conditions of which none may match.
        pub not: Vec<MatchConf> = [];
        /// Server names that the client asks for in its TLS handshake (SNI): exact or `*.example.com` (one or more labels). On `tls` listeners they choose the route, and empty = any name no other route has, or none; on `https` listeners they are a condition besides `hosts`.
        pub server_names: Vec<String> = [];
        /// On `tls` listeners: protocols of which the client must offer at least one by ALPN, such as `h2`; empty = any.
        pub alpn: Vec<String> = [];
        /// `[[policy]]` tables to apply, by name. The route's own keys win over them, and a later policy over an earlier one.
        pub policies: Vec<String> = [];
        /// Changes to the request target.
        pub rewrite: Option<RewriteConf>;
        /// Changes to the request's headers.
        pub request_headers: HeaderEditConf;
        /// Changes to the response's headers.
        pub response_headers: HeaderEditConf;
        /// Name of the `[[cache]]` to answer from and store responses in.
        pub cache: Option<String>;
        /// Without a cache: send only one of several identical requests that arrive at the same time, and share its response.
        pub collapse: bool = false;
        /// Networks of clients that may use this route; empty = all. Others get 403. The client address is the one that is logged: the one that a trusted proxy reports, if any.
        pub allow: Vec<IpNet> = [];
        /// Networks of clients that get 403; wins over `allow`.
        pub deny: Vec<IpNet> = [];
        /// Size limits for requests.
        pub limits: RouteLimitsConf;
        /// Time limits for each part of a request.
        pub timeouts: RouteTimeoutsConf;
        /// Most requests in progress over all workers, tunnels included; further ones get 503. 0 = unlimited.
        pub max_in_flight: u32 = 0, in 0 to 10000000;
        /// Read the whole request body, up to this size, before picking a backend, so that slow uploads occupy none; it is then sent with Content-Length, or in chunks if trailers follow it. Larger bodies get 413. 0 = forward the body as it arrives.
        pub buffer: Size = "0", in "0" to "1GiB";
        /// Protocols that a request may switch to by its Upgrade field, such as `websocket`, `tcp` (`docker exec`) or `spdy/3.1` (`kubectl exec`); `*` allows any but `h2c`, and `connect` allows CONNECT. Other protocols are removed from the field, and the request is forwarded without them.
        pub upgrade: Upgrades = ["websocket"];
        /// Close a tunnel after this long without a byte in either direction. If a side takes nothing of what there is for it, both sides are reset instead.
        pub tunnel_idle: Duration = "1h", in "1ms" to "365d";
        /// Close a half-closed tunnel, in which one side has finished sending, after this long without a byte. If a side takes nothing of what there is for it, both sides are reset instead.
        pub half_close_timeout: Duration = "60s", in "1ms" to "365d";
        /// Send `Forwarded` (RFC 7239) too.
        pub forwarded: bool = false;
        /// Slowest rate, in bytes per second, at which a client may send a request body or receive a response while it occupies a backend, one of the places of `max_in_flight`, or memory for a body that is fetched through a cache. The average counts only the time spent waiting for the client, after a grace period of ten seconds. 0 = no minimum.
        pub min_rate: Size = "240B", in "0" to "1GiB";
        /// Time limit for the whole exchange; 504 when exceeded. 0 = no limit. An event stream that has begun is not cut off.
        pub timeout: Duration = "0s", in "0s" to "365d";
        /// End an event stream (`text/event-stream`) after this long without a byte. For these responses it replaces the other body time limits.
        pub stream_idle: Duration = "1h", in "1ms" to "365d";
        /// Send copies of some requests to another upstream.
        pub mirror: Option<MirrorConf>;
        /// Bodies for the errors that Pointsman itself answers: files by status (`404`) or class (`5xx`), with [placeholders](templates.md). They are read again when they change.
        pub error_pages: ErrorPagesConf = {};
        /// Use `error_pages` for backends' error responses too.
        pub intercept_errors: bool = false;
        /// Encodings to compress responses with, in order of preference, for clients that accept them; empty = no compression.
        pub compression: Vec<Coding> = [];
        /// Media types to compress, such as `text/html`, `text/*` or `*+json`. By default: text, JSON, XML, scripts and fonts.
        pub compression_types: Vec<String> = [];
        /// Smallest body to compress.
        pub compression_min: Size = "1KiB", in "0" to "1GiB";
        /// Compression level of each encoding.
        pub compression_level: LevelsConf;
    }
    flat {
        /// What becomes of the request.
        pub action: Action;
        /// What is looked for before it goes to an upstream.
        pub files: FilesFirst;
    }
    check Self::check;
}

/// Keys that say nothing where no request is passed on.
pub const OF_PROXIED: [&str; 9] =
    ["mirror", "rewrite", "upgrade", "cache", "collapse", "limits", "timeouts", "max_in_flight", "buffer"];

impl RouteConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        name::check(table);
        matching::check_hosts("hosts", &mut self.hosts, table);
        matching::check_hosts("server_names", &mut self.server_names, table);
        self.check_alpn(table);
        conditions::check_ports(table);
        templates::check(&self.paths, table);
        conditions::check_names(&mut self.headers, table);
        let proxied = matches!(self.action, Action::Upstream(_) | Action::Split(_));
        self.check_compression(table);
        let has_files = matches!(self.action, Action::Files(_));
        for key in OF_PROXIED.into_iter().filter(|key| !has_meaning(key, proxied, has_files)) {
            if let Some(entry) = table.entry(key) {
                let message = format!("`{key}` has no effect: this route sends no request to an upstream");
                let hint = "leave it out, or send the request to an `upstream`";
                table.reader.problem_with(entry.place, message, hint);
            }
        }
        if self.collapse && table.entry("cache").is_some() {
            let message = "`collapse` is for routes without a cache: a cache collapses requests itself";
            let hint = "leave it out; `[cache.collapse]` sets how the cache does it";
            table.reader.problem_with(table.place_of("collapse"), message, hint);
        }
    }
}

impl RouteConf {
    /// What it says itself of the requests that it takes, beside listeners, paths and groups. A new condition does not
    /// compile until it is here.
    pub fn conditions(&self) -> MatchConf {
        MatchConf {
            hosts: self.hosts.clone(),
            methods: self.methods.clone(),
            headers: self.headers.clone(),
            query: self.query.clone(),
            cookies: self.cookies.clone(),
            clients: self.clients.clone(),
            scheme: self.scheme,
            server_names: self.server_names.clone(),
            protocol: self.protocol,
            ports: self.ports.clone(),
        }
    }

    /// Whether there are conditions beside listeners, hosts, paths and methods.
    pub fn has_more_conditions(&self) -> bool {
        let more = MatchConf { hosts: Vec::new(), methods: Vec::new(), ..self.conditions() };
        !more.is_empty() || !self.any.is_empty() || !self.not.is_empty() || !self.matchers.is_empty()
    }

    /// Media types that are none.
    fn check_compression(&self, table: &mut Table<'_, '_, '_>) {
        let items = table.entry("compression_types").map_or(&[][..], |entry| entry.node.items());
        for item in items {
            let Some(text) = item.text().filter(|text| !is_media_pattern(text)) else { continue };
            let message = format!("`{text}` is not a media type");
            table.reader.problem_with(item.place, message, "write \"text/html\", \"text/*\" or \"*+json\"");
        }
    }

    /// RFC 7301 §3.1: a protocol has 1 to 255 bytes.
    fn check_alpn(&self, table: &mut Table<'_, '_, '_>) {
        let items = table.entry("alpn").map_or(&[][..], |entry| entry.node.items());
        for item in items {
            let Some(text) = item.text().filter(|text| !(1..=255).contains(&text.len())) else { continue };
            let message = format!("`{text}` is not a valid protocol name");
            table.reader.problem_with(
                item.place,
                message,
                "use a name such as \"h2\", \"http/1.1\" or \"imap\"",
            );
        }
    }
}

/// Whether a key says something of a route that passes requests on, or serves files, or neither.
pub fn has_meaning(key: &str, is_proxied: bool, has_files: bool) -> bool {
    // Files are sent for as long as clients take.
    is_proxied || !OF_PROXIED.contains(&key) || has_files && key == "max_in_flight"
}

/// Whether a text is a media type, or stands for several: `text/*`, `*+json`, `*`.
fn is_media_pattern(text: &str) -> bool {
    let inner = text.strip_prefix('*').or_else(|| text.strip_suffix('*')).unwrap_or(text);
    let is_token = |part: &str| part.bytes().all(crate::fields::is_token_byte) && !part.contains('*');
    match inner.split_once('/') {
        Some((kind, rest)) => {
            !kind.is_empty() && is_token(kind) && is_token(rest) && (text.ends_with('*') || !rest.is_empty())
        }
        None => inner.len() < text.len() && is_token(inner),
    }
}
