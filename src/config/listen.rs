//! `[[listener]]`: where connections are accepted.

use std::time::Duration;

use ipnet::IpNet;
use serde_json::json;

use super::{
    datagram_headers::DatagramHeaders,
    http2::Http2Conf,
    socket_access::{FileMode, GroupId, UserId},
};
pub use super::{
    listen_address::{ListenAddress, ListenAddresses},
    listen_limits::{LimitsConf, LingerConf, TimeoutsConf},
};
use crate::{
    exchange::Via,
    filter::{alt_svc::AltSvc, error_pages::conf::ErrorPagesConf},
    schema::{Node, Reader, Table, Value, choice, name, section},
    tls::{
        conf::{CertificateConf, ClientAuthConf, ClientAuthMode, Starttls},
        crypto::CryptoConf,
        folder::CertificateFolder,
    },
};

section! {
    /// An address that accepts connections, with its protocol and certificates.
    pub struct ListenerConf {
        /// The listener's name, used in routes, metrics and the log.
        pub name: String;
        /// An IP address and port, or `unix:/run/x.sock`; an array for several. `[::]:80` accepts IPv4 too, unless the file also has `0.0.0.0:80`.
        pub address: ListenAddresses;
        /// Unix sockets: permissions of the socket file in octal, such as `"0660"`; connecting needs write permission. By default the umask decides.
        pub mode: Option<FileMode>;
        /// Unix sockets: owner of the socket file, by name or number. Any user but the one Pointsman runs as needs `CAP_CHOWN`.
        pub owner: Option<UserId>;
        /// Unix sockets: group of the socket file, by name or number. A group that Pointsman is not in needs `CAP_CHOWN`.
        pub group: Option<GroupId>;
        /// The protocol that clients speak.
        pub protocol: Protocol = "http";
        /// Most connections open at once, over all workers; at the limit, a new connection is closed at once (`pointsman_connections_refused_total`, and a warning in the log). For `udp`, set the upstream's `udp.max_sessions` instead.
        pub max_connections: u32 = 10000, in 1 to 10000000;
        /// Most connections (or `udp` sessions) from one client address, counted together with the requests in progress that trusted proxies send for it. Above the limit, a connection is closed and a request gets 429. 0 = unlimited.
        pub max_connections_per_address: u32 = 0, in 0 to 10000000;
        /// TCP addresses: how long the kernel holds a new connection that has sent nothing before handing it over (`TCP_DEFER_ACCEPT`, rounded up to 1, 3, 7, 15 … seconds). Such a connection uses no memory here, and is reset if the listener closes. 0 = accept at once; `tcp` listeners without certificates always do, because their servers may speak first.
        pub defer_accept: Duration = "1s", in "0s" to "60s";
        /// TCP addresses: accept Multipath TCP (RFC 8684), so that clients can use several network paths at once; clients without it are unaffected. A socket that is already bound does not change.
        pub mptcp: bool = false;
        /// Networks whose connections must begin with a PROXY header, v1 or v2. From anywhere else, none is accepted.
        pub proxy_protocol_from: Vec<IpNet> = [];
        /// Which datagrams from `proxy_protocol_from` begin with a PROXY v2 header (`udp`, `quic`).
        pub proxy_protocol_udp: DatagramHeaders = "first";
        /// Networks whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` fields are trusted and extended. From all others these fields are replaced, and [those](operating.md#behind-another-proxy) removed that only proxies may set.
        pub trusted_proxies: Vec<IpNet> = [];
        /// Where to find the client's address in a request from a trusted proxy. Lists are read from the right, skipping trusted proxies. This address is the one that `allow`, `deny` and `max_connections_per_address` check, that hashing uses, and that is logged. The field of `header:NAME` is removed from requests of all others.
        pub client_address_from: ClientAddressFrom = "x-forwarded-for";
        /// The name for the `Via` field (RFC 9110 §7.6.3), such as `edge-1`. `on` uses a name unique to this process towards backends and `pointsman` towards clients; `off` adds none. A request that already carries this name has looped and gets 508, so chained proxies need different names; with `off`, a loop ends only when the head grows too large or a timeout fires. nginx and IIS do not compress for requests with `Via`.
        pub via: Via = "on";
        /// What to do with request fields whose names contain an underscore, a dot or any other sign but a hyphen: CGI, WSGI and PHP cannot tell these from a hyphen. It applies to gRPC metadata too. Those that could be mistaken for a hop-by-hop or proxy field, or for one that changes method or URL (`X_HTTP_Method_Override`), are never forwarded; in trailers of requests, none are.
        pub underscores: Underscores = "drop";
        /// How to treat paths that backends may interpret differently.
        pub paths: PathsConf;
        /// Networks that clients may connect from; empty = all. A client named by a PROXY header is checked once the header is read; one named by a trusted proxy, on each request (403).
        pub allow: Vec<IpNet> = [];
        /// Networks that clients may not connect from; wins over `allow`.
        pub deny: Vec<IpNet> = [];
        /// Certificates (`https`), chosen by SNI: exact names before wildcards. The first is the default.
        pub certificate: Vec<CertificateConf>;
        /// A folder of further certificates: `NAME.crt` or `NAME.pem` with `NAME.key`, and subfolders with `fullchain.pem` and `privkey.pem`, as Let's Encrypt clients write them. The folder is watched, so new pairs are served at once. A half alone is left out; one that cannot be looked at, or is a link to nothing, is an error, and the certificates that are served stay.
        pub certificates: Option<CertificateFolder>;
        /// TLS versions, cipher suites and key exchange groups.
        pub tls: CryptoConf;
        /// Protocols to offer by ALPN, in order of preference. By default `https` offers `h2`, `http/1.1` and `http/1.0`, and `tcp` offers none. HTTP/2 is spoken with clients that agreed on `h2` only.
        pub alpn: Vec<String> = [];
        /// Client certificates (`https`).
        pub client_auth: ClientAuthConf;
        /// Protocol that clients speak in the clear before TLS begins (`tcp` with certificates, `tls`). On a `tls` listener the backend is asked for TLS in the same way.
        pub starttls: Starttls = "off";
        /// Forward QUIC too (`tls`): UDP on the same address and port, with the same routes.
        pub quic: bool = false;
        /// The `Alt-Svc` of every response (`https`), which replaces the backend's: where else the same site is served, such as `h3=":443"; ma=86400`, or `clear`.
        pub alt_svc: Option<AltSvc>;
        /// Bodies for the errors that Pointsman itself answers: files by status (`404`) or class (`5xx`), with [placeholders](templates.md). Routes can override them.
        pub error_pages: ErrorPagesConf = {};
        /// Time limits for clients.
        pub timeouts: TimeoutsConf;
        /// Size limits for requests.
        pub limits: LimitsConf;
        /// How much of a request to keep reading after an early answer.
        pub linger: LingerConf;
        /// Limits for HTTP/2 clients.
        pub http2: Http2Conf;
    }
    later {
        /// HTTP/3 on the same port over UDP.
        http3: bool = false;
    }
    check Self::check;
}

