//! Balancing as configured: the policy, and what a hash is taken of.

use serde_json::json;

use crate::schema::{Node, Reader, Value, choice, name};

choice! {
    /// How to pick a backend.
    pub enum Policy {
        /// Smooth weighted round robin: each backend in turn, by weight. Each worker keeps its own turn.
        RoundRobin = "round-robin",
        /// Another name for `round-robin`.
        WeightedRoundRobin = "weighted-round-robin",
        /// The fewest requests in flight, relative to weight.
        LeastConnections = "least-connections",
        /// The shortest average time to the response head.
        LeastResponseTime = "least-response-time",
        /// The lowest throughput, in bytes per second.
        LeastBandwidth = "least-bandwidth",
        /// A hash of the client's address.
        IpHash = "ip-hash",
        /// Ring hashing with bounded loads; few keys move when backends change.
        ConsistentHash = "consistent-hash",
        /// Maglev hashing: faster and more even than the ring, but a few more keys move.
        Maglev = "maglev",
        /// At random, by weight.
        Random = "random",
        /// The less loaded of two chosen at random.
        PowerOfTwo = "power-of-two",
    }
}

/// What a policy picks by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PicksBy {
    /// The hash of the client's address.
    Address,
    /// The hash of what `hash_on` names.
    HashOn,
    /// Chance.
    Chance,
    /// Its own state: whose turn it is, or what it measured.
    State,
}

impl Policy {
    /// What it picks by: what callers hash for it, and what `explain` says of a pick, follow from that.
    pub fn picks_by(self) -> PicksBy {
        match self {
            Self::IpHash => PicksBy::Address,
            Self::ConsistentHash | Self::Maglev => PicksBy::HashOn,
            Self::Random | Self::PowerOfTwo => PicksBy::Chance,
            Self::RoundRobin
            | Self::WeightedRoundRobin
            | Self::LeastConnections
            | Self::LeastResponseTime
            | Self::LeastBandwidth => PicksBy::State,
        }
    }
}

/// What of a request `consistent-hash` and `maglev` hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    /// The client's address.
    ClientIp,
    /// The value of a header, by its lower-case name.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
    /// The value of a query parameter.
    Query(String),
    /// The path.
    Path,
}

impl Value for HashOn {
    fn kind() -> String {
        "`client-ip`, `header:NAME`, `cookie:NAME`, `query:NAME` or `path`".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^(client-ip|path|(header|cookie|query):.+)$"})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, &Self::kind())?;
        let (source, of) = text.split_once(':').unwrap_or((text, ""));
        match (source, of) {
            ("client-ip", "") => return Some(Self::ClientIp),
            ("path", "") => return Some(Self::Path),
            ("header", of) if name::is_token(of) => {
                return Some(Self::Header(of.to_ascii_lowercase()));
            }
            ("cookie", of) if name::is_token(of) => return Some(Self::Cookie(of.to_owned())),
            ("query", of) if !of.is_empty() => return Some(Self::Query(of.to_owned())),
            _ => {}
        }
        let message = format!("`{text}` cannot be hashed on");
        let hint = match source {
            "header" | "cookie" | "query" => {
                format!("write its name after the colon: \"{source}:NAME\"")
            }
            _ => format!("use {}", Self::kind()),
        };
        reader.problem_with(node.place, message, hint);
        None
    }
}
