//! Upstreams as configured.

mod backend;
mod host;
mod retry;
mod udp;

use std::time::Duration;

use crate::{
    backend::Address,
    balance::conf::{HashOn, Policy},
    h1::HeadLimits,
    health::conf::{CheckKind, HealthCheckConf, OutlierConf},
    schema::{Size, Table, choice, name, section},
    tls::conf::{Starttls, UpstreamTlsConf},
};

pub use backend::{BackendConf, BackendState, NameAddresses, is_dns_name, written_alike};
pub use host::BackendHost;
pub use retry::{RetryConf, RetryOn};
pub use udp::UdpConf;

section! {
    /// A named group of backends that share a balancing policy, health checks and a retry policy.
    pub struct UpstreamConf {
        /// Its name, used in routes, metrics and the admin API.
        pub name: String;
        /// How to pick a backend.
        pub balance: Policy = "round-robin";
        /// The hash key for `consistent-hash` and `maglev`.
        pub hash_on: HashOn = "client-ip";
        /// Load bound for `consistent-hash` and `maglev`: a backend at this multiple of its fair share of requests in flight is passed over for the next one. 0 = no bound.
        pub hash_balance: f64 = 1.25, in 0 to 100;
        /// What is spoken to the backends.
        pub protocol: UpstreamProtocol = "http1";
        /// Settings for HTTP/2 connections to the backends.
        pub http2: BackendHttp2Conf;
        /// Begin each connection to a backend with a PROXY header, which gives the client's address and the one it connected to. Such a connection serves a single client and is never pooled; health checks send `LOCAL` or `UNKNOWN`.
        pub proxy_protocol: SendProxyProtocol = "off";
        /// Begin datagrams to backends with a PROXY v2 header, including those of forwarded QUIC. A datagram that the header makes too large to send is dropped and counted.
        pub proxy_protocol_udp: SendDatagramHeaders = "off";
        /// Extra information (TLVs) in PROXY v2 headers.
        pub proxy_protocol_tlvs: Vec<ProxyProtocolTlv> = [];
        /// Time limit for connecting, including the TLS handshake.
        pub connect_timeout: Duration = "2s", in "1ms" to "1h";
        /// Time limit from the end of the request to the first byte of the response; 504 when exceeded. For UDP, the time limit for a session's first answer, if shorter than `udp.idle`.
        pub response_timeout: Duration = "30s", in "1ms" to "1d";
        /// Time limit between two reads of a response body; when exceeded, the response is cut off.
        pub body_timeout: Duration = "60s", in "1ms" to "365d";
        /// How long to keep an idle connection open for reuse.
        pub idle_timeout: Duration = "60s", in "1ms" to "1d";
        /// Most idle connections to keep, per backend and worker; 0 = none.
        pub max_idle: u32 = 256, in 0 to 100000;
        /// Settings for UDP sessions, if routes of `udp` listeners use this upstream.
        pub udp: UdpConf;
        /// Queue for requests when every backend is at its `max_connections`.
        pub queue: QueueConf;
        /// How long a backend that has just come up takes to ramp up to its full share; 0 = no ramp.
        pub slow_start: Duration = "0s", in "0s" to "1d";
        /// What to do when no backend is healthy; one with `weight = 0` does not count.
        pub when_all_down: WhenAllDown = "fail";
        /// When this node cannot connect to any backend, send requests through another node of the cluster; needs `[cluster.peers]`. Upgrades and CONNECT are not relayed.
        pub relay: bool = false;
        /// Sticky sessions: a cookie keeps each client on one backend; off when absent.
        pub sticky: Option<StickyConf>;
        /// The `Host` sent to backends, unless the route rewrites it: `{host}` for the client's own, `{backend.address}`, `{backend.name}` (of a backend without a name that is its address; `localhost` for a unix socket), or a fixed name. `X-Forwarded-Host` always has what the client sent.
        pub host: BackendHost = "{host}";
        /// Size limits for response heads.
        pub limits: ResponseLimitsConf;
        /// The upstream's servers.
        pub backend: Vec<BackendConf>;
        /// Use TLS to the backends; off when absent.
        pub tls: Option<UpstreamTlsConf>;
        /// Protocol for asking backends, in the clear, to start TLS; needs `[upstream.tls]`.
        pub starttls: Starttls = "off";
        /// Active health checks; off when absent.
        pub health_check: Option<HealthCheckConf>;
        /// Passive health checks (outlier detection).
        pub outlier: OutlierConf;
        /// Retries of failed requests.
        pub retry: RetryConf;
    }
    check Self::check;
}