impl ListenerConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        name::check(table);
        self.check_access(table);
        self.check_offer(table);
        let written = table.entry("certificate").or_else(|| table.entry("certificates"));
        match self.protocol {
            // A protocol that could not be read has been replaced by the default.
            Protocol::Http
                if table.entry("protocol").is_none_or(|entry| entry.node.text() == Some("http")) =>
            {
                let hint = "set `protocol = \"https\"`, or leave it out";
                if let Some(entry) = written {
                    let message = "a certificate has no effect on a listener with `protocol = \"http\"`";
                    table.reader.problem_with(entry.place, message, hint);
                }
                if let Some(entry) =
                    table.entry("client_auth").filter(|_| self.client_auth.mode != ClientAuthMode::Off)
                {
                    let message = "client certificates need TLS";
                    table.reader.problem_with(entry.place, message, hint);
                }
                if let Some(entry) = table.entry("alt_svc") {
                    let message = "`alt_svc` is sent over TLS only";
                    table.reader.problem_with(entry.place, message, hint);
                }
            }
            Protocol::Http => {}
            Protocol::Tls if written.is_some() => {
                let message =
                    "a certificate has no effect with `protocol = \"tls\"`, which passes TLS through";
                let hint = "to terminate TLS here, set `protocol = \"tcp\"` or `\"https\"`";
                let place = written.map_or(table.place, |entry| entry.place);
                table.reader.problem_with(place, message, hint);
            }
            Protocol::Tcp | Protocol::Tls => {}
            Protocol::Udp => self.listen_for_datagrams(table),
            Protocol::Https if written.is_none() => {
                let message = format!("the https listener `{}` has no certificate", self.name);
                let hint = "add `[[listener.certificate]]` with `chain` and `key`, or set `certificates` to a folder";
                table.reader.missing(table.place, message, hint);
            }
            Protocol::Https => {}
        }
        self.check_quic(table);
        self.check_headers(table);
        let has_tls = self.protocol == Protocol::Tls || (self.protocol == Protocol::Tcp && written.is_some());
        if let Some(entry) = table.entry("starttls").filter(|_| self.starttls != Starttls::Off && !has_tls) {
            let message = "`starttls` does not apply here: connections use TLS from the first byte, or not \
                at all";
            let hint = "it is for `protocol = \"tls\"`, and for `\"tcp\"` with a `[[listener.certificate]]`";
            table.reader.problem_with(entry.place, message, hint);
        }
        let is_ended_elsewhere =
            self.protocol == Protocol::Tls || (self.protocol == Protocol::Tcp && written.is_none());
        if let Some(entry) = table.entry("client_auth")
            && is_ended_elsewhere
            && self.client_auth.mode != ClientAuthMode::Off
        {
            let message = "client certificates need a listener that terminates TLS";
            let hint = "add `[[listener.certificate]]` to a `tcp` listener, or leave it out";
            table.reader.problem_with(entry.place, message, hint);
        }
        self.check_meaning(table);
    }

    /// Reports keys that say nothing where no request is looked at.
    fn check_meaning(&self, table: &mut Table<'_, '_, '_>) {
        if self.protocol.is_http() {
            return;
        }
        let of_connections = OF_CONNECTIONS.iter().filter(|_| self.protocol == Protocol::Udp);
        for (key, hint) in OF_REQUESTS.iter().map(|key| (*key, NO_REQUEST)).chain(of_connections.copied()) {
            if let Some(entry) = table.entry(key) {
                let message = format!("`{key}` does not apply to a `{}` listener", self.protocol.name());
                table.reader.problem_with(entry.place, message, hint);
            }
        }
    }

    /// Makes its address one of UDP.
    fn listen_for_datagrams(&mut self, table: &mut Table<'_, '_, '_>) {
        if !self.address.make_udp() {
            let message = "a `udp` listener needs an IP address and a port";
            let hint = "write it as \"0.0.0.0:53\"; unix sockets are not supported for datagrams";
            table.reader.problem_with(table.place_of("address"), message, hint);
        }
    }
}

