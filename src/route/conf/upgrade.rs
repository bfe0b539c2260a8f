//! Protocols that a request may turn its connection into.

use serde_json::json;

use crate::schema::{Data, Node, Reader, Value, name, suggest};

/// What a request may turn its connection into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upgrades {
    /// Protocols that an Upgrade field may name, in lower case.
    pub protocols: Vec<String>,
    /// Whether it may name any other, save `h2c`.
    pub is_any: bool,
    /// Whether a tunnel may be made with CONNECT.
    pub connects: bool,
}

/// HTTP itself: whoever speaks it with the backend without us is not looked at any more.
const H2C: &str = "h2c";

/// Names that others are mistaken for.
const KNOWN: [&str; 2] = ["websocket", "connect"];

impl Upgrades {
    /// Whether an Upgrade field may name a protocol (RFC 9110 §7.8: names are compared without case).
    pub fn allows(&self, protocol: &[u8]) -> bool {
        (self.is_any && !protocol.eq_ignore_ascii_case(H2C.as_bytes()))
            || self.protocols.iter().any(|it| protocol.eq_ignore_ascii_case(it.as_bytes()))
    }

    fn add(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let Some(text) = reader.text(node, "the name of a protocol, such as \"websocket\"") else { return };
        match text.to_ascii_lowercase().as_str() {
            "connect" => self.connects = true,
            "*" => self.is_any = true,
            H2C => {
                let message = "`h2c` cannot be allowed: requests inside it would bypass every rule";
                reader.problem_with(node.place, message, "leave it out; clients speak HTTP/2 over TLS");
            }
            protocol if suggest::nearest(protocol, &KNOWN).is_some_and(|near| near != protocol) => {
                let message = format!("unknown upgrade `{text}`");
                reader.problem_with(node.place, message, suggest::did_you_mean(protocol, KNOWN));
            }
            // RFC 9110 §7.8: a token, and a version that is one.
            protocol
                if (1..=2).contains(&protocol.split('/').count())
                    && protocol.split('/').all(name::is_token) =>
            {
                self.protocols.push(protocol.to_owned());
            }
            _ => {
                let message = format!("`{text}` is not a valid protocol name");
                let hint = "use a name such as \"websocket\", \"tcp\" or \"spdy/3.1\"; \"*\" means any, \
                    \"connect\" CONNECT";
                reader.problem_with(node.place, message, hint);
            }
        }
    }
}

impl Value for Upgrades {
    fn kind() -> String {
        "an array of protocols, or `*`".into()
    }

    fn schema() -> serde_json::Value {
        let one = json!({"type": "string", "minLength": 1, "examples": ["websocket", "connect", "tcp", "spdy/3.1", "*"]});
        json!({"anyOf": [{"type": "array", "items": one}, {"const": "*"}]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut this = Self::default();
        match &node.data {
            Data::Array(items) => items.iter().for_each(|item| this.add(item, reader)),
            Data::String(text) if text == "*" => this.is_any = true,
            _ => {
                reader.wrong_type(node, "an array of protocols, such as `[\"websocket\"]`, or `\"*\"`");
                return None;
            }
        }
        Some(this)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_h2c_is_none() {
        let listed = Upgrades { protocols: vec!["spdy/3.1".into()], ..Upgrades::default() };
        assert!(listed.allows(b"SPDY/3.1") && !listed.allows(b"SPDY/3") && !listed.allows(b"websocket"));
        let any = Upgrades { is_any: true, ..Upgrades::default() };
        assert!(any.allows(b"tcp") && any.allows(b"WebSocket") && !any.allows(b"H2C"));
        assert!(!Upgrades::default().allows(b"websocket"));
    }
}
