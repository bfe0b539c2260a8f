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

pub use backend::{BackendConf, BackendState, NameAddresses, is_dns_name};
pub use host::BackendHost;
pub use retry::{RetryConf, RetryOn};
pub use udp::UdpConf;

section! {
    /// A named group of backends with one balancing policy, one health check and one retry policy.
    pub struct UpstreamConf {
        /// Its name: routes, metrics and the admin API use it.
        pub name: String;
        /// How a backend is picked.
        pub balance: Policy = "round-robin";
        /// What `consistent-hash` and `maglev` hash.
        pub hash_on: HashOn = "client-ip";
        /// How far above the average a backend may be loaded before hashing passes on; 0 turns the bound off.
        pub hash_balance: f64 = 1.25, in 0 to 100;
        /// What is spoken to the backends.
        pub protocol: UpstreamProtocol = "http1";
        /// Connections of HTTP/2 to the backends, where it is spoken.
        pub http2: BackendHttp2Conf;
        /// Whether each connection to a backend begins with a PROXY header that names its client, and what that connected to. Such a connection is one client's alone, and never pooled; checks say that they are nobody's (`LOCAL`, `UNKNOWN`).
        pub proxy_protocol: SendProxyProtocol = "off";
        /// Whether datagrams to backends begin with a PROXY header of version 2, those of QUIC that is passed on too. One that it makes larger than what can be sent is dropped and counted.
        pub proxy_protocol_udp: SendDatagramHeaders = "off";
        /// What a PROXY header of version 2 says beside the addresses.
        pub proxy_protocol_tlvs: Vec<ProxyProtocolTlv> = [];
        /// Time to connect, TLS included.
        pub connect_timeout: Duration = "2s", in "1ms" to "1h";
        /// Time from the request's end to the first byte of the response's head; 504 beyond. Of datagrams, time to the first answer of a session, where that is less than `udp.idle`.
        pub response_timeout: Duration = "30s", in "1ms" to "1d";
        /// Time between two reads of a response's body; it breaks off beyond.
        pub body_timeout: Duration = "60s", in "1ms" to "365d";
        /// Time that an unused connection is kept.
        pub idle_timeout: Duration = "60s", in "1ms" to "1d";
        /// Unused connections kept, per backend and worker; 0 = none.
        pub max_idle: u32 = 256, in 0 to 100000;
        /// Sessions of datagrams, where routes of `udp` listeners lead here.
        pub udp: UdpConf;
        /// What waits when every backend is at `max_connections`.
        pub queue: QueueConf;
        /// Time over which a backend that came up gets its full share; 0 = at once.
        pub slow_start: Duration = "0s", in "0s" to "1d";
        /// What happens when no backend is healthy.
        pub when_all_down: WhenAllDown = "fail";
        /// Whether a request goes through another node of the cluster where this one can connect to no backend; it needs
        /// `[cluster.peers]`. Upgrades and CONNECT do not.
        pub relay: bool = false;
        /// A cookie that keeps a client on one backend; off when absent.
        pub sticky: Option<StickyConf>;
        /// The Host that backends get, where the route rewrites none: `{host}`, as the client sent it, `{backend.address}`, `{backend.name}`, or a fixed name. `x-forwarded-host` says what the client sent.
        pub host: BackendHost = "{host}";
        /// What a backend may send as the head of a response.
        pub limits: ResponseLimitsConf;
        /// The servers.
        pub backend: Vec<BackendConf>;
        /// TLS to the backends; off when absent.
        pub tls: Option<UpstreamTlsConf>;
        /// What is said in the clear before TLS to the backends begins: `postgres` asks with an SSLRequest. It needs `[upstream.tls]`.
        pub starttls: Starttls = "off";
        /// Active checks; off when absent.
        pub health_check: Option<HealthCheckConf>;
        /// Passive checks.
        pub outlier: OutlierConf;
        /// Further attempts.
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
        /// HTTP/2: with TLS it is asked for by ALPN, and a backend that does not take it has failed; without TLS it is known.
        H2 = "h2",
        /// What the backend takes by ALPN, HTTP/2 first; without TLS HTTP/1.1. Upgrades go over HTTP/1.1.
        Auto = "auto",
    }
}

section! {
    /// Connections of HTTP/2 to backends.
    pub struct BackendHttp2Conf {
        /// Time without a byte from the backend, while exchanges are under way, after which it is asked whether it is there (PING).
        pub ping_interval: Duration = "30s", in "100ms" to "1d";
        /// Time in which it answers that; beyond, the connection is taken for dead.
        pub ping_timeout: Duration = "10s", in "10ms" to "1h";
    }
}

choice! {
    /// Whether connections to backends begin with a PROXY header.
    pub enum SendProxyProtocol {
        /// It does not.
        Off = "off",
        /// Version 1: a line of text.
        V1 = "v1",
        /// Version 2: binary.
        V2 = "v2",
    }
}

choice! {
    /// Which datagrams to backends begin with a PROXY header.
    pub enum SendDatagramHeaders {
        /// None.
        Off = "off",
        /// Those of a session until the backend's first answer.
        First = "first",
        /// Each of them.
        Every = "every",
    }
}

choice! {
    /// What a PROXY header of version 2 says beside the addresses, where it is known.
    pub enum ProxyProtocolTlv {
        /// The protocol that was agreed on by ALPN, where TLS ended here.
        Alpn = "alpn",
        /// The server name that the client asked for (SNI).
        Authority = "authority",
        /// A checksum over the header.
        Crc32c = "crc32c",
        /// The id of the connection or request, as it is in the log.
        UniqueId = "unique-id",
        /// The version of the client's TLS, and whether it showed a certificate, where TLS ended here.
        Ssl = "ssl",
    }
}

choice! {
    /// What happens when no backend is healthy.
    pub enum WhenAllDown {
        /// 503 at once.
        Fail = "fail",
        /// All are used, in the hope that the checks are wrong.
        UseAll = "use-all",
    }
}

section! {
    /// What waits when every backend is at `max_connections`; 503 beyond.
    pub struct QueueConf {
        /// How many wait; 0 = none.
        pub size: u32 = 0, in 0 to 1000000;
        /// How long one waits.
        pub timeout: Duration = "1s", in "1ms" to "1h";
    }
}

section! {
    /// A cookie that keeps a client on one backend.
    pub struct StickyConf {
        /// Its name.
        pub cookie: String = "pointsman";
        /// How long the client keeps it; 0 = until the browser is closed.
        pub ttl: Duration = "0s", in "0s" to "3650d";
        /// With which requests of other sites a browser sends it.
        pub same_site: SameSite = "lax";
        /// The domain that it is for, and those below; none = the host that set it alone.
        pub domain: Option<String>;
        /// The path below which it is for.
        pub path: String = "/";
        /// Whether browsers are to send it over TLS only.
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
        /// With those that lead to a page.
        Lax = "lax",
        /// With none.
        Strict = "strict",
        /// With all of them, over TLS.
        None = "none",
    }
}

choice! {
    /// Whether a cookie is for TLS only.
    pub enum SecureCookie {
        /// Where it is set over TLS.
        Auto = "auto",
        /// Always: TLS ends before Pointsman.
        Always = "always",
        /// Never: the same clients come without TLS too.
        Never = "never",
    }
}

section! {
    /// What a backend may send as the head of a response; it gets 502 beyond.
    pub struct ResponseLimitsConf {
        /// Bytes of the head.
        pub header_bytes: Size = "64KiB", in "1KiB" to "16MiB";
        /// Its fields.
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
