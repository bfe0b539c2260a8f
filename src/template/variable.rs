//! What placeholders stand for.

use std::borrow::Cow;

use super::scope::{Place, Scope};
use crate::{
    exchange::{Facts, TlsFacts},
    fields::{Known, cookies},
    schema::form,
    telemetry::clock,
    tls::facts::{ClientFacts, fingerprint},
};

/// A placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    ClientIp,
    ClientPort,
    Scheme,
    Host,
    Port,
    Method,
    Path,
    Query,
    PathAndQuery,
    /// The first parameter of this name, decoded.
    Parameter(Box<str>),
    /// The fields of this name, joined as a list.
    Header(Box<str>),
    /// The first cookie of this name.
    Cookie(Box<str>),
    /// All parameters of this name, decoded: in the keys of a cache, since backends may take any of them.
    EachParameter(Box<str>),
    /// All cookies of this name, for the same reason.
    EachCookie(Box<str>),
    RequestId,
    Listener,
    Route,
    Backend,
    TlsVersion,
    TlsCipher,
    TlsServerName,
    ClientSubject,
    ClientNames,
    ClientFingerprint,
    ClientCertificate,
    /// A group of the regular expression that found the path, by number or name.
    Capture(Box<str>),
    TimeIso,
    TimeUnix,
    /// The status of the response.
    Status,
    /// What went wrong, in a sentence; empty where nothing did.
    Error,
}

/// Those without a parameter, by name.
const NAMES: [(&str, Variable); 24] = [
    ("client_ip", Variable::ClientIp),
    ("client_port", Variable::ClientPort),
    ("scheme", Variable::Scheme),
    ("host", Variable::Host),
    ("port", Variable::Port),
    ("method", Variable::Method),
    ("path", Variable::Path),
    ("query", Variable::Query),
    ("path_and_query", Variable::PathAndQuery),
    ("request_id", Variable::RequestId),
    ("listener", Variable::Listener),
    ("route", Variable::Route),
    ("backend", Variable::Backend),
    ("tls.version", Variable::TlsVersion),
    ("tls.cipher", Variable::TlsCipher),
    ("tls.sni", Variable::TlsServerName),
    ("tls.client.subject", Variable::ClientSubject),
    ("tls.client.san", Variable::ClientNames),
    ("tls.client.fingerprint", Variable::ClientFingerprint),
    ("tls.client.certificate", Variable::ClientCertificate),
    ("time.iso", Variable::TimeIso),
    ("time.unix", Variable::TimeUnix),
    ("status", Variable::Status),
    ("error", Variable::Error),
];

