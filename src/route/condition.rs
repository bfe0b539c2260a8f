//! Conditions beside host, path and exact values: what a value begins with, cookies, clients, groups.

use std::{borrow::Cow, collections::BTreeSet};

use ipnet::IpNet;

use super::{
    conf::{MatchConf, RequestProtocol, Scheme, ValueMatch, ValueMatches},
    host::HostPattern,
};
use crate::{
    exchange::Exchange,
    fields::{Fields, Known, ValueRegex, cookies},
    schema::form,
};

/// One condition.
#[derive(Clone, Debug)]
pub enum Condition {
    /// Of a field of this name, in lower case.
    Header(String, ValuePattern),
    /// Of a query parameter of this name, decoded.
    Parameter(String, ValuePattern),
    /// Of a cookie of this name.
    Cookie(String, ValuePattern),
    /// The client is of one of these networks.
    Client(Box<[IpNet]>),
    /// What the client speaks: `http` or `https`.
    Scheme(&'static str),
    /// The method is one of these.
    Method(Box<[String]>),
    /// The host is one of these.
    Host(Box<[HostPattern]>),
    /// The client asked for one of these names in its TLS handshake.
    ServerName(Box<[HostPattern]>),
    /// What the client speaks to ask.
    Protocol(RequestProtocol),
    /// The client connected to one of these ports.
    Port(Box<[u16]>),
    /// All of some of these groups hold.
    Any(Box<[Box<[Self]>]>),
    /// Not all of these hold.
    Not(Box<[Self]>),
}

/// Groups of conditions of which one must hold.
#[derive(Clone, Debug, Default)]
pub struct Groups(Box<[Box<[Condition]>]>);

impl Groups {
    /// Those that are configured so; a group that cannot be (which `check` has reported) holds for nothing.
    pub fn of(groups: &[MatchConf]) -> Self {
        Self(groups.iter().filter_map(|group| Condition::of(group).ok()).collect())
    }

    /// Whether one of them holds for a request.
    #[inline]
    pub fn hold(&self, exchange: &Exchange) -> bool {
        !self.0.is_empty() && {
            let (method, query) = (exchange.request.method.as_str(), exchange.query());
            let (host, headers) = (exchange.host.as_str(), &exchange.request.fields);
            let looked = Looked { host, method, query, headers, exchange: Some(exchange) };
            self.0.iter().any(|group| group.iter().all(|condition| condition.holds(looked)))
        }
    }
}

/// What a value must be like.
#[derive(Clone, Debug)]
pub enum ValuePattern {
    /// One of these.
    In(Box<[String]>),
    /// It begins so.
    Prefix(String),
    /// It ends so.
    Suffix(String),
    /// This finds something in it.
    Regex(ValueRegex),
    /// It is there, or it is not.
    Present(bool),
}

/// What conditions look at.
#[derive(Clone, Copy)]
pub(super) struct Looked<'a> {
    pub(super) host: &'a str,
    pub(super) method: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a Fields,
    /// The rest of the request; without it nothing is known of the client.
    pub(super) exchange: Option<&'a Exchange>,
}

impl Condition {
    /// The conditions of a group.
    ///
    /// # Errors
    ///
    /// What is wrong with a regular expression.
    pub fn of(conf: &MatchConf) -> Result<Box<[Self]>, regex::Error> {
        // A new condition does not compile until it is made here.
        let MatchConf {
            hosts,
            methods,
            headers,
            query,
            cookies,
            clients,
            scheme,
            server_names,
            protocol,
            ports,
        } = conf;
        let mut all = Vec::new();
        if !methods.is_empty() {
            all.push(Self::Method(methods.iter().map(|method| method.as_str().to_owned()).collect()));
        }
        if !hosts.is_empty() {
            all.push(Self::Host(HostPattern::all(hosts)?));
        }
        Self::push_values(headers, Self::Header, &mut all)?;
        Self::push_values(query, Self::Parameter, &mut all)?;
        Self::push_values(cookies, Self::Cookie, &mut all)?;
        if !clients.is_empty() {
            all.push(Self::Client(clients.as_slice().into()));
        }
        all.extend(scheme.map(|scheme| match scheme {
            Scheme::Http => Self::Scheme("http"),
            Scheme::Https => Self::Scheme("https"),
        }));
        if !server_names.is_empty() {
            all.push(Self::ServerName(HostPattern::all(server_names)?));
        }
        all.extend(protocol.map(Self::Protocol));
        if !ports.is_empty() {
            all.push(Self::Port(ports.as_slice().into()));
        }
        Ok(all.into())
    }

    /// Adds a condition for each of these values.
    fn push_values(
        values: &ValueMatches,
        make: fn(String, ValuePattern) -> Self,
        all: &mut Vec<Self>,
    ) -> Result<(), regex::Error> {
        for (name, value) in &values.0 {
            all.push(make(name.clone(), ValuePattern::of(value)?));
        }
        Ok(())
    }

