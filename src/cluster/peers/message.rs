//! What a node tells its peers, as JSON.

use serde_json::{Value, json};

/// The version of what is said. What a peer of the same version does not know, it leaves out; one of another is refused.
pub const VERSION: u64 = 1;

/// The path that it is posted to.
pub const STATE: &str = "/.pointsman/state";
/// The path that a change by the admin API is posted to.
pub const COMMAND: &str = "/.pointsman/command";

/// Bytes of a message that are read.
pub const MOST: usize = 4 * 1024 * 1024;

/// What a node tells of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What it is called.
    pub node: String,
    /// Which start of the program it is: milliseconds since 1970.
    pub incarnation: u64,
    /// The number of the message.
    pub sequence: u64,
    /// The program's version.
    pub program: String,
    /// Whether it has addresses.
    pub is_primary: bool,
    /// The number of its configuration's generation.
    pub generation: u64,
    /// The hash of its configuration file.
    pub config_hash: String,
    /// What it knows, by kind.
    pub entries: Value,
}

/// Why a message is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is not what a peer says.
    Malformed(&'static str),
    /// The peer speaks another version.
    Version(u64),
}

impl State {
    /// As it is sent.
    pub fn to_json(&self) -> Value {
        json!({
            "version": VERSION,
            "node": self.node,
            "incarnation": self.incarnation,
            "sequence": self.sequence,
            "program": self.program,
            "is_primary": self.is_primary,
            "generation": self.generation,
            "config_hash": self.config_hash,
            "entries": self.entries,
        })
    }

    /// What was sent.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Unreadable> {
        let message: Value =
            serde_json::from_slice(bytes).map_err(|_| Unreadable::Malformed("it is not JSON"))?;
        let number = |key: &'static str| message.get(key).and_then(Value::as_u64);
        let text = |key: &'static str| message.get(key).and_then(Value::as_str).map(str::to_owned);
        match number("version") {
            Some(VERSION) => {}
            Some(other) => return Err(Unreadable::Version(other)),
            None => return Err(Unreadable::Malformed("it has no version")),
        }
        let read = || {
            Some(Self {
                node: text("node").filter(|node| (1..=255).contains(&node.len()))?,
                incarnation: number("incarnation")?,
                sequence: number("sequence")?,
                program: text("program")?,
                is_primary: message.get("is_primary")?.as_bool()?,
                generation: number("generation")?,
                config_hash: text("config_hash")?,
                entries: message.get("entries")?.clone(),
            })
        };
        read().ok_or(Unreadable::Malformed("something is missing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn state(node: &str, incarnation: u64, sequence: u64) -> State {
        State {
            node: node.into(),
            incarnation,
            sequence,
            program: "0.1.0".into(),
            is_primary: false,
            generation: 3,
            config_hash: "00ff".into(),
            entries: json!({}),
        }
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
        let sent = State { entries: json!({"health": [1, 2]}), is_primary: true, ..state("a", 7, 9) };
        assert_eq!(State::from_json(sent.to_json().to_string().as_bytes()), Ok(sent));
    }

    #[test]
    fn what_is_added_is_left_out_and_another_version_refused() {
        let mut message = state("a", 7, 9).to_json();
        message["more"] = json!([1]);
        assert_eq!(State::from_json(message.to_string().as_bytes()), Ok(state("a", 7, 9)));
        message["version"] = json!(2);
        assert_eq!(State::from_json(message.to_string().as_bytes()), Err(Unreadable::Version(2)));
        for odd in ["", "[]", "{}", r#"{"version":1}"#, r#"{"version":1,"node":""}"#] {
            assert!(matches!(State::from_json(odd.as_bytes()), Err(Unreadable::Malformed(_))), "{odd}");
        }
    }
}
