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
    /// What becomes of a request: exactly one of `upstream`, `split`, `redirect`, `respond` and `files`; `files` may also come before one of the first two. Of all routes that match, one wins: an exact host before the longest wildcard (`*.example.com` before `example.*`) before a regular expression before any host; then an exact path before the longest prefix before a regular expression before any path; then one with `methods`; then more `headers`; then more `query`; then more other conditions; then the order of the file. `pointsman explain` shows it.
    pub struct RouteConf {
        /// Its name: metrics and the log use it.
        pub name: String;
        /// Listeners that it holds for; empty = every http and https listener.
        pub listeners: Vec<String> = [];
        /// Hosts: exact, `*.example.com` or `example.*` (one or more labels), or `~regex`, whatever the case; empty, or `*`, = any.
        pub hosts: Vec<String> = [];
        /// Paths: `/exact`, `/prefix/*` (whole segments) or `~regex`; empty = any.
        pub paths: Vec<PathPattern> = [];
        /// Methods; empty = any.
        pub methods: Vec<http::Method> = [];
        /// Headers that must have these values: `{ x-a = "b", x-c = ["d", "e"], x-f = { prefix = "g" }, x-h = true }`.
        pub headers: ValueMatches = {};
        /// Query parameters that must have these values, decoded.
        pub query: ValueMatches = {};
        /// Cookies that must have these values.
        pub cookies: ValueMatches = {};
        /// Networks of which the client must be; empty = any.
        pub clients: Vec<IpNet> = [];
        /// What the client must speak, as a trusted proxy says or its connection has it.
        pub scheme: Option<Scheme>;
        /// What the client must speak to ask.
        pub protocol: Option<RequestProtocol>;
        /// Ports of which the client must have connected to one, as its connection or a PROXY header has it; empty = any.
        pub ports: Vec<u16> = [];
        /// Names of `[[matcher]]` tables whose conditions must hold too.
        pub matchers: Vec<String> = [];
        /// Groups of conditions of which one must hold; none = no such condition.
        pub any: Vec<MatchConf> = [];
        /// Groups of conditions of which none may hold.
        pub not: Vec<MatchConf> = [];
        /// Names that the client asks for in its TLS handshake (SNI), exact or `*.example.com` (one or more labels); empty = any other, and none. Of `tls` listeners they decide; of `https` ones they are a condition beside `hosts`.
        pub server_names: Vec<String> = [];
        /// Of `tls` listeners: protocols of which the client must offer one, such as `h2`; empty = any.
        pub alpn: Vec<String> = [];
        /// Names of `[[policy]]` tables that hold for it: what it says itself goes before them, and a later one before an earlier one.
        pub policies: Vec<String> = [];
        /// How the request's target is changed.
        pub rewrite: Option<RewriteConf>;
        /// How the request's headers are changed.
        pub request_headers: HeaderEditConf;
        /// How the response's headers are changed.
        pub response_headers: HeaderEditConf;
        /// Name of the cache that answers where it can, and stores what it may.
        pub cache: Option<String>;
        /// Whether equal requests that come at the same time are joined to one, without a cache.
        pub collapse: bool = false;
        /// Networks of clients that it is for; empty = all. Others get 403. The client is the one that is logged: whom a trusted proxy names, where it does.
        pub allow: Vec<IpNet> = [];
        /// Networks of clients that it is not for (403); it goes before `allow`.
        pub deny: Vec<IpNet> = [];
        /// How much a request may be.
        pub limits: RouteLimitsConf;
        /// How long a request may take, part by part.
        pub timeouts: RouteTimeoutsConf;
        /// Requests under way over all workers, tunnels too; 503 beyond. 0 = any.
        pub max_in_flight: u32 = 0, in 0 to 10000000;
        /// Bytes of a request body that is read whole before a backend is picked, so that a client that sends slowly holds none, and goes on with Content-Length; 413 beyond. 0 = it goes on as it comes.
        pub buffer: Size = "0", in "0" to "1GiB";
        /// What a request may turn its connection into: protocols that its Upgrade field may name, such as `websocket`, `tcp` (`docker exec`) or `spdy/3.1` (`kubectl exec`), `*` for any but `h2c`, and `connect` for CONNECT. A protocol that is not here is taken out, and the request goes on without it.
        pub upgrade: Upgrades = ["websocket"];
        /// Time without a byte in either direction after which a tunnel is closed.
        pub tunnel_idle: Duration = "1h", in "1ms" to "365d";
        /// Time without a byte after which a tunnel is closed of which one side has ended.
        pub half_close_timeout: Duration = "60s", in "1ms" to "365d";
        /// Whether `Forwarded` (RFC 7239) is sent too.
        pub forwarded: bool = false;
        /// Bytes per second that a client must send of a request's body, and take of a response, while a backend is held for it: on average over the time that it is waited for, beyond the first ten seconds. 0 = any.
        pub min_rate: Size = "240B", in "0" to "1GiB";
        /// Time for the whole exchange, 504 beyond; 0 = no limit. A stream of events that has begun is not ended by it.
        pub timeout: Duration = "0s", in "0s" to "365d";
        /// Time without a byte after which a stream of events (`text/event-stream`) is ended, in the place of the limits of other bodies.
        pub stream_idle: Duration = "1h", in "1ms" to "365d";
        /// Copies of some requests that go to another upstream too.
        pub mirror: Option<MirrorConf>;
        /// Files that stand for error responses, by status (`404`) or class (`5xx`), with [placeholders](templates.md): for what Pointsman answers itself. Read again when they change.
        pub error_pages: ErrorPagesConf = {};
        /// Whether `error_pages` stand for errors that backends answer too.
        pub intercept_errors: bool = false;
        /// Encodings that responses are compressed with where the client takes them, in the order in which they are chosen; empty = none.
        pub compression: Vec<Coding> = [];
        /// Media types that are compressed: `text/html`, `text/*`, `*+json`; left out = texts, JSON, XML, scripts and fonts of all kinds.
        pub compression_types: Vec<String> = [];
        /// Bodies below this many bytes are not compressed.
        pub compression_min: Size = "1KiB", in "0" to "1GiB";
        /// How hard each encoding tries.
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