    /// Whether a request meets it.
    pub(super) fn holds(&self, of: Looked<'_>) -> bool {
        match self {
            Self::Header(name, pattern) => pattern.holds(of.headers.all(name).map(Cow::from)),
            Self::Parameter(name, pattern) => {
                let of_name =
                    form::readings(of.query).filter(|(found, _)| form::decoded(found).eq(name.bytes()));
                pattern.holds(of_name.map(|(_, value)| form::value(value)))
            }
            Self::Cookie(name, pattern) => {
                pattern.holds(cookies(of.headers.all_known(Known::Cookie), name).map(Cow::from))
            }
            Self::Client(networks) => of.exchange.is_some_and(|exchange| {
                let client = exchange.facts.client_address();
                networks.iter().any(|network| network.contains(&client))
            }),
            Self::Scheme(scheme) => of.exchange.is_some_and(|exchange| exchange.client_scheme() == *scheme),
            Self::Method(methods) => methods.iter().any(|method| method == of.method),
            Self::Host(patterns) => patterns.iter().any(|pattern| pattern.matches(of.host)),
            Self::ServerName(patterns) => {
                let peer = of.exchange.map(|exchange| &exchange.facts.peer);
                let name = peer.and_then(|peer| peer.tls.as_ref()?.server_name.as_deref());
                name.is_some_and(|name| patterns.iter().any(|pattern| pattern.matches(name)))
            }
            Self::Protocol(protocol) => of.exchange.is_some_and(|exchange| {
                let has_streams = exchange.client_version().has_streams();
                match protocol {
                    RequestProtocol::Http1 => !has_streams,
                    RequestProtocol::H2 => has_streams,
                }
            }),
            Self::Port(ports) => {
                let port = of.exchange.and_then(|exchange| exchange.facts.peer.reached_port());
                port.is_some_and(|port| ports.contains(&port))
            }
            Self::Any(groups) => groups.iter().any(|group| group.iter().all(|it| it.holds(of))),
            Self::Not(group) => !group.iter().all(|it| it.holds(of)),
        }
    }

    /// Whether it looks at what of a client's connection no field says, and no URI.
    pub(super) fn is_of_connection(&self) -> bool {
        match self {
            Self::ServerName(_) | Self::Protocol(_) | Self::Port(_) => true,
            Self::Any(groups) => groups.iter().any(|group| group.iter().any(Self::is_of_connection)),
            Self::Not(group) => group.iter().any(Self::is_of_connection),
            Self::Header(..)
            | Self::Parameter(..)
            | Self::Cookie(..)
            | Self::Client(_)
            | Self::Scheme(_)
            | Self::Method(_)
            | Self::Host(_) => false,
        }
    }

    /// Whether it looks at nothing beside the URL and the method.
    pub(super) fn is_of_url(&self) -> bool {
        match self {
            Self::Parameter(..) | Self::Method(_) | Self::Host(_) => true,
            Self::Any(groups) => groups.iter().all(|group| group.iter().all(Self::is_of_url)),
            Self::Not(group) => group.iter().all(Self::is_of_url),
            Self::Header(..)
            | Self::Cookie(..)
            | Self::Client(_)
            | Self::Scheme(_)
            | Self::ServerName(_)
            | Self::Protocol(_)
            | Self::Port(_) => false,
        }
    }

    /// Adds the names of header fields that it looks at.
    pub(super) fn add_headers<'a>(&'a self, names: &mut BTreeSet<&'a str>) {
        match self {
            Self::Header(name, _) => _ = names.insert(name.as_str()),
            Self::Any(groups) => {
                groups.iter().flat_map(|group| group.iter()).for_each(|it| it.add_headers(names));
            }
            Self::Not(group) => group.iter().for_each(|it| it.add_headers(names)),
            Self::Parameter(..)
            | Self::Cookie(..)
            | Self::Client(_)
            | Self::Scheme(_)
            | Self::Method(_)
            | Self::Host(_)
            | Self::ServerName(_)
            | Self::Protocol(_)
            | Self::Port(_) => {}
        }
    }

    /// What did not match, for people.
    pub fn what(&self) -> String {
        match self {
            Self::Header(name, _) => format!("the header {name} does not match"),
            Self::Parameter(name, _) => format!("the query parameter {name} does not match"),
            Self::Cookie(name, _) => format!("the cookie {name} does not match"),
            Self::Client(_) => "the client is in no network of `clients`".to_owned(),
            Self::Scheme(scheme) => format!("the client does not speak {scheme}"),
            Self::Method(_) => "the method does not match".to_owned(),
            Self::Host(_) => "the host does not match".to_owned(),
            Self::ServerName(_) => "its TLS server name (SNI) is not in `server_names`".to_owned(),
            Self::Protocol(protocol) => format!("it does not use {}", protocol.name()),
            Self::Port(_) => "the client connected to none of `ports`".to_owned(),
            Self::Any(_) => "no group of `any` matches".to_owned(),
            Self::Not(_) => "a group of `not` matches".to_owned(),
        }
    }
}

impl ValuePattern {
    fn of(conf: &ValueMatch) -> Result<Self, regex::Error> {
        Ok(match conf {
            ValueMatch::In(texts) => Self::In(texts.as_slice().into()),
            ValueMatch::Prefix(text) => Self::Prefix(text.clone()),
            ValueMatch::Suffix(text) => Self::Suffix(text.clone()),
            ValueMatch::Regex(text) => Self::Regex(ValueRegex::new(text)?),
            ValueMatch::Present(is_there) => Self::Present(*is_there),
        })
    }

    /// Whether one of the values is so; of what must not be there, whether there is none.
    fn holds<'a>(&self, mut values: impl Iterator<Item = Cow<'a, [u8]>>) -> bool {
        match self {
            Self::In(texts) => values.any(|value| texts.iter().any(|text| *text.as_bytes() == *value)),
            Self::Prefix(text) => values.any(|value| value.starts_with(text.as_bytes())),
            Self::Suffix(text) => values.any(|value| value.ends_with(text.as_bytes())),
            Self::Regex(regex) => values.any(|value| regex.is_match(&value)),
            Self::Present(is_there) => values.next().is_some() == *is_there,
        }
    }
}

#[cfg(test)]
mod tests;