impl UpstreamConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        name::check(table);
        self.check_backends(table);
        self.check_names(table);
        self.check_port(table);
        if self.hash_balance > 0.0 && self.hash_balance < 1.0 {
            let message = "a backend cannot be limited to less than the average load";
            let hint = "set `hash_balance` to 0 (no limit) or at least 1, such as 1.25";
            table.reader.problem_with(table.place_of("hash_balance"), message, hint);
        }
        if self.protocol != UpstreamProtocol::H2
            && self.health_check.as_ref().is_some_and(|check| check.kind == CheckKind::Grpc)
            && !(self.protocol == UpstreamProtocol::Auto && table.entry("tls").is_some())
        {
            let place = table.entry("health_check").map_or(table.place, |entry| entry.place);
            let message = "a check of kind `grpc` needs HTTP/2, which this upstream does not use";
            table.reader.problem_with(place, message, "set `protocol = \"h2\"` on the upstream");
        }
        if let Some(entry) = table.entry("proxy_protocol")
            && self.protocol != UpstreamProtocol::Http1
            && self.proxy_protocol != SendProxyProtocol::Off
        {
            let message = "an HTTP/2 connection serves many clients, but a PROXY header names only one";
            let hint = "set `protocol = \"http1\"`, or leave `proxy_protocol` out: `X-Forwarded-For` names the client";
            table.reader.problem_with(entry.place, message, hint);
        }
        if let Some(entry) = table.entry("proxy_protocol_tlvs")
            && self.proxy_protocol != SendProxyProtocol::V2
            && self.proxy_protocol_udp == SendDatagramHeaders::Off
            && !self.proxy_protocol_tlvs.is_empty()
        {
            let message = "only PROXY protocol version 2 can carry more than addresses";
            table.reader.problem_with(entry.place, message, "set `proxy_protocol = \"v2\"`, or leave it out");
        }
        if let Some(entry) = table.entry("starttls").filter(|_| self.starttls != Starttls::Off)
            && table.entry("tls").is_none()
        {
            let message = "`starttls` needs TLS to the backends, which is not configured";
            let hint = "add `[upstream.tls]`; where a `tls` listener passes TLS through, its own `starttls` is enough";
            table.reader.problem_with(entry.place, message, hint);
        }
        let hashes = matches!(self.balance, Policy::ConsistentHash | Policy::Maglev);
        if let Some(entry) = table.entry("hash_on").filter(|_| !hashes) {
            // A broken policy has been replaced by the default; its own problem says enough.
            if table.entry("balance").is_none_or(|entry| entry.node.text() == Some(self.balance.name())) {
                let message = format!("`hash_on` has no effect with `{}`", self.balance.name());
                let hint = "set `balance = \"consistent-hash\"` or `\"maglev\"`, or leave it out";
                table.reader.problem_with(entry.place, message, hint);
            }
        }
    }

    /// A check has another port where there are ports.
    fn check_port(&self, table: &mut Table<'_, '_, '_>) {
        let port = table.entry("health_check").and_then(|check| check.node.entry("port"));
        let is_unix = |backend: &BackendConf| matches!(backend.address, Address::Unix(_));
        if let Some(entry) = port.filter(|_| self.backend.iter().any(is_unix)) {
            let message = "`port` does not apply to a backend on a unix socket";
            table.reader.problem_with(entry.place, message, "use a separate upstream for unix sockets");
        }
    }

    /// With TLS each backend has a name to verify that no client chooses.
    fn check_names(&self, table: &mut Table<'_, '_, '_>) {
        if self.tls.as_ref().is_none_or(|tls| tls.server_name.is_some()) {
            return;
        }
        let written = table.places_in("backend");
        // With a backend left out for its own problem, places could not be told apart.
        for (backend, place) in
            self.backend.iter().zip(&written).filter(|_| written.len() == self.backend.len())
        {
            let kind = match &backend.address {
                Address::Host { .. } | Address::OfName { .. } => continue,
                Address::Unix(_) => "a unix socket",
                Address::Srv(_) => "an SRV name",
            };
            let message = format!("TLS to {kind} has no server name to request and verify");
            table.reader.problem_with(*place, message, "set `server_name` in `[upstream.tls]`");
        }
    }

    fn check_backends(&self, table: &mut Table<'_, '_, '_>) {
        let written = table.places_in("backend");
        if written.is_empty() {
            let message = format!("the upstream `{}` has no backend", self.name);
            let hint = "add `[[upstream.backend]]` with an `address`";
            table.reader.missing(table.place, message, hint);
            return;
        }
        // With a backend left out for its own problem, nothing can be said about all of them.
        if written.len() != self.backend.len() {
            return;
        }
        let place = written.first().copied().unwrap_or(table.place);
        if self.backend.iter().all(|backend| backend.weight == 0) {
            let message = format!("every backend of `{}` has weight 0, so none gets traffic", self.name);
            table.reader.problem_with(place, message, "give at least one a weight of 1 or more");
        } else if self.backend.iter().all(|backend| backend.backup) {
            let message = format!("every backend of `{}` is a backup", self.name);
            table.reader.problem_with(place, message, "leave `backup` out of at least one");
        }
    }
}

