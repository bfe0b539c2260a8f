//! What a node says of a request that it asks a peer for, in the place of a client of its own: one field, believed over the
//! listener of the peers only, and taken out of every other request.
//! What a peer answers in the origin's place says so by the same field; without it, it declined, whatever it says.

use std::net::IpAddr;

/// The field of the request, and of the answer.
pub const FIELD: &str = "pointsman-peer";
/// What it says in an answer that stands for the origin's.
pub const ANSWER: &[u8] = b"answer";

/// What the asking node saw, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Why it asks.
    pub purpose: Purpose,
    /// The address of the other end of its client's connection.
    pub address: IpAddr,
    /// The port there.
    pub port: u16,
    /// Whether what that end says of its own clients is believed.
    pub is_trusted: bool,
    /// Whether the connection was encrypted.
    pub is_encrypted: bool,
    /// The listener that the request came over.
    pub listener: String,
    /// What the asking node is called.
    pub node: String,
    /// What else it knows of its client's connection, where the listener has routes that look at it.
    pub seen: Option<Seen>,
    /// The route that took the request, where another might take it as it is edited, or by what is not known of it there.
    pub route: Option<String>,
    /// The upstream that it is for, where it is not the one that the route leads to.
    pub upstream: Option<String>,
}

/// What of a client's connection no field of its requests says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether the client asks by HTTP/2.
    pub is_http2: bool,
    /// The port that it connected to; `None` over a unix socket.
    pub port: Option<u16>,
    /// The name that it asked for in its TLS handshake.
    pub server_name: Option<String>,
}

/// Why a node asks a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The peer owns the key in a cache of peers.
    Cache,
    /// The peer has a way to a backend, and the asking node has none.
    Relay,
}

impl Purpose {
    const ALL: [Self; 2] = [Self::Cache, Self::Relay];

    fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Relay => "relay",
        }
    }
}

impl Mark {
    /// The value of the field: `cache 192.0.2.1 49152 untrusted https web node1`, and ` h2 8443 a.test`,
    /// ` route api` and ` upstream app` behind it.
    pub fn value(&self) -> String {
        let Self { purpose, address, port, listener, node, .. } = self;
        let trust = if self.is_trusted { "trusted" } else { "untrusted" };
        let scheme = if self.is_encrypted { "https" } else { "http" };
        // Of the two names one has no blanks, and the other is the rest. What a field cannot hold is no part of either.
        let node: String =
            node.chars().map(|sign| if sign.is_ascii_graphic() { sign } else { '?' }).collect();
        let mut value =
            format!("{} {address} {port} {trust} {scheme} {} {node}", purpose.name(), escaped(listener));
        if let Some(Seen { is_http2, port, server_name }) = &self.seen {
            let protocol = if *is_http2 { "h2" } else { "http1" };
            let port = port.map_or_else(|| NONE.to_owned(), |port| port.to_string());
            let name = server_name.as_deref().map_or_else(|| NONE.to_owned(), escaped);
            value += &format!(" {protocol} {port} {name}");
        }
        for (tag, name) in [(ROUTE, &self.route), (UPSTREAM, &self.upstream)] {
            if let Some(name) = name {
                value += &format!(" {tag} {}", escaped(name));
            }
        }
        value
    }

    /// What a value says; `None` where it is not what a peer says.
    pub fn read(value: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(value).ok()?.split(' ');
        let mut word = || words.next().filter(|word| !word.is_empty());
        let purpose = word()?;
        let mut read = Self {
            purpose: Purpose::ALL.into_iter().find(|it| it.name() == purpose)?,
            address: word()?.parse().ok()?,
            port: word()?.parse().ok()?,
            is_trusted: one_of(word()?, "trusted", "untrusted")?,
            is_encrypted: one_of(word()?, "https", "http")?,
            listener: unescaped(word()?)?,
            node: word()?.to_owned(),
            seen: None,
            route: None,
            upstream: None,
        };
        while let Some(tag) = word() {
            match tag {
                ROUTE if read.route.is_none() => read.route = Some(unescaped(word()?)?),
                UPSTREAM if read.upstream.is_none() => read.upstream = Some(unescaped(word()?)?),
                protocol if read.seen.is_none() => {
                    let (port, name) = (word()?, word()?);
                    read.seen = Some(Seen {
                        is_http2: one_of(protocol, "h2", "http1")?,
                        port: if port == NONE { None } else { Some(port.parse().ok()?) },
                        server_name: if name == NONE { None } else { Some(unescaped(name)?) },
                    });
                }
                _ => return None,
            }
        }
        words.next().is_none().then_some(read)
    }
}

