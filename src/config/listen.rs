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
    /// An address that Pointsman accepts on, with its protocol and certificates.
    pub struct ListenerConf {
        /// Its name: routes, metrics and the log use it.
        pub name: String;
        /// An IP address and a port, or `unix:/run/x.sock`; several as an array. `[::]:80` takes IPv4 too, but for what `0.0.0.0:80` takes where that is an address of this file as well.
        pub address: ListenAddresses;
        /// Unix sockets: the permissions of the socket's file, in octal, such as `"0660"`; who may write to it may connect. Without it they are what the umask leaves.
        pub mode: Option<FileMode>;
        /// Unix sockets: who owns the file, by name or number; another than who Pointsman runs as needs `CAP_CHOWN`.
        pub owner: Option<UserId>;
        /// Unix sockets: the group of the file, by name or number; one that Pointsman is in, or it needs `CAP_CHOWN`.
        pub group: Option<GroupId>;
        /// What is spoken.
        pub protocol: Protocol = "http";
        /// Connections over all workers; beyond, none is accepted until one ends. Sessions of `udp` are bounded by `udp.max_sessions` of their upstream.
        pub max_connections: u32 = 10000, in 1 to 10000000;
        /// Connections, or sessions of `udp`, from one client address, and beside them requests under way that trusted proxies send for it; beyond, a connection is closed, and a request gets 429. 0 = unlimited.
        pub max_connections_per_address: u32 = 0, in 0 to 10000000;
        /// TCP addresses: how long the kernel keeps a connection from which nothing has come before Pointsman accepts it (`TCP_DEFER_ACCEPT`, rounded up to 1, 3, 7, 15 … seconds). Until then it holds nothing here, and one whose request came is served in one turn; when a listener closes, one that is kept so is reset. 0 = accepted at once, as always on a `tcp` listener without certificates, whose servers may speak first.
        pub defer_accept: Duration = "1s", in "0s" to "60s";
        /// TCP addresses: whether clients may use several paths at once (MPTCP, RFC 8684); those that do not know it are served as before. A socket that is there already stays as it was bound.
        pub mptcp: bool = false;
        /// Networks from which, and only from which, a PROXY v1 or v2 header is required and believed.
        pub proxy_protocol_from: Vec<IpNet> = [];
        /// Which datagrams from `proxy_protocol_from` begin with a header of version 2 (`udp`, `quic`).
        pub proxy_protocol_udp: DatagramHeaders = "first";
        /// Networks whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are believed and extended; from others they are replaced.
        pub trusted_proxies: Vec<IpNet> = [];
        /// What says which client a request of a trusted proxy is from. Lists and fields are read from the right, past proxies that are trusted. This one address is what `allow`, `deny` and `max_connections_per_address` look at, what is hashed and what is logged.
        pub client_address_from: ClientAddressFrom = "x-forwarded-for";
        /// The name in Via of requests and responses (RFC 9110 §7.6.3), such as `edge-1`; `on` is a name of this process towards backends and `pointsman` towards clients, `off` adds none. nginx and IIS do not compress for who comes with Via. A request that has been here already is known by that name and gets 508: proxies behind one another need names of their own. With `off`, it goes round until its head is too large or a time is up.
        pub via: Via = "on";
        /// What becomes of request fields whose names have an underscore, which CGI, WSGI and PHP take for a hyphen: left out, refused with 400, or passed. Those that would pass for a field of the connection or of a proxy are always left out.
        pub underscores: Underscores = "drop";
        /// How paths are read that backends may read in another way.
        pub paths: PathsConf;
        /// Networks of clients that may connect; empty = all. A client that a PROXY header names is judged when it has been read, one that a trusted proxy names with each request (403).
        pub allow: Vec<IpNet> = [];
        /// Networks of clients that may not connect; it goes before `allow`.
        pub deny: Vec<IpNet> = [];
        /// Certificates (`https`), chosen by SNI: exact, then wildcard; the first is the default.
        pub certificate: Vec<CertificateConf>;
        /// A folder of certificates beside those, which are found by name: `NAME.crt` or `NAME.pem` with `NAME.key`, and `fullchain.pem` with `privkey.pem` in folders within it, as Let's Encrypt's clients leave them. It is watched: a new pair is served at once.
        pub certificates: Option<CertificateFolder>;
        /// Versions, cipher suites and groups of TLS.
        pub tls: CryptoConf;
        /// Protocols that clients may choose over TLS (ALPN), the preferred one first; without it `h2`, `http/1.1` and `http/1.0` of `https`, and none of `tcp`.
        pub alpn: Vec<String> = [];
        /// Client certificates (`https`).
        pub client_auth: ClientAuthConf;
        /// What clients may say in the clear before TLS begins (`tcp` with certificates, `tls`): with `postgres` an SSLRequest is answered, and on a `tls` listener the backend is asked the same.
        pub starttls: Starttls = "off";
        /// Whether QUIC is passed on too (`tls`): over UDP at the same address and port, by the same routes.
        pub quic: bool = false;
        /// Where else the same is served (`https`): the Alt-Svc of every response, in place of what the backend sent, such as `h3=":443"; ma=86400`, or `clear`.
        pub alt_svc: Option<AltSvc>;
        /// Files that stand for error responses that Pointsman answers, where a route does not say: by status (`404`) or class (`5xx`), with [placeholders](templates.md).
        pub error_pages: ErrorPagesConf = {};
        /// How long clients may take.
        pub timeouts: TimeoutsConf;
        /// How much clients may send.
        pub limits: LimitsConf;
        /// How much of a request is still read once it has been answered.
        pub linger: LingerConf;
        /// What clients may do over HTTP/2.
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
pub(super) const OF_CONNECTIONS: [(&str, &str); 5] = [
    ("max_connections", "`udp = { max_sessions = … }` of the upstream limits sessions"),
    ("defer_accept", "a datagram arrives all at once; leave it out"),
    ("certificate", NO_TLS),
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
    /// What is spoken.
    pub enum Protocol {
        /// HTTP/1.1 without TLS.
        Http = "http",
        /// HTTP/1.1 and HTTP/2 over TLS, by ALPN.
        Https = "https",
        /// TCP: connections are passed on byte for byte; with certificates, TLS ends here.
        Tcp = "tcp",
        /// TLS that is passed on as it is, to where the name that the client asks for leads (SNI); with `quic`, QUIC too.
        Tls = "tls",
        /// UDP: datagrams are passed on, by the client's address and port.
        Udp = "udp",
    }
}

section! {
    /// How paths are read that backends may read in another way. Dot segments are resolved, unreserved characters decoded always.
    pub struct PathsConf {
        /// Whether routes see several slashes in a row as one. The path goes on as it came.
        pub merge_slashes: bool = true;
        /// What becomes of `%2F` and `%5C` in paths.
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
        /// They go on as they came, unless the path, decoded, would lead to another route (400).
        Pass = "pass",
        /// `%2F` is decoded before dot segments are resolved and a route is looked for; `%5C` gets 400.
        Decode = "decode",
        /// Paths with one get 400.
        Refuse = "refuse",
    }
}

choice! {
    /// What becomes of request fields whose names have an underscore.
    pub enum Underscores {
        /// They are left out.
        Drop = "drop",
        /// The request gets 400.
        Refuse = "refuse",
        /// They go on.
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
