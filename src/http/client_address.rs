//! One client address for each request: the one that lists, limits and hashing look at, and that is logged.
//!
//! Previous stop: `http::handle`; next stop: `http::normalize`. Of a connection the other end is the client, or whom a
//! PROXY header names. Where that is a trusted proxy, the request says who is behind it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::forwarded::{self, Part};
use crate::{
    config::listen::ClientAddressFrom,
    error::{Kind, Result},
    exchange::{ClientAddress, Downstream, Exchange},
    fields::{Field, Fields, Known},
    runtime::{Listener, permit::AddressPlace},
};

/// Gives a connection the trust that its other end has now, where a reload has changed by what it was accepted.
pub(super) fn review_trust(listener: &Listener, exchange: &mut Exchange) {
    let facts = &mut exchange.facts;
    let peer = &facts.peer;
    facts.has_other_trust = !Arc::ptr_eq(&peer.terms, &listener.terms)
        && peer.has_address()
        && listener.trusts(peer.address) != peer.is_trusted;
}

/// Where a reload has changed by what its listener lets clients in, believes them, or what it says of Via, a connection that
/// was accepted by what held before ends with this request, so that its client comes again by what holds now; and a client
/// that would not be let in any more is not served.
///
/// # Errors
///
/// [`Kind::ClientDenied`].
#[inline]
pub(super) fn review_terms<D: Downstream>(
    listener: &Listener,
    exchange: &Exchange,
    client: &mut D,
) -> Result<()> {
    if Arc::ptr_eq(&exchange.facts.peer.terms, &listener.terms) {
        return Ok(());
    }
    client.end_connection();
    judge_by_terms_of_now(listener, exchange)
}

#[cold]
fn judge_by_terms_of_now(listener: &Listener, exchange: &Exchange) -> Result<()> {
    let peer = &exchange.facts.peer;
    // Over a unix socket nobody is judged, and of proxies that are trusted each request.
    let is_judged = peer.has_address() && !peer.is_trusted && !listener.judges_requests_from(peer.address);
    if is_judged && !listener.admits(peer.address) {
        return Err(Kind::ClientDenied.into());
    }
    Ok(())
}

/// Finds the client of an exchange, where its connection comes from a trusted proxy.
///
/// # Errors
///
/// [`Kind::Malformed`] where what the proxy itself says of it cannot be read: it would pass for the proxy.
pub fn find(listener: &Listener, exchange: &mut Exchange) -> Result<()> {
    if exchange.facts.is_trusted() {
        exchange.facts.client = behind(listener, &exchange.request.fields)?;
    }
    Ok(())
}

/// Lets the client of a request in by `allow`, `deny` and `max_connections_per_address`, where its connection may not
/// have been judged, since its other end was trusted then, or is now: its place, where there is a limit.
///
/// # Errors
///
/// [`Kind::ClientDenied`] and [`Kind::ClientLimit`].
pub(super) fn admit(listener: &Listener, exchange: &Exchange) -> Result<Option<AddressPlace>> {
    if !exchange.facts.peer.is_trusted && !exchange.facts.is_trusted() {
        return Ok(None);
    }
    let client = exchange.facts.client_address();
    if !listener.admits(client) {
        return Err(Kind::ClientDenied.into());
    }
    if listener.conf.client_address_from == ClientAddressFrom::Connection {
        // It is connections that are counted.
        return Ok(None);
    }
    AddressPlace::take(listener, Some(client)).map_err(|_| Kind::ClientLimit.into())
}

