//! Why a request goes where it goes: the stops of the request path, walked without sending anything.
//!
//! It runs what the proxy runs (`h1` reads the request, `http::normalize` resolves it, the route table
//! decides, the balancer picks), so that it cannot say something else than what happens.

mod backend_head;
mod cached;
mod decision;
mod destination;
mod json;
mod passed;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    config::listen::ListenAddress,
    error::Kind,
    exchange::{Exchange, HttpVersion, Peer, TlsFacts},
    filter::header_edits::HeaderEdits,
    h1::{Framing, HeadError, Scan},
    http::{
        client_address, context, edit, max_forwards, normalize, own, proxy, respond, routing, upgrade_request,
    },
    route::table::StepVerdict,
    runtime::{Action, Listener, Route, Snapshot},
    template::Use,
    upstream::{Upstream, affinity, conf::BackendHost},
};

pub use cached::{CacheAnswer, Stored};
pub use decision::{Decision, FileAnswer};
pub use destination::{Candidate, Choice, Destination};

/// The request that is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its method.
    pub method: String,
    /// Its URL; a path alone asks every listener that serves requests. With `tcp://`, `tls://` and `quic://` it is a connection that
    /// is passed on, and the host the name that its client asks for.
    pub url: String,
    /// Its fields; of a `tls://` or `quic://` connection `alpn`, the protocols that are offered.
    pub fields: Vec<(String, String)>,
    /// The client's address.
    pub from: IpAddr,
    /// Whether it is asked by HTTP/2.
    pub is_http2: bool,
    /// Whether a running proxy is asked, whose caches hold something.
    pub is_running: bool,
}

/// What one listener would do.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The listener's name.
    pub listener: String,
    /// Where it listens.
    pub address: String,
    /// The client's address, as lists, limits and hashing see it.
    pub client: IpAddr,
    /// Each route that was looked at with what became of it, in order of precedence.
    pub considered: Vec<(String, String)>,
    /// What becomes of the request.
    pub outcome: Outcome,
}

impl Answer {
    /// What a listener says to a client that it does not let in.
    fn of(listener: &Listener, client: IpAddr) -> Self {
        let (name, address) = (listener.conf.name.clone(), listener.conf.address.to_string());
        let outcome = Outcome::NotAdmitted;
        Self { listener: name, address, client, considered: Vec::new(), outcome }
    }

    /// Whether a route takes the request.
    pub fn has_route(&self) -> bool {
        matches!(self.outcome, Outcome::Routed(_))
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The listener does not let the client in.
    NotAdmitted,
    /// It is refused before a route is looked for, with this status.
    Refused(u16, String),
    /// No route takes it: 404.
    NoRoute,
    /// No route takes the connection; the text says what becomes of it.
    NoPassage(String),
    /// A route takes it.
    Routed(Box<Routed>),
}

/// A request that a route takes.
#[derive(Clone, Debug)]
pub struct Routed {
    /// The route.
    pub route: String,
    /// What it does.
    pub action: Decision,
    /// What it changes of the response's fields.
    pub response_edits: Vec<String>,
    /// Which filters act, in their order.
    pub filters: Vec<&'static str>,
    /// Where copies of requests go, and of how many in percent.
    pub mirror: Option<(String, f64)>,
}

/// Says of each listener that the URL may mean what it would do with the request. The error is for
/// people: the request cannot be asked about.
pub fn explain(snapshot: &Snapshot, question: &Question) -> Result<Vec<Answer>, String> {
    let target = Target::of(question)?;
    let listeners = target.listeners(snapshot);
    if listeners.is_empty() {
        let scheme = target.scheme.as_deref().unwrap_or("http");
        return Err(format!("no listener serves {scheme}"));
    }
    if target.is_passed() {
        let answers = listeners.into_iter().map(|it| passage(snapshot, it, question, &target));
        return Ok(answers.collect());
    }
    let head = target.head(question)?;
    let asked = |listener| answer(snapshot, listener, question, (&target, head.as_bytes()));
    Ok(listeners.into_iter().map(asked).collect())
}

/// What URLs may begin with: the protocols of listeners.
const SCHEMES: [&str; 5] = ["http", "https", "tcp", "tls", "quic"];

/// Where a URL leads.
struct Target {
    scheme: Option<String>,
    port: Option<u16>,
    authority: String,
    path_and_query: String,
}

impl Target {
    fn of(question: &Question) -> Result<Self, String> {
        let url = question.url.as_str();
        // What breaks a line is no URL; everything else is for the listener to judge, as it judges what clients send.
        if url.is_empty() || url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(format!("`{}` is not a URL", url.escape_debug()));
        }
        let named = url.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?']));
        let scheme = named.map(|(scheme, _)| scheme.to_ascii_lowercase());
        if let Some(scheme) = scheme.as_deref().filter(|scheme| !SCHEMES.contains(scheme)) {
            let known = "use http://, https://, tcp://, tls:// or quic://";
            return Err(format!("`{scheme}` is not served by any listener; {known}"));
        }
        let rest = named.map_or(url, |(_, rest)| rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.is_empty() && named.is_some() {
            return Err(format!("`{url}` has no host"));
        }
        let authority = if authority.is_empty() { "localhost" } else { authority }.to_owned();
        let path_and_query = match target {
            _ if question.method == "CONNECT" => authority.clone(),
            "" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            target => target.to_owned(),
        };
        let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        Ok(Self { scheme, port, authority, path_and_query })
    }