choice! {
    /// What is spoken to the backends.
    pub enum UpstreamProtocol {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2 only: with TLS, by ALPN, and a backend that does not accept it counts as failed; without TLS, by prior knowledge.
        H2 = "h2",
        /// With TLS, whatever the backend accepts by ALPN, preferring HTTP/2; without TLS, HTTP/1.1. Upgrades always use HTTP/1.1.
        Auto = "auto",
    }
}

section! {
    /// HTTP/2 connections to backends.
    pub struct BackendHttp2Conf {
        /// Send a PING after this long without a byte from the backend, while requests are in progress or the last ones were given up unanswered.
        pub ping_interval: Duration = "30s", in "100ms" to "1d";
        /// How long the backend may take to answer a PING; after that the connection is considered dead.
        pub ping_timeout: Duration = "10s", in "10ms" to "1h";
    }
}

choice! {
    /// Whether connections to backends begin with a PROXY header.
    pub enum SendProxyProtocol {
        /// No PROXY header.
        Off = "off",
        /// Version 1, a line of text.
        V1 = "v1",
        /// Version 2, binary.
        V2 = "v2",
    }
}

choice! {
    /// Which datagrams to backends begin with a PROXY header.
    pub enum SendDatagramHeaders {
        /// None.
        Off = "off",
        /// Those of a session until the backend first answers, and later ones where it may have forgotten the session.
        First = "first",
        /// Each of them.
        Every = "every",
    }
}

choice! {
    /// What a PROXY header of version 2 says beside the addresses, where it is known.
    pub enum ProxyProtocolTlv {
        /// The protocol negotiated by ALPN, if TLS is terminated here.
        Alpn = "alpn",
        /// The server name the client asked for (SNI).
        Authority = "authority",
        /// A checksum over the header.
        Crc32c = "crc32c",
        /// The id of the connection or request, as in the log.
        UniqueId = "unique-id",
        /// The client's TLS version and whether it sent a certificate, if TLS is terminated here.
        Ssl = "ssl",
    }
}