const NO_REQUEST: &str = "this listener forwards traffic without reading requests; leave it out";
const NO_TLS: &str = "datagrams are forwarded as they are; leave it out";

/// Keys of a listener that are about connections, and why datagrams have no use for them.
pub(super) const OF_CONNECTIONS: [(&str, &str); 6] = [
    ("max_connections", "`udp = { max_sessions = … }` of the upstream limits sessions"),
    ("defer_accept", "a datagram arrives all at once; leave it out"),
    ("certificate", NO_TLS),
    ("certificates", NO_TLS),
    ("client_auth", NO_TLS),
    ("timeouts", "`udp = { idle = … }` of the upstream sets how long a session may be idle"),
];

/// Keys of a listener that are about requests.
pub(super) const OF_REQUESTS: [&str; 10] = [
    "via",
    "trusted_proxies",
    "client_address_from",
    "underscores",
    "paths",
    "limits",
    "linger",
    "http2",
    "alt_svc",
    "error_pages",
];

impl Protocol {
    /// Whether requests are read, and not connections passed on.
    pub fn is_http(self) -> bool {
        match self {
            Self::Http | Self::Https => true,
            Self::Tcp | Self::Tls | Self::Udp => false,
        }
    }
}

choice! {
    /// The protocol that clients speak.
    pub enum Protocol {
        /// HTTP/1.1 without TLS, and HTTP/2 if a connection begins with it (prior knowledge).
        Http = "http",
        /// HTTP/1.1 and HTTP/2 over TLS, by ALPN.
        Https = "https",
        /// TCP: bytes are forwarded unchanged; with certificates, TLS is terminated here.
        Tcp = "tcp",
        /// TLS passthrough: connections are routed by the server name the client asks for (SNI) and forwarded still encrypted; with `quic`, QUIC too.
        Tls = "tls",
        /// UDP: datagrams are forwarded, in one session per client address and port.
        Udp = "udp",
    }
}