/// The client behind a trusted proxy; `None` where the fields name none that can be believed, so that it is the proxy.
fn behind(listener: &Listener, fields: &Fields) -> Result<Option<ClientAddress>> {
    Ok(match &listener.conf.client_address_from {
        ClientAddressFrom::XForwardedFor => {
            let values: Vec<&[u8]> = fields.all_known(Known::XForwardedFor).collect();
            let hops = values.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
            nearest(listener, hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()).map(node))
        }
        ClientAddressFrom::Forwarded => {
            let values: Vec<&[u8]> = fields.all_known(Known::Forwarded).collect();
            let mut hops = Vec::new();
            for value in values.iter().rev() {
                match hops_of(value) {
                    Some(line) => hops.extend(line.into_iter().rev()),
                    // The last line is the proxy's, at least in part.
                    None if hops.is_empty() => return Err(Kind::Malformed("Forwarded is malformed").into()),
                    // A client may have sent it to hide behind the proxy.
                    None => break,
                }
            }
            nearest(listener, hops.into_iter())
        }
        ClientAddressFrom::Header(name) => {
            let is_it = |field: &Field<'_>| field.name.eq_ignore_ascii_case(name.as_bytes());
            let mut values = fields.iter().filter(is_it).map(|field| field.value);
            let value = values.next().filter(|_| values.next().is_none());
            let hop = value.and_then(|value| node(value.trim_ascii()));
            hop.map(|(address, port)| ClientAddress::new(address, port))
        }
        ClientAddressFrom::Connection => None,
    })
}

/// Who is at one hop; `None` for one that is hidden or makes no sense.
type Hop = Option<(IpAddr, u16)>;

/// The first hop from the right that is no trusted proxy, or the last that is one. What a hop that is not known says of
/// those before it cannot be believed.
fn nearest(listener: &Listener, hops: impl Iterator<Item = Hop>) -> Option<ClientAddress> {
    let mut nearest = None;
    for hop in hops {
        let Some((address, port)) = hop else { break };
        nearest = Some((address, port));
        if !listener.trusts(address) {
            break;
        }
    }
    nearest.map(|(address, port)| ClientAddress::new(address, port))
}

/// An address, with a port or without (RFC 7239 §6; proxies write X-Forwarded-For so too).
fn node(text: &[u8]) -> Hop {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some((address.to_canonical(), 0));
    }
    let whole: SocketAddr = text.parse().ok()?;
    Some((whole.ip().to_canonical(), whole.port()))
}