choice! {
    /// What to do when no backend is healthy.
    pub enum WhenAllDown {
        /// Answer 503 at once, also to those who wait in the queue.
        Fail = "fail",
        /// Use all of them, in case the health checks are wrong.
        UseAll = "use-all",
    }
}

section! {
    /// Queue for requests when every backend is at its `max_connections`; 503 when it is full or the wait too long.
    pub struct QueueConf {
        /// Most requests that may wait; 0 = no queue.
        pub size: u32 = 0, in 0 to 1000000;
        /// How long a request may wait.
        pub timeout: Duration = "1s", in "1ms" to "1h";
    }
}

section! {
    /// Sticky sessions: a cookie keeps each client on one backend.
    pub struct StickyConf {
        /// The cookie's name.
        pub cookie: String = "pointsman";
        /// The cookie's lifetime; 0 = until the browser is closed.
        pub ttl: Duration = "0s", in "0s" to "3650d";
        /// The `SameSite` attribute: when browsers send the cookie with cross-site requests.
        pub same_site: SameSite = "lax";
        /// The `Domain` attribute: a domain, with its subdomains. By default only the host that set the cookie.
        pub domain: Option<String>;
        /// The `Path` attribute.
        pub path: String = "/";
        /// The `Secure` attribute: whether browsers send the cookie over TLS only.
        pub secure: SecureCookie = "auto";
    }
    check Self::check;
}

impl StickyConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if !name::is_token(&self.cookie) {
            let message = format!("`{}` is not a valid cookie name", self.cookie);
            let hint = "use letters, digits, `-` and `_`";
            table.reader.problem_with(table.place_of("cookie"), message, hint);
        }
        let is_value = |text: &str| text.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b';');
        if !self.path.starts_with('/') || !is_value(&self.path) {
            let message = format!("`{}` is not a valid cookie path", self.path);
            table.reader.problem_with(
                table.place_of("path"),
                message,
                "it must begin with `/` and contain no spaces or `;`",
            );
        }
        let bare = self.domain.as_deref().map(|it| it.strip_prefix('.').unwrap_or(it));
        if let Some(domain) = bare.filter(|it| !is_dns_name(it)) {
            let message = format!("`{domain}` is not a valid cookie domain");
            table.reader.problem_with(
                table.place_of("domain"),
                message,
                "use a name such as \"example.com\"",
            );
        }
        // As browsers have it: without Secure they do not keep such a cookie.
        if self.same_site == SameSite::None && self.secure == SecureCookie::Never {
            let message = "browsers keep a cookie with `same_site = \"none\"` only if it is secure";
            table.reader.problem_with(
                table.place_of("secure"),
                message,
                "leave `secure` out, or set \"always\"",
            );
        }
    }
}

choice! {
    /// With which requests of other sites a browser sends a cookie.
    pub enum SameSite {
        /// When following a link to a page.
        Lax = "lax",
        /// Never.
        Strict = "strict",
        /// Always, over TLS.
        None = "none",
    }
}

choice! {
    /// Whether a cookie is for TLS only.
    pub enum SecureCookie {
        /// If the cookie is set over TLS.
        Auto = "auto",
        /// Always, for when TLS is terminated in front of Pointsman.
        Always = "always",
        /// Never, for clients that also connect without TLS.
        Never = "never",
    }
}

section! {
    /// Size limits for response heads; when exceeded, the client gets 502, and a health check fails.
    pub struct ResponseLimitsConf {
        /// Size of a response head.
        pub header_bytes: Size = "64KiB", in "1KiB" to "16MiB";
        /// Number of header fields in a response.
        pub headers: u32 = 200, in 1 to 10000;
    }
}

impl ResponseLimitsConf {
    /// The bounds as the parser has them.
    pub fn of_head(&self) -> HeadLimits {
        let bytes = usize::try_from(self.header_bytes.0).unwrap_or(usize::MAX);
        HeadLimits { bytes, fields: self.headers as usize, target: 0 }
    }
}
