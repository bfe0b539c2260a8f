//! The listener that hears the peers of this node: it is in no file, and is as every other.

use std::path::Path;

use super::listen::{ListenAddress, ListenerConf, Protocol};
use crate::{
    cluster::{conf::PeersConf, peers::message},
    schema::{Node, Reader, Size, Source, section::read},
    tls::conf::{ClientAuthConf, ClientAuthMode},
};

/// Its name: where it comes from, which no name in the file can be.
pub const LISTENER: &str = "[cluster.peers]";

/// The listener, with every option that is not said here at its default.
pub(super) fn listener(conf: &PeersConf) -> Option<ListenerConf> {
    let text = format!("name = \"{LISTENER}\"\naddress = \"{}\"\n", conf.listen);
    let source = Source::new(&text, Path::new(""));
    let mut listener: ListenerConf = read(&Node::parse(&text).0, &mut Reader::new(&source))?;
    listener.address = ListenAddress::Tcp(conf.listen);
    listener.protocol = Protocol::Https;
    listener.certificate = vec![conf.certificate.clone()];
    listener.client_auth = ClientAuthConf { mode: ClientAuthMode::Require, ca: Some(conf.ca.clone()) };
    listener.max_connections = 1000;
    listener.limits.body_bytes = Size(message::MOST as u64);
    Some(listener)
}