/// The hops of a value of Forwarded from left to right; `None` for one that is not of its grammar.
fn hops_of(value: &[u8]) -> Option<Vec<Hop>> {
    let mut hops = Vec::new();
    let mut of_element: Option<Hop> = None;
    let mut is_twice = false;
    forwarded::read(value, |part| match part {
        // A parameter may stand once in an element.
        Part::Parameter { name, value, .. } if name.eq_ignore_ascii_case(b"for") => {
            is_twice |= of_element.replace(node(&value)).is_some();
        }
        Part::Parameter { .. } => {}
        Part::End => hops.push(of_element.take().unwrap_or_default()),
    })?;
    (!is_twice).then_some(hops)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{config, exchange::Peer, moment::Moment, runtime::build};

    /// What comes of a request of a connection from 10.0.0.1 that was accepted as a trusted proxy's, under a listener
    /// with these keys: the client, whether the proxy is believed, and why the client is not let in.
    fn judged(keys: &str, fields: &[(&str, &str)]) -> (String, bool, Option<Kind>) {
        let text = format!(
            "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{keys}\n\
             [[route]]\nname = \"all\"\nrespond = {{ status = 200 }}\n"
        );
        let config =
            config::parse(&text, "test.toml".as_ref()).unwrap_or_else(|problems| panic!("{problems:?}"));
        let snapshot = build::build_apart(config).unwrap();
        let listener = &snapshot.listeners[0];
        let address = IpAddr::from([10, 0, 0, 1]);
        let peer = Peer { address, text: "10.0.0.1".into(), is_trusted: true, ..Peer::default() };
        let mut exchange = Exchange::default();
        exchange.reset(&Rc::new(peer), Moment(1));
        for (name, value) in fields {
            exchange.request.fields.push(name, value.as_bytes());
        }
        review_trust(listener, &mut exchange);
        let end = find(listener, &mut exchange).and_then(|()| admit(listener, &exchange).map(drop));
        let facts = &exchange.facts;
        (facts.client_text().to_owned(), facts.is_trusted(), end.err().map(|error| error.kind()))
    }

    #[test]
    fn trust_that_a_reload_took_away_is_gone() {
        let (trusted, denied) = ("trusted_proxies = [\"10.0.0.0/8\"]\n", "deny = [\"10.0.0.0/8\"]\n");
        let of_connection = "client_address_from = \"connection\"\n";
        let limited = "max_connections_per_address = 1\n";
        let fields = [("X-Forwarded-For", "198.51.100.9")];
        for (keys, client, is_trusted, end) in [
            (trusted.to_owned() + denied, "198.51.100.9", true, None),
            (denied.to_owned(), "10.0.0.1", false, Some(Kind::ClientDenied)),
            ("allow = [\"198.51.100.9\"]\n".to_owned(), "10.0.0.1", false, Some(Kind::ClientDenied)),
            ("allow = [\"10.0.0.1\"]\n".to_owned() + limited, "10.0.0.1", false, None),
            // Nor was it judged where requests are judged by their connections only since the reload.
            (trusted.to_owned() + denied + of_connection, "10.0.0.1", true, Some(Kind::ClientDenied)),
            (trusted.to_owned() + of_connection, "10.0.0.1", true, None),
        ] {
            assert_eq!(judged(&keys, &fields), (client.to_owned(), is_trusted, end), "{keys}");
        }
    }

    #[test]
    fn a_malformed_line_hides_no_client_right_of_it() {
        let keys = "trusted_proxies = [\"10.0.0.0/8\"]\nclient_address_from = \"forwarded\"\n\
            deny = [\"203.0.113.0/24\"]\n";
        let malformed = Some(Kind::Malformed("Forwarded is malformed"));
        for (lines, client, end) in [
            (&["for=\"x", "for=203.0.113.7"][..], "203.0.113.7", Some(Kind::ClientDenied)),
            (&["for=\"x", "for=198.51.100.9, for=10.0.0.2"], "198.51.100.9", None),
            (&["for=203.0.113.7", "for=\"x", "for=10.0.0.2"], "10.0.0.2", None),
            (&["for=198.51.100.9", "for=\"x"], "10.0.0.1", malformed),
            (&["for=\"x, for=203.0.113.7"], "10.0.0.1", malformed),
            (&["", "for=203.0.113.7"], "203.0.113.7", Some(Kind::ClientDenied)),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| ("Forwarded", *line)).collect();
            assert_eq!(judged(keys, &fields), (client.to_owned(), true, end), "{lines:?}");
        }
    }

    #[test]
    fn a_node_is_an_address_with_a_port_or_without() {
        for (text, expected) in [
            ("192.0.2.1", Some(("192.0.2.1", 0))),
            ("192.0.2.1:80", Some(("192.0.2.1", 80))),
            ("2001:db8::1", Some(("2001:db8::1", 0))),
            ("[2001:db8::1]", Some(("2001:db8::1", 0))),
            ("[2001:db8::1]:80", Some(("2001:db8::1", 80))),
            ("::ffff:192.0.2.1", Some(("192.0.2.1", 0))),
            ("unknown", None),
            ("_hidden", None),
            ("192.0.2", None),
            ("192.0.2.1:99999", None),
            ("", None),
        ] {
            let expected = expected.map(|(address, port)| (address.parse::<IpAddr>().unwrap(), port));
            assert_eq!(node(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn forwarded_gives_its_hops_or_nothing() {
        let hops = |text: &str| {
            let texts = |hops: Vec<Hop>| {
                hops.iter()
                    .map(|hop| hop.map_or("?".to_owned(), |hop| hop.0.to_string()))
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            hops_of(text.as_bytes()).map(texts)
        };
        for (text, expected) in [
            ("for=192.0.2.1", Some("192.0.2.1")),
            ("For = 192.0.2.1", None),
            ("proto=http;for=\"[2001:db8::1]:80\" ; by=x", Some("2001:db8::1")),
            ("for=192.0.2.1, for=192.0.2.2", Some("192.0.2.1 192.0.2.2")),
            ("host=\"a, for=6.6.6.6\", for=192.0.2.2", Some("? 192.0.2.2")),
            ("host=\"\\\", for=6.6.6.6\";for=192.0.2.2", Some("192.0.2.2")),
            ("for=_a", Some("?")),
            ("for=192.0.2.1;for=192.0.2.2", None),
            ("for=\"192.0.2.1", None),
            ("for=\"192.0.2.1\"x", None),
            ("for", None),
            ("", Some("?")),
        ] {
            assert_eq!(hops(text).as_deref(), expected, "{text}");
        }
    }
}
