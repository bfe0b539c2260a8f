//! What the access log says of an exchange, from the snapshot by which it was served.

use std::time::Duration;

use super::snapshot::{Listener, Snapshot};
use crate::{
    exchange::{Facts, HttpVersion, PeerHop, Subject},
    fields::Known,
    telemetry::access_line::AccessLine,
    template::{Place, Scope},
};

/// What the configuration has every line have besides.
pub(super) fn extra<'a>(
    facts: &Facts,
    subject: Subject<'_>,
    (snapshot, listener): (&'a Snapshot, Option<&Listener>),
) -> Vec<(&'a str, Vec<u8>)> {
    let backends = facts.upstream.and_then(|index| snapshot.upstreams.get(index));
    let backend = backends.zip(facts.backend).and_then(|(upstream, index)| upstream.backends.get(index));
    let place = Place {
        listener: listener.map_or("", |listener| &listener.conf.name),
        route: facts.route.and_then(|index| snapshot.routes.get(index)).map_or("", |route| &route.name),
        backend: backend.map_or("", |backend| &backend.name),
        captures: &[],
    };
    let fields = snapshot.log_fields.iter().map(|(name, template)| {
        let mut value = Vec::new();
        match subject {
            Subject::Http(exchange) => template.write(&Scope { exchange, place }, &mut value),
            Subject::Tunnel(_) => template.write_of_connection(facts, place, &mut value),
        }
        (&**name, value)
    });
    fields.collect()
}

/// The line of an exchange that took so long; a connection that is passed on has no request and no response.
pub(super) fn access_line<'a>(
    facts: &'a Facts,
    subject: Subject<'a>,
    took: Duration,
    (snapshot, listener): (&'a Snapshot, Option<&'a Listener>),
) -> AccessLine<'a> {
    let upstream = facts.upstream.and_then(|index| snapshot.upstreams.get(index));
    let backend = upstream.zip(facts.backend).and_then(|(upstream, index)| upstream.backends.get(index));
    let common = AccessLine {
        listener: listener.map_or("", |listener| &listener.conf.name),
        route: facts.route.and_then(|index| snapshot.routes.get(index)).map(|route| &*route.name),
        upstream: upstream.map(|upstream| &*upstream.conf.name),
        backend: backend.map(|backend| &*backend.name),
        client: facts.client_text(),
        proxy: facts.client.is_some().then_some(&*facts.peer.text),
        bytes_in: facts.bytes_in,
        bytes_out: facts.bytes_out,
        took,
        response_time: facts.response_time,
        attempts: facts.attempts,
        request_id: &facts.id,
        trace: facts.trace.as_ref(),
        tls: facts.peer.tls.as_ref().map(|tls| tls.version).filter(|version| !version.is_empty()),
        error: facts.error.as_ref().map(|(kind, detail)| (*kind, &**detail)),
        ..AccessLine::default()
    };
    let http = match subject {
        Subject::Http(http) => http,
        Subject::Tunnel(tunnel) => {
            let (protocol, server_name) = (tunnel.protocol, tunnel.server_name.as_deref());
            let (alpn, quic_version) = (tunnel.alpn.as_deref(), tunnel.quic_version);
            let datagrams = tunnel.datagrams.map(|it| (it.received, it.sent, it.ended_by));
            let is_spliced = Some(tunnel.is_spliced);
            return AccessLine { protocol, server_name, alpn, quic_version, is_spliced, datagrams, ..common };
        }
    };
    AccessLine {
        method: http.request.method.as_str(),
        scheme: http.scheme(),
        host: &http.authority,
        target: &http.request.target,
        protocol: http.version.name(),
        status: http.response.status,
        grpc_status: facts.grpc_status,
        cache: http.cache,
        encoded: http.encoded,
        upstream_protocol: facts.backend_version.map(HttpVersion::name),
        hop: http.hop.as_ref().map(PeerHop::field),
        user_agent: http.request.fields.known(Known::UserAgent),
        referer: http.request.fields.known(Known::Referer),
        ..common
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, rc::Rc};

    use super::*;
    use crate::{
        config,
        exchange::{Peer, TunnelFacts},
        moment::Moment,
        runtime::build::build_apart,
    };

    const TEXT: &str = "[log.fields]\nsite = \"north\"\nof = \"{listener}/{route}/{backend} {client_ip}\"\n\
                        path = \"{path|default:none}{header.a}\"\n\
                        [[listener]]\nname = \"in\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\n\
                        [[route]]\nname = \"all\"\nlisteners = [\"in\"]\nupstream = \"u\"\n\
                        [[upstream]]\nname = \"u\"\nbackend = [{ name = \"b\", address = \"127.0.0.1:1\" }]\n";

    /// Their lines had none of the fields, where the documentation says each line.
    #[test]
    fn lines_of_connections_have_the_fields_of_the_configuration() {
        let snapshot = build_apart(config::parse(TEXT, Path::new("test.toml")).unwrap()).unwrap();
        let peer = Peer { text: "192.0.2.1".into(), ..Peer::default() };
        let mut facts = Facts::default();
        facts.reset(&Rc::new(peer), Moment(0));
        (facts.route, facts.upstream, facts.backend) = (Some(0), Some(0), Some(0));
        let tunnel = TunnelFacts {
            protocol: "tcp",
            server_name: None,
            alpn: None,
            quic_version: None,
            is_spliced: false,
            datagrams: None,
        };
        let found = extra(&facts, Subject::Tunnel(&tunnel), (&snapshot, snapshot.listeners.first()));
        let mut found: Vec<(&str, String)> =
            found.into_iter().map(|(name, value)| (name, String::from_utf8(value).unwrap())).collect();
        found.sort();
        let expected = [("of", "in/all/b 192.0.2.1"), ("path", "none"), ("site", "north")];
        assert_eq!(found, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
