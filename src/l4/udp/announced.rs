//! PROXY headers of datagrams (version 2): what comes in with one, and what goes out with one.
//!
//! A datagram has no beginning but its own, so that a header is said again: with each one until the backend's first answer
//! (`first`), since any of them may be lost, or with each one (`every`).

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    net::proxy_protocol::{self, Addresses, Header, Parsed},
    upstream::{
        announce,
        conf::{SendDatagramHeaders, UpstreamConf},
    },
};

/// What a session has of PROXY headers.
#[derive(Debug)]
pub(super) struct Announced {
    /// The ends that a header named with which it came.
    named: Option<Addresses>,
    /// That header.
    came: Box<[u8]>,
    /// What its datagrams go out with; empty where they go as they are.
    header: Box<[u8]>,
    is_on_every: bool,
    /// Its id, where the header says it: the log says the same.
    id: String,
}

impl Announced {
    /// That of a session that begins between these ends, with this header, if any, for a client that asked for this name;
    /// `None` where there is nothing of the kind. The id is made where it is told.
    pub(super) fn of(
        conf: &UpstreamConf,
        header: Option<&[u8]>,
        ends: impl FnOnce() -> Addresses,
        name: Option<&str>,
        id: impl FnOnce(&mut String),
    ) -> Option<Self> {
        let read = header.and_then(read);
        let came = header.unwrap_or_default().into();
        let named = read.as_ref().and_then(|header| header.addresses);
        let is_on_every = match conf.proxy_protocol_udp {
            SendDatagramHeaders::Off => {
                read?;
                return Some(Self { named, came, header: [].into(), is_on_every: false, id: String::new() });
            }
            SendDatagramHeaders::First => false,
            SendDatagramHeaders::Every => true,
        };
        let mut own = String::new();
        id(&mut own);
        let passed = read.as_ref().map_or(&[][..], |header| &header.tlvs);
        let header = announce::datagram_header(conf, named.unwrap_or_else(ends), passed, (name, &own)).into();
        Some(Self { named, came, header, is_on_every, id: own })
    }

    /// Whom the header named with which it came, if it did.
    pub(super) fn named(&self) -> Option<SocketAddr> {
        self.named.map(|named| named.source)
    }

    /// The header with which it came.
    pub(super) fn came(&self) -> &[u8] {
        &self.came
    }

    /// It, for another program.
    pub(super) fn to_json(&self) -> Value {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let Self { is_on_every, id, .. } = self;
        json!({"came": hex(&self.came), "header": hex(&self.header), "is_on_every": is_on_every, "id": id})
    }

    /// What another program gave.
    pub(super) fn from_json(facts: &Value) -> Option<Self> {
        let bytes = |key: &str| -> Option<Vec<u8>> {
            let digits = facts.get(key)?.as_str()?.as_bytes().chunks(2);
            digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
        };
        let came = bytes("came")?;
        Some(Self {
            named: read(&came).and_then(|header| header.addresses),
            came: came.into(),
            header: bytes("header")?.into(),
            is_on_every: facts.get("is_on_every")?.as_bool()?,
            id: facts.get("id")?.as_str()?.to_owned(),
        })
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.came.len() + self.header.len() + self.id.len()
    }

    /// The client that a header named.
    pub(super) fn client(&self) -> Option<SocketAddr> {
        self.named.map(|named| canonical(named.source))
    }

    /// What a datagram is sent with.
    pub(super) fn header(&self, is_answered: bool) -> &[u8] {
        if is_answered && !self.is_on_every { &[] } else { &self.header }
    }

    /// Its id; empty where nobody was told one.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// An address of IPv4 as one.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The header of version 2 that these bytes begin with.
pub(super) fn read(bytes: &[u8]) -> Option<Header> {
    if !proxy_protocol::is_v2(bytes) {
        return None;
    }
    match proxy_protocol::parse(bytes) {
        Ok(Parsed::Done(header)) => Some(header),
        Ok(Parsed::Partial) | Err(_) => None,
    }
}
