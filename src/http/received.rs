//! What was received is cleaned first, before anything is decided by it, keyed or stored.
//!
//! Previous stop: the framing of the request; next stop: its host and path (`http::normalize`). What is for this hop
//! alone goes here: fields that Connection names (RFC 9110 §7.6.1), so that a client cannot have removed what a route
//! sets later; names with an underscore or another sign, which applications take for others; and what only proxies may
//! say of a request, unless it comes from one that is trusted.

use crate::{
    config::listen::Underscores,
    error::{Kind, Result},
    exchange::{Exchange, Via},
    fields::{ConnectionOptions, Known, is_respelled, list},
};

/// Takes out of a request what may not be believed or passed on; `of_client` is the field by which trusted proxies name their
/// clients, where the listener has one. A request that has been here already is refused.
pub(super) fn clean(
    exchange: &mut Exchange,
    underscores: Underscores,
    of_client: Option<&str>,
) -> Result<()> {
    let is_trusted = exchange.facts.is_trusted();
    let fields = &mut exchange.request.fields;
    let via = &exchange.facts.peer.terms.via;
    if fields.has(Known::Via) && list(fields.all_known(Known::Via)).any(|member| via.has_been_here(member)) {
        return Err(Kind::LoopDetected.into());
    }
    let options = ConnectionOptions::of(fields).map_err(Kind::Malformed)?;
    // Nearly always there is nothing to do.
    if options.is_empty() && of_client.is_none() && !fields.has_any(&DOUBTFUL) {
        return Ok(());
    }
    if underscores == Underscores::Refuse && fields.has_any(&[Known::Underscored, Known::Disguised]) {
        return Err(Kind::Malformed("a field name has a sign other than a hyphen").into());
    }
    let names_client = |name: &[u8]| of_client.is_some_and(|it| name.eq_ignore_ascii_case(it.as_bytes()));
    let seems_to = |name: &[u8]| of_client.is_some_and(|it| is_respelled(name, it.as_bytes()));
    fields.retain(|field| match field.known {
        // Whoever it comes from: over the listener of the peers it is read before.
        Known::OfPeer | Known::Disguised => false,
        // Not for this hop, whatever Connection says: else who is behind a proxy that passes Connection on could take
        // away what the proxy says of it.
        Known::OfProxy => is_trusted,
        Known::Other if names_client(field.name) => is_trusted,
        Known::Underscored if names_client(field.name) => is_trusted && underscores == Underscores::Pass,
        Known::Other | Known::Underscored if seems_to(field.name) => false,
        Known::Underscored => underscores == Underscores::Pass && !options.name(field.name),
        // These are of this hop anyway, and are read until it is left.
        Known::Host
        | Known::Connection
        | Known::ContentLength
        | Known::TransferEncoding
        | Known::Te
        | Known::Upgrade
        // Read or written anew; never passed on from who is not trusted.
        | Known::Forwarded
        | Known::XForwardedFor
        | Known::XForwardedHost
        | Known::XForwardedProto
        | Known::XRequestId => true,
        _ => !options.name(field.name),
    });
    Ok(())
}

/// Takes out of a request that a peer asks for what is said to this node alone. That node has cleaned it, and what only
/// proxies may say of it was added by its route since, for the backend.
pub(super) fn clean_for_peer(exchange: &mut Exchange) -> Result<()> {
    let fields = &mut exchange.request.fields;
    // A name that is the listener's on each node is that node's own here, which has looked for it.
    if list(fields.all_known(Known::Via)).any(|member| Via::Own.has_been_here(member)) {
        return Err(Kind::LoopDetected.into());
    }
    fields.remove_known(Known::OfPeer);
    Ok(())
}

/// What not everybody may say.
const DOUBTFUL: [Known; 4] = [Known::OfPeer, Known::OfProxy, Known::Underscored, Known::Disguised];

#[cfg(test)]
mod tests {
    use std::{rc::Rc, sync::Arc};

    use super::*;
    use crate::{
        exchange::{Peer, Terms, node},
        fields::Field,
    };

    fn left(names: &[(&str, &str)], is_trusted: bool, underscores: Underscores) -> Result<Vec<String>> {
        let peer = Rc::new(Peer { is_trusted, ..Peer::default() });
        let mut exchange = Exchange::default();
        exchange.facts.peer = peer;
        names.iter().for_each(|(name, value)| exchange.request.fields.push(name, value.as_bytes()));
        clean(&mut exchange, underscores, Some("cf-connecting-ip"))?;
        let name = |field: Field<'_>| String::from_utf8(field.name.to_vec()).unwrap();
        Ok(exchange.request.fields.iter().map(name).collect())
    }