/// What the name of a route, or of an upstream, follows.
const ROUTE: &str = "route";
const UPSTREAM: &str = "upstream";

/// What stands for a port or a name that is not there; it is neither.
const NONE: &str = "-";

fn one_of(word: &str, yes: &str, no: &str) -> Option<bool> {
    match word {
        word if word == yes => Some(true),
        word if word == no => Some(false),
        _ => None,
    }
}

/// Names of listeners are letters of any script: bytes that a field had better not hold are written as `%XX`.
fn escaped(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'%' => "%25".to_owned(),
        byte if byte.is_ascii_graphic() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}

fn unescaped(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            purpose: Purpose::Cache,
            address: "2001:db8::1".parse().unwrap(),
            port: 49152,
            is_trusted: false,
            is_encrypted: true,
            listener: "wéb%1".into(),
            node: "node1".into(),
            seen: None,
            route: None,
            upstream: None,
        }
    }

    #[test]
    fn value_is_read_as_it_was_written() {
        let value = mark().value();
        assert_eq!(value, "cache 2001:db8::1 49152 untrusted https w%C3%A9b%251 node1");
        assert_eq!(Mark::read(value.as_bytes()), Some(mark()));
        assert_eq!(Mark { node: "a b".into(), ..mark() }.value().split(' ').count(), 7);
        let seen = Seen { is_http2: true, port: Some(8443), server_name: Some("a.test".into()) };
        let none = Seen { is_http2: false, port: None, server_name: None };
        for (seen, words) in [(seen, " h2 8443 a.test"), (none, " http1 - -")] {
            let mark = Mark { seen: Some(seen), ..mark() };
            assert!(mark.value().ends_with(&format!(" node1{words}")));
            assert_eq!(Mark::read(mark.value().as_bytes()), Some(mark.clone()));
            let named = Mark { route: Some("ä b".into()), upstream: Some("h2".into()), ..mark };
            assert!(named.value().ends_with(&format!("{words} route %C3%A4%20b upstream h2")));
            assert_eq!(Mark::read(named.value().as_bytes()), Some(named));
        }
        for (route, upstream) in [(Some("upstream"), None), (None, Some("route")), (Some("a"), Some("b"))] {
            let mark = Mark { route: route.map(Into::into), upstream: upstream.map(Into::into), ..mark() };
            assert_eq!(Mark::read(mark.value().as_bytes()), Some(mark));
        }
    }

    #[test]
    fn value_that_no_peer_says_is_none() {
        for value in [
            "",
            "cache",
            "other 192.0.2.1 1 trusted http web a",
            "cache 192.0.2 1 trusted http web a",
            "cache 192.0.2.1 65536 trusted http web a",
            "cache 192.0.2.1 1 perhaps http web a",
            "cache 192.0.2.1 1 trusted ftp web a",
            "cache 192.0.2.1 1 trusted http w%4 a",
            "cache 192.0.2.1 1 trusted http %ff a",
            "cache 192.0.2.1 1 trusted http web",
            "cache 192.0.2.1 1 trusted http web a b",
            "cache 192.0.2.1 1 trusted http web a h2",
            "cache 192.0.2.1 1 trusted http web a h2 443",
            "cache 192.0.2.1 1 trusted http web a h3 443 a.test",
            "cache 192.0.2.1 1 trusted http web a h2 65536 a.test",
            "cache 192.0.2.1 1 trusted http web a h2 443 a.test b",
            "cache 192.0.2.1 1 trusted http web a route",
            "cache 192.0.2.1 1 trusted http web a route a route b",
            "cache 192.0.2.1 1 trusted http web a route %ff",
            "cache 192.0.2.1 1 trusted http web a upstream b upstream b",
            "cache 192.0.2.1 1 trusted http web a cache b",
            "cache  192.0.2.1 1 trusted http web a",
        ] {
            assert_eq!(Mark::read(value.as_bytes()), None, "{value}");
        }
    }
}