impl Variable {
    /// The placeholder of this name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let plain = NAMES.iter().find(|(known, _)| *known == name).map(|(_, variable)| variable.clone());
        plain.or_else(|| {
            let (kind, parameter) = name.split_once('.').filter(|(_, parameter)| !parameter.is_empty())?;
            match kind {
                "query" => Some(Self::Parameter(parameter.into())),
                "header" => crate::schema::name::is_token(parameter)
                    .then(|| Self::Header(parameter.to_ascii_lowercase().into())),
                "cookie" => crate::schema::name::is_token(parameter).then(|| Self::Cookie(parameter.into())),
                "path" => Some(Self::Capture(parameter.into())),
                _ => None,
            }
        })
    }

    /// The same in the keys of a cache.
    pub(super) fn in_key(self) -> Self {
        match self {
            Self::Parameter(name) => Self::EachParameter(name),
            Self::Cookie(name) => Self::EachCookie(name),
            other => other,
        }
    }

    /// The names that there are.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name).chain(["query.NAME", "header.NAME", "cookie.NAME", "path.1"])
    }

    /// Whether it is a part of the request's target, or of where that was sent, as it is written there.
    pub(super) fn is_of_target(&self) -> bool {
        matches!(self, Self::Scheme | Self::Host | Self::Port | Self::Query | Self::PathAndQuery)
            || self.is_of_path()
    }

    /// Whether it is a part of the request's query, or has that in it.
    pub(super) fn is_of_query(&self) -> bool {
        matches!(self, Self::Query | Self::PathAndQuery | Self::Parameter(_) | Self::EachParameter(_))
    }

    /// Whether it is a part of the request's path.
    pub(super) fn is_of_path(&self) -> bool {
        matches!(self, Self::Path | Self::Capture(_))
    }

    /// Whether only the node that has the client's connection knows it.
    pub(super) fn is_of_connection(&self) -> bool {
        matches!(
            self,
            Self::TlsVersion
                | Self::TlsCipher
                | Self::TlsServerName
                | Self::ClientSubject
                | Self::ClientNames
                | Self::ClientFingerprint
                | Self::ClientCertificate
        )
    }

    /// Whether it is what clients prove themselves by: a certificate, to this program or a proxy before it (RFC 9440), or
    /// credentials (RFC 9110 §11.6.2 and §11.7.2).
    pub(super) fn is_proof(&self) -> bool {
        let is_certificate = matches!(
            self,
            Self::ClientSubject | Self::ClientNames | Self::ClientFingerprint | Self::ClientCertificate
        );
        let of_request = ["authorization", "proxy-authorization", "client-cert", "client-cert-chain"];
        is_certificate || self.header().is_some_and(|name| of_request.contains(&name))
    }

    /// Whether it is a cookie of the request, or all of them.
    pub(super) fn is_cookie(&self) -> bool {
        matches!(self, Self::Cookie(_) | Self::EachCookie(_)) || self.header() == Some("cookie")
    }

    /// Whether it is the time.
    pub(super) fn is_of_moment(&self) -> bool {
        matches!(self, Self::TimeIso | Self::TimeUnix)
    }

    /// The header field that it is, if it is one.
    pub(super) fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            _ => None,
        }
    }

    /// Whether requests for one URL may differ in it. What is another for each request tells nobody from another.
    pub(super) fn tells_clients_apart(&self) -> bool {
        match self {
            Self::ClientIp
            | Self::Header(_)
            | Self::Cookie(_)
            | Self::EachCookie(_)
            | Self::TlsVersion
            | Self::TlsCipher
            | Self::TlsServerName
            | Self::ClientSubject
            | Self::ClientNames
            | Self::ClientFingerprint
            | Self::ClientCertificate => true,
            Self::Scheme
            | Self::Host
            | Self::Port
            | Self::Method
            | Self::Path
            | Self::Query
            | Self::PathAndQuery
            | Self::Parameter(_)
            | Self::EachParameter(_)
            | Self::Capture(_)
            | Self::Listener
            | Self::Route
            | Self::Backend
            | Self::ClientPort
            | Self::RequestId
            | Self::TimeIso
            | Self::TimeUnix
            | Self::Status
            | Self::Error => false,
        }
    }

    /// Whether requests of one key may differ in it; `lacks` says whether keys are without a parameter, or without any.
    pub(super) fn is_apart_of_key(&self, lacks: &dyn Fn(Option<&str>) -> bool) -> bool {
        match self {
            Self::Query | Self::PathAndQuery => lacks(None),
            Self::Parameter(name) | Self::EachParameter(name) => lacks(Some(name)),
            other => other.tells_clients_apart(),
        }
    }

    /// Whether a request does not have it at all, where that is another thing than an empty one.
    pub(super) fn is_absent(&self, scope: &Scope<'_>) -> bool {
        let request = &scope.exchange.request;
        match self {
            Self::Header(name) => request.fields.get(name).is_none(),
            Self::Cookie(name) | Self::EachCookie(name) => {
                cookies(request.fields.all_known(Known::Cookie), name).next().is_none()
            }
            Self::Parameter(name) | Self::EachParameter(name) => {
                !scope.exchange.query().split('&').any(|one| may_be_parameter(one, name))
            }
            _ => false,
        }
    }

    /// What it stands for in a request; empty where there is no such thing.
    pub(super) fn value<'a>(&'a self, scope: &Scope<'a>) -> Cow<'a, [u8]> {
        let Scope { exchange, place } = *scope;
        match self {
            Self::Scheme => exchange.client_scheme().as_bytes().into(),
            Self::Host => exchange.host.as_bytes().into(),
            Self::Port => port_of(&exchange.authority).as_bytes().into(),
            Self::Method => exchange.request.method.as_str().as_bytes().into(),
            Self::Path => exchange.path().as_bytes().into(),
            Self::Query => exchange.query().as_bytes().into(),
            Self::PathAndQuery => exchange.request.target.as_bytes().into(),
            Self::Parameter(name) => parameter(exchange.query(), name),
            Self::Header(name) => joined(exchange.request.fields.all(name), b", "),
            Self::Cookie(name) => {
                let mut values = cookies(exchange.request.fields.all_known(Known::Cookie), name);
                values.next().unwrap_or_default().into()
            }
            Self::EachParameter(name) => each_parameter(exchange.query(), name),
            Self::EachCookie(name) => {
                joined(cookies(exchange.request.fields.all_known(Known::Cookie), name), b"; ")
            }
            Self::Capture(group) => capture(scope, group).as_bytes().into(),
            Self::Status => number(u64::from(exchange.response.status)),
            Self::ClientIp
            | Self::ClientPort
            | Self::RequestId
            | Self::Listener
            | Self::Route
            | Self::Backend
            | Self::TlsVersion
            | Self::TlsCipher
            | Self::TlsServerName
            | Self::ClientSubject
            | Self::ClientNames
            | Self::ClientFingerprint
            | Self::ClientCertificate
            | Self::TimeIso
            | Self::TimeUnix
            | Self::Error => self.value_of_connection(&exchange.facts, place),
        }
    }

    /// What it stands for where a connection is passed on, also for its requests; empty for what only a request has.
    pub(super) fn value_of_connection<'a>(&'a self, facts: &'a Facts, place: Place<'a>) -> Cow<'a, [u8]> {
        let tls = facts.peer.tls.as_deref();
        match self {
            Self::ClientIp => facts.client_text().as_bytes().into(),
            Self::ClientPort => number(u64::from(facts.client_port())),
            Self::RequestId => facts.id.as_bytes().into(),
            Self::Listener => place.listener.as_bytes().into(),
            Self::Route => place.route.as_bytes().into(),
            Self::Backend => place.backend.as_bytes().into(),
            Self::TlsVersion => tls.map_or("", |tls| tls.version).as_bytes().into(),
            Self::TlsCipher => tls.map_or("", |tls| tls.cipher).as_bytes().into(),
            Self::TlsServerName => {
                tls.and_then(|tls| tls.server_name.as_deref()).unwrap_or("").as_bytes().into()
            }
            Self::ClientSubject => of_certificate(tls, |der| ClientFacts::of_der(der).map(|it| it.subject)),
            Self::ClientNames => {
                of_certificate(tls, |der| ClientFacts::of_der(der).map(|it| it.names.join(",")))
            }
            Self::ClientFingerprint => of_certificate(tls, |der| Some(fingerprint(der))),
            Self::ClientCertificate => of_certificate(tls, |der| {
                use base64::{Engine as _, engine::general_purpose::STANDARD};
                Some(STANDARD.encode(der))
            }),
            Self::TimeIso => {
                let mut out = Vec::new();
                clock::write_iso(&mut out);
                out.into()
            }
            Self::TimeUnix => number(clock::unix_millis() / 1000),
            Self::Error => {
                let said = facts.error.as_ref().map(|(kind, _)| kind.to_string());
                said.map_or(Cow::default(), |said| said.into_bytes().into())
            }
            Self::Scheme
            | Self::Host
            | Self::Port
            | Self::Method
            | Self::Path
            | Self::Query
            | Self::PathAndQuery
            | Self::Parameter(_)
            | Self::Header(_)
            | Self::Cookie(_)
            | Self::EachParameter(_)
            | Self::EachCookie(_)
            | Self::Capture(_)
            | Self::Status => Cow::default(),
        }
    }
}