    #[test]
    fn fields_connection_names_are_removed_but_for_framing() {
        let fields =
            [("Connection", "close, X-A, host, CONTENT-LENGTH"), ("x-a", "1"), ("host", "a"), ("x-b", "2")];
        assert_eq!(left(&fields, false, Underscores::Drop).unwrap(), ["Connection", "host", "x-b"]);
        let many = vec!["a"; 65].join(",");
        assert!(left(&[("Connection", &many)], false, Underscores::Drop).is_err());
        let some = vec!["a"; 64].join(",");
        assert!(left(&[("Connection", &some)], false, Underscores::Drop).is_ok());
    }

    #[test]
    fn what_only_proxies_may_say_stays_where_they_are_trusted() {
        let fields = [
            ("X-Forwarded-Prefix", "/a"),
            ("x-real-ip", "1"),
            ("x-original-url", "/b"),
            ("x-rewrite-url", "/c"),
            ("x-o", "1"),
        ];
        assert_eq!(left(&fields, false, Underscores::Drop).unwrap(), ["x-o"]);
        assert_eq!(left(&fields, true, Underscores::Drop).unwrap().len(), 5);
    }

    /// Backends may believe it from whoever has sent it.
    #[test]
    fn what_names_the_client_is_of_proxies_that_are_trusted() {
        let fields = [
            ("CF-Connecting-IP", "127.0.0.1"),
            ("Connection", "cf-connecting-ip, x-a"),
            ("CF_Connecting.IP", "127.0.0.1"),
            ("cf-connecting-ipv6", "1"),
            ("x-a", "1"),
        ];
        for underscores in [Underscores::Drop, Underscores::Pass] {
            let left = |is_trusted| left(&fields, is_trusted, underscores).unwrap();
            assert_eq!(left(false), ["Connection", "cf-connecting-ipv6"]);
            assert_eq!(left(true), ["CF-Connecting-IP", "Connection", "cf-connecting-ipv6"]);
        }
        let alone = [("cf-connecting-ip", "127.0.0.1"), ("x-a", "1")];
        assert_eq!(left(&alone, false, Underscores::Drop).unwrap(), ["x-a"]);
        assert_eq!(left(&alone, true, Underscores::Drop).unwrap().len(), 2);
    }

    #[test]
    fn what_only_peers_may_say_is_removed() {
        let fields = [("Pointsman-Peer", "cache"), ("pointsman_peer", "1"), ("pointsman-pee", "1")];
        for is_trusted in [false, true] {
            assert_eq!(left(&fields, is_trusted, Underscores::Pass).unwrap(), ["pointsman-pee"]);
        }
    }

    /// The asking node has cleaned the request: what only proxies may say of it is of its route.
    #[test]
    fn what_a_peer_says_stays_but_for_its_mark() {
        let name = format!("1.1 {}", node::name());
        let clean = |via: &str| {
            let mut exchange = Exchange::default();
            exchange.facts.peer = Rc::new(Peer {
                terms: Arc::new(Terms { via: Via::Named(Arc::new("edge".into())) }),
                ..Peer::default()
            });
            for (name, value) in [
                ("X-Forwarded-Prefix", "/a"),
                ("pointsman-peer", "cache"),
                ("x-real-ip", "1"),
                ("x_user", "ann"),
                ("via", via),
            ] {
                exchange.request.fields.push(name, value.as_bytes());
            }
            clean_for_peer(&mut exchange).map(|()| {
                let fields = exchange.request.fields.iter();
                fields.map(|field| String::from_utf8(field.name.to_vec()).unwrap()).collect::<Vec<_>>()
            })
        };
        let left = ["X-Forwarded-Prefix", "x-real-ip", "x_user", "via"];
        assert_eq!(clean("1.1 edge, 1.1 other").unwrap(), left, "the peer is called as this node is");
        assert_eq!(clean(&name).unwrap_err().kind(), Kind::LoopDetected);
    }

    #[test]
    fn a_disguise_is_never_passed() {
        let fields = [
            ("x_a", "1"),
            ("content_length", "5"),
            ("X_Forwarded-For", "6.6.6.6"),
            ("X.Forwarded.For", "6.6.6.6"),
            ("x~real~ip", "6.6.6.6"),
            ("X.Original_URL", "/admin"),
            ("X_HTTP_Method_Override", "DELETE"),
            ("x.c", "3"),
            ("x-b", "2"),
        ];
        for (underscores, expected) in
            [(Underscores::Drop, &["x-b"][..]), (Underscores::Pass, &["x_a", "x.c", "x-b"])]
        {
            assert_eq!(left(&fields, true, underscores).unwrap(), expected);
        }
        assert!(left(&fields, true, Underscores::Refuse).is_err());
        assert!(left(&[("x.c", "3")], true, Underscores::Refuse).is_err());
        assert_eq!(left(&[("x-b", "2")], false, Underscores::Refuse).unwrap(), ["x-b"]);
    }
}
