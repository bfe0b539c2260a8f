//! PROXY headers of datagrams (version 2): what comes in with one, and what goes out with one.
//!
//! A datagram has no beginning but its own, so that a header is said again: with each one until the backend's first answer
//! (`first`), since any of them may be lost, or with each one (`every`).
//!
//! A backend may have forgotten a session that lives on here: what the client sends next is then the first that it hears,
//! and where that begins with a header of the client's own, that one would be believed. So `first` says the header again
//! before such datagrams, where no answer comes any more, and to one that refused (ICMP) until it answers.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};

use crate::{
    moment::Moment,
    net::proxy_protocol::{self, Addresses, Header, Parsed},
    upstream::{
        announce,
        conf::{SendDatagramHeaders, UpstreamConf},
    },
};

/// A backend that has answered, and then did not for so long though it was sent something, may have forgotten the session.
/// It is told again once in this time, and not with each datagram: there are servers that answer once, and only listen then.
const SILENT: Duration = Duration::from_secs(5);

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
    /// When the first datagram was sent that may still be without an answer, or the header was last said again for want of one.
    asked: Option<Moment>,
    /// Whether the backend refused, and has not answered since: whoever is there next knows nothing of the session.
    has_failed: bool,
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
        let (asked, has_failed) = (None, false);
        let is_on_every = match conf.proxy_protocol_udp {
            SendDatagramHeaders::Off => {
                read?;
                let (header, id) = ([].into(), String::new());
                return Some(Self { named, came, header, is_on_every: false, asked, has_failed, id });
            }
            SendDatagramHeaders::First => false,
            SendDatagramHeaders::Every => true,
        };
        let mut own = String::new();
        id(&mut own);
        let passed = read.as_ref().map_or(&[][..], |header| &header.tlvs);
        let header = announce::datagram_header(conf, named.unwrap_or_else(ends), passed, (name, &own)).into();
        Some(Self { named, came, header, is_on_every, asked, has_failed, id: own })
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
        let Self { is_on_every, has_failed, id, .. } = self;
        json!({
            "came": hex(&self.came),
            "header": hex(&self.header),
            "is_on_every": is_on_every,
            "has_failed": has_failed,
            "id": id,
        })
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
            asked: None,
            has_failed: facts.get("has_failed").and_then(Value::as_bool).unwrap_or_default(),
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

    /// What this datagram is sent with.
    pub(super) fn header(&self, datagram: &[u8], is_answered: bool, now: Moment) -> &[u8] {
        let is_there = is_answered && !self.has_failed;
        let is_known = is_there && self.asked.is_none_or(|asked| now.since(asked) < SILENT);
        let is_said = self.is_on_every || !is_known || proxy_protocol::is_v2(datagram);
        if is_said { &self.header } else { &[] }
    }

    /// Something was sent to the backend.
    pub(super) fn asked(&mut self, now: Moment) {
        if self.asked.is_none_or(|asked| now.since(asked) >= SILENT) {
            self.asked = Some(now);
        }
    }

    /// What was to be sent was too large. Where the header is said again it is the reason, and counts as said: else every
    /// datagram of that size would be lost until the backend answers, which it may never do.
    pub(super) fn was_too_large(&mut self, now: Moment) {
        if self.asked.is_some() {
            self.asked(now);
        }
    }

    /// The backend sent something.
    pub(super) fn answered(&mut self) {
        self.asked = None;
        self.has_failed = false;
    }

    /// The backend refused what was sent, or did not answer in time.
    pub(super) fn failed(&mut self) {
        self.has_failed = true;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_said_again_where_answers_fail_to_come() {
        let at = |seconds| Moment(1).plus(Duration::from_secs(seconds));
        let facts = json!({"came": "", "header": "0d0a", "is_on_every": false, "id": ""});
        let mut announced = Announced::from_json(&facts).unwrap();
        let is_said = |announced: &Announced, second| !announced.header(b"data", true, at(second)).is_empty();
        assert_eq!(announced.header(b"data", false, at(0)), b"\r\n");
        announced.asked(at(10));
        announced.asked(at(14));
        assert_eq!([10, 14, 15, 60].map(|second| is_said(&announced, second)), [false, false, true, true]);
        announced.asked(at(15));
        assert_eq!([15, 19, 20].map(|second| is_said(&announced, second)), [false, false, true]);
        announced.answered();
        // The client's own silence says nothing.
        assert!(!is_said(&announced, 100));
        announced.asked(at(100));
        assert!(!is_said(&announced, 104));
    }

    #[test]
    fn header_that_makes_datagrams_too_large_is_said_once() {
        let at = |seconds| Moment(1).plus(Duration::from_secs(seconds));
        let facts = json!({"came": "", "header": "0d0a", "is_on_every": false, "id": ""});
        let mut announced = Announced::from_json(&facts).unwrap();
        let is_said = |announced: &Announced, second| !announced.header(b"data", true, at(second)).is_empty();
        announced.asked(at(10));
        assert!(is_said(&announced, 15));
        announced.was_too_large(at(15));
        assert_eq!([15, 19, 20].map(|second| is_said(&announced, second)), [false, false, true]);
        // Nothing of it was sent, so that no answer is waited for.
        announced.answered();
        announced.was_too_large(at(30));
        assert!(!is_said(&announced, 100));
    }

    #[test]
    fn header_is_said_from_a_refusal_to_the_next_answer() {
        let facts = json!({"came": "", "header": "0d0a", "is_on_every": false, "id": ""});
        let mut announced = Announced::from_json(&facts).unwrap();
        let is_said = |announced: &Announced| !announced.header(b"data", true, Moment(1)).is_empty();
        assert!(!is_said(&announced));
        announced.failed();
        announced.asked(Moment(1));
        assert!(is_said(&announced));
        let in_next_program = Announced::from_json(&announced.to_json()).unwrap();
        assert!(is_said(&in_next_program));
        announced.answered();
        assert!(!is_said(&announced));
    }
}
