//! Sessions of the program before that cannot go on here: they end, with a line of the log and counts, which that program
//! has left to this one.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use serde_json::Value;

use super::{
    announced::{self, Announced},
    session::EndedBy,
};
use crate::{
    error::Kind,
    exchange::{Datagrams, Facts, Peer, Subject, TunnelFacts},
    moment::Moment,
    runtime::Worker,
    upstream::conf::written_alike,
};

/// What happened, for people.
const WHY: &str = "the program that took over has no listener, route, backend or room for it";

/// Ends a session of which this is known, by the names of what this program has; `None` where there is too little.
pub(super) fn end(worker: &Worker, facts: &Value, now: Moment) -> Option<()> {
    let text = |key: &str| facts.get(key)?.as_str();
    let count = |key: &str| facts.get(key).and_then(Value::as_u64).unwrap_or(0);
    let age = |key: &str| facts.get(key)?.as_u64().map(Duration::from_micros);
    let announced = facts.get("announced").and_then(Announced::from_json);
    let client: SocketAddr = text("client")?.parse().ok()?;
    let named = announced.as_ref().and_then(Announced::client);
    let client = named.unwrap_or_else(|| announced::canonical(client));
    let (address, port) = (client.ip(), client.port());
    let peer = Rc::new(Peer { address, port, text: address.to_string().into(), ..Peer::default() });
    let age_of_all = age("age_us")?;
    let mut ended = Facts::default();
    ended.reset(&peer, now.minus(age_of_all));
    match announced.as_ref().map_or("", |announced| announced.id()) {
        "" => worker.write_id(&mut ended.id),
        told => ended.id.push_str(told),
    }
    let snapshot = worker.snapshot();
    let shared = &snapshot.shared;
    ended.route = shared.routes.iter().position(|it| Some(&*it.name) == text("route"));
    ended.upstream = shared.upstreams.iter().position(|it| Some(&*it.conf.name) == text("upstream"));
    let upstream = ended.upstream.and_then(|index| shared.upstreams.get(index));
    let known = text("backend").map(written_alike);
    ended.backend = upstream.and_then(|upstream| {
        upstream.backends.iter().position(|it| Some(&*it.address.to_string()) == known.as_deref())
    });
    ended.attempts = u32::try_from(count("attempts")).unwrap_or(u32::MAX);
    (ended.bytes_in, ended.bytes_out) = (count("bytes_in"), count("bytes_out"));
    ended.response_time = age("answered_after_us");
    ended.error = Some((Kind::Draining, WHY.to_owned()));
    let quic = facts.get("quic").filter(|it| it.is_object());
    let of_quic = |key: &str| quic?.get(key)?.as_str().map(Into::into);
    let tunnel = TunnelFacts {
        protocol: if quic.is_some() { "quic" } else { "udp" },
        server_name: of_quic("server_name"),
        alpn: of_quic("alpn"),
        quic_version: quic.and_then(|it| u32::try_from(it.get("version")?.as_u64()?).ok()),
        is_spliced: false,
        datagrams: Some(Datagrams {
            received: count("datagrams_in"),
            sent: count("datagrams_out"),
            ended_by: EndedBy::Closing.label(),
        }),
    };
    let listener = shared.listeners.iter().find(|it| Some(&*it.conf.name) == text("listener"));
    worker.record(&ended, Subject::Tunnel(&tunnel), age_of_all, (shared, listener));
    Some(())
}