    /// Whether it is a connection that is passed on.
    fn is_passed(&self) -> bool {
        matches!(self.scheme.as_deref(), Some("tcp" | "tls" | "quic"))
    }

    /// The request head that a client would send.
    fn head(&self, question: &Question) -> Result<String, String> {
        let mut head = format!("{} {} HTTP/1.1\r\n", question.method, self.path_and_query);
        if !question.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("Host: {}\r\n", self.authority);
        }
        for (name, value) in &question.fields {
            if [name, value].iter().any(|text| text.contains(['\r', '\n', '\0'])) {
                return Err(format!("the header `{}` has a line break", name.escape_debug()));
            }
            head += &format!("{name}: {value}\r\n");
        }
        Ok(head + "\r\n")
    }

    /// The name that a client of the URL asks for in its TLS handshake, which no address is (RFC 6066 §3).
    fn server_name(&self) -> Option<Box<str>> {
        let host = match self.authority.rsplit_once(':') {
            Some((host, _)) if self.port.is_some() => host,
            _ => self.authority.as_str(),
        };
        let is_name = !host.starts_with('[') && host.parse::<IpAddr>().is_err() && self.scheme.is_some();
        is_name.then(|| host.trim_end_matches('.').to_ascii_lowercase().into())
    }

    /// Where a client of the URL connects to: the port of the URL where the listener has it, else the listener's first.
    fn destination(&self, listener: &Listener) -> Option<SocketAddr> {
        let all = || {
            listener.conf.address.iter().filter_map(|address| match address {
                ListenAddress::Tcp(address) => Some(*address),
                ListenAddress::Udp(_) | ListenAddress::Unix(_) => None,
            })
        };
        all().find(|address| Some(address.port()) == self.port).or_else(|| all().next())
    }

    /// The listeners of the URL's scheme; of these those on its port, if there are any: in front of
    /// Pointsman ports are often mapped to others.
    fn listeners<'a>(&self, snapshot: &'a Snapshot) -> Vec<&'a Listener> {
        let mut listeners: Vec<&Listener> = snapshot.listeners.iter().collect();
        listeners.retain(|listener| match self.scheme.as_deref() {
            Some("quic") => listener.conf.quic,
            Some(scheme) => scheme == listener.conf.protocol.name(),
            None => listener.conf.protocol.is_http(),
        });
        // What the nodes of a cluster ask each other is no request.
        listeners.retain(|listener| !listener.hears_peers);
        let is_on_port = |listener: &&Listener| {
            listener.conf.address.iter().any(|address| match address {
                ListenAddress::Tcp(address) => Some(address.port()) == self.port,
                ListenAddress::Udp(_) | ListenAddress::Unix(_) => false,
            })
        };
        if listeners.iter().any(is_on_port) {
            listeners.retain(is_on_port);
        }
        listeners
    }
}