fn number(number: u64) -> Cow<'static, [u8]> {
    number.to_string().into_bytes().into()
}

/// The port that an authority names; empty where it names none.
fn port_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => port,
        _ => "",
    }
}

/// The first parameter of this name in a query, decoded.
fn parameter<'a>(query: &'a str, name: &str) -> Cow<'a, [u8]> {
    let found = form::parameters(query).find(|(found, _)| form::decoded(found).eq(name.bytes()));
    found.map_or(Cow::default(), |(_, value)| form::value(value))
}

/// The parameter of this name in a query, decoded; where there are several, or a `;`, at which some backends part parameters
/// too, all of them as they are written, behind a NUL: no value that is decoded here has one.
fn each_parameter<'a>(query: &'a str, name: &str) -> Cow<'a, [u8]> {
    let all: Vec<&str> = query.split('&').filter(|one| may_be_parameter(one, name)).collect();
    match all[..] {
        [] => return Cow::default(),
        [one] if !one.contains(';') => {
            let value = form::parameters(one).next().map_or(Cow::default(), |(_, value)| form::value(value));
            if !value.contains(&0) {
                return value;
            }
        }
        _ => {}
    }
    [b"\0", all.join("&").as_bytes()].concat().into()
}

/// Whether what stands between two `&` is a parameter of this name, or has one for backends that part them at a `;` too.
fn may_be_parameter(one: &str, name: &str) -> bool {
    form::readings(one).any(|(found, _)| form::decoded(found).eq(name.bytes()))
}

/// Values of one field name as one (RFC 9110 §5.3).
fn joined<'a>(mut values: impl Iterator<Item = &'a [u8]>, between: &[u8]) -> Cow<'a, [u8]> {
    let Some(first) = values.next() else { return Cow::default() };
    let mut all = Cow::Borrowed(first);
    for value in values {
        let all = all.to_mut();
        all.extend_from_slice(between);
        all.extend_from_slice(value);
    }
    all
}

fn of_certificate<'a>(tls: Option<&'a TlsFacts>, tell: impl Fn(&[u8]) -> Option<String>) -> Cow<'a, [u8]> {
    let told = tls.and_then(|tls| tls.certificate.as_deref()).and_then(tell);
    told.map_or(Cow::default(), |told| told.into_bytes().into())
}

/// What a group of the first expression that finds something in the path took.
fn capture<'a>(scope: &Scope<'a>, group: &str) -> &'a str {
    let path = scope.exchange.matched_path();
    let found = scope.place.captures.iter().find_map(|regex| regex.captures(path));
    let taken = found.as_ref().and_then(|found| match group.parse::<usize>() {
        Ok(number) => found.get(number),
        Err(_) => found.name(group),
    });
    taken.map_or("", |taken| taken.as_str())
}
