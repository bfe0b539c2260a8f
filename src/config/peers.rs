//! What `[cluster.peers]` adds to the file: the listener that hears the peers of this node, and the upstream by which it asks
//! them. They are as all others.

use std::path::Path;

use super::{
    Config,
    listen::{ListenAddress, ListenerConf, Protocol},
};
use crate::{
    cluster::{conf::PeersConf, peers::message},
    schema::{Node, Reader, Size, Source, section::read},
    tls::conf::{ClientAuthConf, ClientAuthMode},
    upstream::conf::UpstreamConf,
};

/// The name of both: where they come from, which no name in the file can be.
pub const NAME: &str = "[cluster.peers]";

/// Adds them, where there are peers; the upstream where something may be asked of them.
pub(super) fn add(config: &mut Config) {
    let Some(conf) = config.cluster.as_ref().and_then(|cluster| cluster.peers.as_ref()) else { return };
    let is_asked = config.cache.iter().any(|cache| cache.peers) || config.upstream.iter().any(|it| it.relay);
    let (upstream, listener) = (upstream(conf, &config.upstream), listener(conf, &config.listener));
    config.upstream.extend(upstream.filter(|_| is_asked));
    config.listener.extend(listener);
}

/// Bytes of a head that goes between nodes, and fields, beyond the largest that is let in here: what routes add to requests,
/// and nodes say to each other (Via, Cache-Status, the mark).
const ROOM: (u64, u32) = (64 * 1024, 100);

/// The listener, with every option that is not said here at its default. Its clients are peers, whose word is believed; what
/// they ask for came over one of `others` there, as large as that lets it be.
fn listener(conf: &PeersConf, others: &[ListenerConf]) -> Option<ListenerConf> {
    let (address, trusted) = (conf.listen, "[\"0.0.0.0/0\", \"::/0\"]");
    let text = format!("name = \"{NAME}\"\naddress = \"{address}\"\ntrusted_proxies = {trusted}\n");
    let source = Source::new(&text, Path::new(""));
    let mut listener: ListenerConf = read(&Node::parse(&text).0, &mut Reader::new(&source))?;
    listener.address = ListenAddress::Tcp(conf.listen).into();
    listener.protocol = Protocol::Https;
    listener.certificate = vec![conf.certificate.clone()];
    listener.client_auth = ClientAuthConf { mode: ClientAuthMode::Require, ca: Some(conf.ca.clone()) };
    listener.max_connections = 1000;
    let limits = &mut listener.limits;
    limits.body_bytes = Size(message::MOST as u64);
    for other in others.iter().map(|other| &other.limits) {
        limits.header_bytes = limits.header_bytes.max(other.header_bytes);
        limits.headers = limits.headers.max(other.headers);
        limits.uri_bytes = limits.uri_bytes.max(other.uri_bytes);
    }
    limits.header_bytes.0 += ROOM.0;
    limits.headers += ROOM.1;
    Some(listener)
}

/// The upstream, whose backends are the other nodes. Who is asked is decided elsewhere, and nobody else is asked after him:
/// there is the origin. One that is slow or broken is left alone for a second, and longer each time; what a backend of
/// `others` may answer is no failure of the peer that passes it on.
fn upstream(conf: &PeersConf, others: &[UpstreamConf]) -> Option<UpstreamConf> {
    let nodes: Vec<String> = conf.others().map(|other| format!("{{ address = \"{other}\" }}")).collect();
    let text = format!(
        "name = \"{NAME}\"\nbackend = [{}]\nmax_idle = 256\n[retry]\nattempts = 1\n\
         [outlier]\nconsecutive_failures = 3\nbase_ejection = \"1s\"\nmax_ejected_percent = 100\n",
        nodes.join(", ")
    );
    let source = Source::new(&text, Path::new(""));
    let mut upstream: UpstreamConf = read(&Node::parse(&text).0, &mut Reader::new(&source))?;
    upstream.connect_timeout = conf.response_timeout;
    upstream.tls = Some(conf.tls());
    let limits = &mut upstream.limits;
    for other in others.iter().map(|other| &other.limits) {
        limits.header_bytes = limits.header_bytes.max(other.header_bytes);
        limits.headers = limits.headers.max(other.headers);
    }
    limits.header_bytes.0 += ROOM.0;
    limits.headers += ROOM.1;
    Some(upstream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf() -> PeersConf {
        PeersConf {
            listen: "10.0.0.1:7946".parse().unwrap(),
            members: vec!["10.0.0.1:7946".parse().unwrap(), "[2001:db8::2]:7946".parse().unwrap()],
            certificate: crate::tls::conf::CertificateConf { chain: "a".into(), key: "b".into() },
            ca: "c".into(),
            server_name: "d".into(),
            response_timeout: std::time::Duration::from_millis(70),
        }
    }

    #[test]
    fn listener_and_upstream_are_good_tables() {
        let conf = conf();
        let upstream = upstream(&conf, &[]).unwrap();
        let names: Vec<&str> = upstream.backend.iter().map(|backend| &*backend.name).collect();
        assert_eq!((upstream.name.as_str(), &names[..]), (NAME, &["[2001:db8::2]:7946"][..]));
        assert_eq!((upstream.retry.attempts, upstream.connect_timeout), (1, conf.response_timeout));
        assert!(listener(&conf, &[]).unwrap().trusted_proxies.len() == 2);
    }

    /// Else a peer would be left alone for what a backend answers, or decline what a client may ask for.
    #[test]
    fn heads_between_nodes_are_as_large_as_elsewhere() {
        let conf = conf();
        let mut asked = listener(&conf, &[]).unwrap();
        assert_eq!((asked.limits.header_bytes, asked.limits.headers), (Size(128 << 10), 200));
        asked.limits.header_bytes = Size(256 << 10);
        asked.limits.uri_bytes = Size(100 << 10);
        let mut many = asked.clone();
        many.limits.headers = 1000;
        many.limits.uri_bytes = Size(1 << 10);
        let limits = listener(&conf, &[asked, many]).unwrap().limits;
        assert_eq!((limits.header_bytes, limits.headers), (Size(320 << 10), 1100));
        assert_eq!((limits.uri_bytes, limits.body_bytes), (Size(100 << 10), Size(message::MOST as u64)));
        let mut answering = upstream(&conf, &[]).unwrap();
        assert_eq!((answering.limits.header_bytes, answering.limits.headers), (Size(128 << 10), 300));
        answering.limits.header_bytes = Size(256 << 10);
        answering.limits.headers = 1000;
        let limits = upstream(&conf, &[answering]).unwrap().limits;
        assert_eq!((limits.header_bytes, limits.headers), (Size(320 << 10), 1100));
    }
}