fn answer(snapshot: &Snapshot, listener: &Listener, question: &Question, asked: (&Target, &[u8])) -> Answer {
    let mut answer = Answer::of(listener, question.from);
    if listener.judges_requests_from(question.from) || listener.admits(question.from) {
        answer.outcome = outcome_of(snapshot, listener, question, asked, &mut answer);
    }
    answer
}

fn passage(snapshot: &Snapshot, listener: &Listener, question: &Question, target: &Target) -> Answer {
    let mut answer = Answer::of(listener, question.from);
    if !listener.admits(question.from) {
        return answer;
    }
    let is_quic = target.scheme.as_deref() == Some("quic");
    let is_tls = is_quic || target.scheme.as_deref() == Some("tls");
    let host = target.authority.rsplit_once(':').map_or(&*target.authority, |(host, _)| host);
    let name = is_tls.then(|| host.trim_end_matches('.').to_ascii_lowercase());
    let alpn = question.fields.iter().filter(|(field, _)| is_tls && field.eq_ignore_ascii_case("alpn"));
    let offered = alpn.flat_map(|(_, list)| list.split(',').map(|one| Box::from(one.trim().as_bytes())));
    let asked = passed::Asked { from: question.from, name, offered: offered.collect() };
    let passed::Passage { considered, taken } = passed::explain(snapshot, listener, &asked);
    answer.considered = considered;
    answer.outcome = match taken {
        None if is_quic => Outcome::NoPassage("no route: its datagrams are dropped (`no_route`)".to_owned()),
        None => Outcome::NoPassage("no route: the client gets the TLS alert `unrecognized_name`".to_owned()),
        Some((route, destinations)) => {
            let action = Decision::Pass { destinations };
            let (response_edits, filters) = (Vec::new(), Vec::new());
            Outcome::Routed(Box::new(Routed { route, action, response_edits, filters, mirror: None }))
        }
    };
    answer
}

fn outcome_of(
    snapshot: &Snapshot,
    listener: &Listener,
    question: &Question,
    asked: (&Target, &[u8]),
    answer: &mut Answer,
) -> Outcome {
    let mut exchange = Exchange::default();
    let framing = match begin(listener, question, asked, &mut exchange) {
        Ok(framing) => framing,
        Err(kind) => {
            answer.client = exchange.facts.client_address();
            return Outcome::Refused(respond::status_of(kind).0, kind.to_string());
        }
    };
    answer.client = exchange.facts.client_address();
    let steps = listener.table.explain(&routing::facts(&exchange));
    let name = |index: usize| snapshot.routes.get(index).map_or("?", |route| &route.name).to_owned();
    answer.considered.extend(steps.iter().map(|step| (name(step.route), step.verdict.to_string())));
    let taken = steps.iter().find(|step| step.verdict == StepVerdict::Taken);
    match taken.and_then(|step| snapshot.routes.get(step.route)) {
        None => Outcome::NoRoute,
        Some(route) => {
            let action =
                match decision(snapshot, (listener, route), &mut exchange, framing, question.is_running) {
                    Ok(action) => action,
                    Err(kind) => return Outcome::Refused(respond::status_of(kind).0, kind.to_string()),
                };
            let of_listener = listener.conf.alt_svc.iter().map(|it| format!("set alt-svc: {}", it.as_str()));
            let of_route = taken.and_then(|step| snapshot.config.route.get(step.route));
            let of_route =
                of_route.and_then(|conf| HeaderEdits::of(&conf.response_headers, Use::ResponseField));
            let of_route = of_route.iter().flat_map(HeaderEdits::lines).collect::<Vec<_>>();
            let response_edits = of_listener.chain(of_route).collect();
            let filters = listener.filters.names().chain(route.filters.names()).collect();
            let mirror = route.mirror.as_ref().and_then(|mirror| {
                let upstream = snapshot.upstreams.get(mirror.upstream)?;
                Some((upstream.conf.name.clone(), mirror.share * 100.0))
            });
            let route = route.name.to_string();
            Outcome::Routed(Box::new(Routed { route, action, response_edits, filters, mirror }))
        }
    }
}

