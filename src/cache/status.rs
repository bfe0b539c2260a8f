//! What Cache-Status says to the client of how a request was handled (RFC 9211).

use std::fmt;

use crate::fields::{Fields, write_number};

/// How this cache handled a request: the member that it adds to Cache-Status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheStatus {
    /// Answered from the cache, or why not.
    pub outcome: StatusOutcome,
    /// Seconds of freshness that are left of the response, negative when it is stale; only where it is
    /// stored.
    pub ttl: Option<i64>,
    /// The cache key, where it is to be shown.
    pub key: Option<String>,
    /// Something to read for people, as a token: why a response was not stored.
    pub detail: Option<&'static str>,
}

/// Whether a request went to the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusOutcome {
    /// It did not (§2.1).
    Hit,
    /// It did (§2.2).
    Forwarded {
        /// Why.
        why: Forward,
        /// The origin's status, where it is not that of the answer (§2.3).
        status: Option<u16>,
        /// Whether the origin's response was stored (§2.5).
        stored: bool,
        /// Whether the request waited for another's (§2.6).
        collapsed: bool,
    },
}

/// Why a request went to the origin (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The configuration has the cache left out.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing is stored for the URI.
    UriMiss,
    /// Something is stored for the URI, but nothing that these fields match.
    VaryMiss,
    /// What is stored could be used, but the request's directives ask for more.
    Request,
    /// What is stored is stale.
    Stale,
    /// What is stored is only a part of what was asked for.
    Partial,
}

impl Forward {
    /// The token.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

impl CacheStatus {
    /// A hit on a response with this much freshness left.
    pub fn hit(ttl: i64) -> Self {
        Self { outcome: StatusOutcome::Hit, ttl: Some(ttl), key: None, detail: None }
    }

    /// A request that went to the origin, and nothing else known of it yet.
    pub fn forwarded(why: Forward) -> Self {
        let outcome = StatusOutcome::Forwarded { why, status: None, stored: false, collapsed: false };
        Self { outcome, ttl: None, key: None, detail: None }
    }

    /// Written by way of the journal, or answered from it.
    pub fn journal(outcome: StatusOutcome) -> Self {
        Self { outcome, ttl: None, key: None, detail: Some("journal") }
    }

    /// Adds the member behind those of caches closer to the origin (§2).
    pub fn add_to(&self, response: &mut Fields) {
        let mut member = Vec::with_capacity(64);
        self.write(&mut member);
        response.push("cache-status", &member);
    }

    /// The same, of one node among several, which is `pointsman-` and its name then.
    pub fn add_of_node(&self, node: &str, response: &mut Fields) {
        let mut member = b"pointsman-".to_vec();
        // RFC 8941 §3.3.4: what a token may have.
        let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(byte);
        member.extend(node.bytes().map(|byte| if is_of_token(&byte) { byte } else { b'_' }));
        self.write_parameters(&mut member);
        response.push("cache-status", &member);
    }

    /// Writes the member: `pointsman; hit; ttl=30`. By hand, since each hit has one.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"pointsman");
        self.write_parameters(out);
    }

    #[inline]
    fn write_parameters(&self, out: &mut Vec<u8>) {
        match self.outcome {
            StatusOutcome::Hit => out.extend_from_slice(b"; hit"),
            StatusOutcome::Forwarded { why, status, stored, collapsed } => {
                out.extend_from_slice(b"; fwd=");
                out.extend_from_slice(why.name().as_bytes());
                if let Some(status) = status {
                    out.extend_from_slice(b"; fwd-status=");
                    write_number(status.into(), out);
                }
                out.extend_from_slice(if stored { b"; stored" } else { b"" });
                out.extend_from_slice(if collapsed { b"; collapsed" } else { b"" });
            }
        }
        if let Some(ttl) = self.ttl {
            out.extend_from_slice(if ttl < 0 { b"; ttl=-" } else { b"; ttl=" });
            // RFC 8941 §3.3.1: an integer has at most fifteen digits.
            write_number(ttl.unsigned_abs().min(999_999_999_999_999), out);
        }
        if let Some(key) = &self.key {
            write_string("key", key, out);
        }
        if let Some(detail) = self.detail {
            out.extend_from_slice(b"; detail=");
            out.extend_from_slice(detail.as_bytes());
        }
    }
}

/// Writes a parameter that is a string (RFC 8941 §3.3.3), which has printable ASCII only.
fn write_string(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"; ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    for sign in value.chars() {
        match u8::try_from(sign) {
            Ok(byte @ (b'"' | b'\\')) => out.extend_from_slice(&[b'\\', byte]),
            Ok(byte @ b' '..=b'~') => out.push(byte),
            Ok(_) | Err(_) => out.push(b'?'),
        }
    }
    out.push(b'"');
}

/// The member as text.
impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut member = Vec::new();
        self.write(&mut member);
        f.write_str(&String::from_utf8_lossy(&member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_say_what_is_left() {
        assert_eq!(CacheStatus::hit(376).to_string(), "pointsman; hit; ttl=376");
        assert_eq!(CacheStatus::hit(-412).to_string(), "pointsman; hit; ttl=-412");
        assert_eq!(CacheStatus::hit(i64::MIN).to_string(), "pointsman; hit; ttl=-999999999999999");
    }

    #[test]
    fn forwarded_requests_say_why_and_what_followed() {
        let outcome =
            StatusOutcome::Forwarded { why: Forward::UriMiss, status: None, stored: true, collapsed: true };
        let status = CacheStatus { outcome, ttl: Some(60), key: None, detail: None };
        assert_eq!(status.to_string(), "pointsman; fwd=uri-miss; stored; collapsed; ttl=60");
        let outcome = StatusOutcome::Forwarded {
            why: Forward::Stale,
            status: Some(304),
            stored: false,
            collapsed: false,
        };
        let status = CacheStatus { outcome, ttl: None, key: None, detail: Some("no-store") };
        assert_eq!(status.to_string(), "pointsman; fwd=stale; fwd-status=304; detail=no-store");
        for (why, name) in [
            (Forward::Bypass, "bypass"),
            (Forward::Method, "method"),
            (Forward::VaryMiss, "vary-miss"),
            (Forward::Request, "request"),
            (Forward::Partial, "partial"),
        ] {
            assert_eq!(CacheStatus::forwarded(why).to_string(), format!("pointsman; fwd={name}"));
        }
    }

    #[test]
    fn a_key_is_a_string_whatever_is_in_it() {
        let status = CacheStatus { key: Some("a\"\\é\nb".into()), ..CacheStatus::hit(1) };
        assert_eq!(status.to_string(), "pointsman; hit; ttl=1; key=\"a\\\"\\\\??b\"");
        let members = crate::cache::structured_fields::parse([status.to_string().as_bytes()].into_iter());
        assert!(members.is_some());
    }

    #[test]
    fn node_among_several_has_a_name_of_its_own() {
        let mut fields = Fields::default();
        CacheStatus::hit(3).add_of_node("node 2;é", &mut fields);
        let value = fields.all("cache-status").next().unwrap();
        assert_eq!(String::from_utf8_lossy(value), "pointsman-node_2___; hit; ttl=3");
    }

    #[test]
    fn the_member_comes_behind_those_of_other_caches() {
        let mut fields = Fields::default();
        fields.push("Cache-Status", b"Origin; hit");
        CacheStatus::hit(1).add_to(&mut fields);
        let values: Vec<_> = fields.all("cache-status").collect();
        assert_eq!(values, [&b"Origin; hit"[..], b"pointsman; hit; ttl=1"]);
    }
}