section! {
    /// How to treat paths that backends may interpret differently. Dot segments are always resolved, and unreserved characters always decoded.
    pub struct PathsConf {
        /// Match routes as if several slashes in a row were one. The path itself is forwarded unchanged.
        pub merge_slashes: bool = true;
        /// What to do with `%2F` and `%5C` in paths.
        pub encoded_slash: EncodedSlash = "pass";
    }
}

impl Default for PathsConf {
    fn default() -> Self {
        Self { merge_slashes: true, encoded_slash: EncodedSlash::Pass }
    }
}

choice! {
    /// What becomes of encoded slashes in paths.
    pub enum EncodedSlash {
        /// Forward them unchanged, but answer 400 if the decoded path would match another route.
        Pass = "pass",
        /// Decode `%2F` before resolving dot segments and choosing a route; `%5C` gets 400.
        Decode = "decode",
        /// Answer 400.
        Refuse = "refuse",
    }
}

choice! {
    /// What becomes of request fields whose names have an underscore, or another sign but a hyphen.
    pub enum Underscores {
        /// The field is dropped.
        Drop = "drop",
        /// The request gets 400.
        Refuse = "refuse",
        /// The field is forwarded, unless it is another spelling of one by which a route of the listener is chosen, that the route sets, replaces or removes, or that the key of its cache has.
        Pass = "pass",
    }
}

/// What says which client a request of a trusted proxy is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAddressFrom {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// A field that has one address, by its lower-case name.
    Header(String),
    /// Nothing: the other end of the connection is the client.
    Connection,
}

impl ClientAddressFrom {
    /// The field that has one address, by its lower-case name, where it is that.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            Self::XForwardedFor | Self::Forwarded | Self::Connection => None,
        }
    }
}

impl Value for ClientAddressFrom {
    fn kind() -> String {
        "`x-forwarded-for`, `forwarded`, `header:NAME` or `connection`".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^(x-forwarded-for|forwarded|connection|header:.+)$"})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, &Self::kind())?;
        match text.split_once(':').unwrap_or((text, "")) {
            ("x-forwarded-for", "") => return Some(Self::XForwardedFor),
            ("forwarded", "") => return Some(Self::Forwarded),
            ("connection", "") => return Some(Self::Connection),
            ("header", of) if name::is_token(of) => return Some(Self::Header(of.to_ascii_lowercase())),
            _ => {}
        }
        let message = format!("`{text}` is not a source of the client's address");
        let hint = format!(
            "use {}; for a CDN's header write, for example, \"header:CF-Connecting-IP\"",
            Self::kind()
        );
        reader.problem_with(node.place, message, hint);
        None
    }
}