/// Reads the head as the listener would.
fn begin(
    listener: &Listener,
    question: &Question,
    (target, head): (&Target, &[u8]),
    exchange: &mut Exchange,
) -> Result<Framing, Kind> {
    let is_trusted = listener.trusts(question.from);
    let server_name = target.server_name();
    let facts = |_| Box::new(TlsFacts { version: "TLSv1.3", server_name, ..TlsFacts::default() });
    let tls = listener.serves.tls().map(facts);
    let destination = target.destination(listener);
    let (address, text) = (question.from, question.from.to_string().into());
    exchange.facts.peer = Peer { address, text, is_trusted, tls, destination, ..Peer::default() }.into();
    exchange.facts.id.push_str("(made for each request)");
    match exchange.request.parse(head, &listener.limits, &mut Scan::default()) {
        Ok(Some(_)) => {}
        Ok(None) => return Err(Kind::Malformed("the request head has no end")),
        Err(HeadError::Malformed(what)) => return Err(Kind::Malformed(what)),
        Err(HeadError::TooLarge) => return Err(Kind::HeadTooLarge),
        Err(HeadError::TargetTooLong) => return Err(Kind::UriTooLong),
    }
    exchange.version = match question.is_http2 {
        true => HttpVersion::Http2,
        false => exchange.request.version.into(),
    };
    client_address::find(listener, exchange).map_err(|error| error.kind())?;
    if listener.judges_requests_from(question.from) && !listener.admits(exchange.facts.client_address()) {
        return Err(Kind::ClientDenied);
    }
    let conf = &listener.conf;
    let of_client = conf.client_address_from.header();
    let normalized = normalize::normalize(exchange, conf.underscores, of_client, &conf.paths);
    let framing = normalized.map_err(|error| error.kind())?;
    routing::take_spellings(listener, exchange);
    routing::check_name(listener, exchange).map_err(|error| error.kind())?;
    routing::check(listener, exchange).map_err(|error| error.kind())?;
    Ok(framing)
}

fn decision(
    snapshot: &Snapshot,
    (listener, route): (&Listener, &Route),
    exchange: &mut Exchange,
    framing: Framing,
    is_running: bool,
) -> Result<Decision, Kind> {
    if let own::Decision::Answer(answer) =
        own::decide(listener, route, exchange).map_err(|error| error.kind())?
    {
        return Ok(Decision::of_answer(*answer));
    }
    if let Action::Files(tree) = &route.action {
        return Decision::of_files(tree, exchange, !is_running);
    }
    let files = match Decision::before_upstream(route, exchange, !is_running) {
        Ok(names) => names,
        Err(found) => return Ok(found),
    };
    if let Some(status) = max_forwards::count_down(exchange) {
        return Ok(Decision::Respond { status, content_type: String::new(), bytes: 0 });
    }
    let limit = context::body_limit(listener, route);
    let upstreams = destination::choices(snapshot, &route.action).collect::<Vec<_>>();
    for (upstream, _) in &upstreams {
        proxy::check(upstream.conf.protocol, framing, limit, exchange).map_err(|error| error.kind())?;
    }
    let is_upgrade = upgrade_request::wants_tunnel(route, exchange).map_err(|error| error.kind())?;
    let place = edit::own_place(listener, route);
    listener.filters.on_forward(exchange, place);
    route.filters.on_forward(exchange, place);
    crate::http::destination::rewrite(listener, route, exchange).map_err(|error| error.kind())?;
    let to = |&(upstream, percent): &(&Arc<Upstream>, f64)| {
        let (key, sticky) = (affinity::key(upstream, exchange), affinity::sticky(upstream, exchange));
        destination::explain(upstream, percent, key, sticky)
    };
    let destinations = upstreams.iter().map(to).collect();
    let cache = cached::explain((snapshot, route), exchange, framing, is_upgrade, is_running).map(Box::new);
    let host = upstreams.first().map(|(upstream, _)| &upstream.conf.host);
    let host = host.and_then(BackendHost::text).map(str::to_owned);
    let head = backend_head::head((route, host), exchange, framing, is_upgrade);
    Ok(Decision::Forward { files, head, destinations, cache })
}

#[cfg(test)]
mod tests;
