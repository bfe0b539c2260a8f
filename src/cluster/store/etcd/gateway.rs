//! What is said to etcd's JSON gateway, and what it answers: pure.
//!
//! The gateway (`/v3/…`) takes the messages of etcd's gRPC API as JSON: numbers of 64 bits as text, bytes in base64.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::super::campaign::Answer;

/// What one server says of itself beside an answer (`ResponseHeader`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// The server.
    pub(super) member: u64,
    /// Which leader it follows: every election has a number.
    pub(super) term: u64,
    /// How many writes it has seen.
    pub(super) revision: u64,
}

/// An answer that is none of those that are known.
pub(super) const ODD: &str = "the store's answer is not one of etcd";

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

/// A number, which comes as text; what is left out is zero.
fn number(value: Option<&Value>) -> Option<i64> {
    match value {
        None | Some(Value::Null) => Some(0),
        Some(Value::String(text)) => text.parse().ok(),
        Some(other) => other.as_i64(),
    }
}

/// A number that grows from zero.
fn count(value: Option<&Value>) -> u64 {
    match value {
        Some(Value::String(text)) => text.parse().unwrap_or(0),
        other => other.and_then(Value::as_u64).unwrap_or(0),
    }
}

/// A text; what is left out is empty.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What the server that answered says of itself.
pub(super) fn header(answer: &Value) -> Header {
    let of_header = |key| count(answer.pointer(&format!("/header/{key}")));
    Header { member: of_header("member_id"), term: of_header("raft_term"), revision: of_header("revision") }
}

/// Asks for a lease of so many seconds.
pub(super) fn grant(lease: Duration) -> Value {
    json!({"TTL": lease.as_secs().to_string()})
}

/// The lease that was granted; its time is the store's choice.
pub(super) fn granted(answer: &Value) -> Option<Answer> {
    let lease = number(answer.get("ID")).filter(|lease| *lease != 0)?;
    Some(Answer::Granted { lease, ttl: ttl(answer)? })
}

/// The time that a lease lasts; none once it is over.
fn ttl(answer: &Value) -> Option<Duration> {
    let seconds = number(answer.get("TTL")).and_then(|seconds| u64::try_from(seconds).ok())?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Creates the key with a lease where there is none, and gives it where there is.
pub(super) fn acquire(key: &str, node: &str, lease: i64) -> Value {
    let key = base64(key);
    json!({
        "compare": [{"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}],
        "success": [{"request_put": {"key": key, "value": base64(node), "lease": lease.to_string()}}],
        "failure": [{"request_range": {"key": key}}],
    })
}

/// Who has the key now.
pub(super) fn acquired(answer: &Value, node: &str, lease: i64) -> Option<Answer> {
    if is_succeeded(answer) {
        // A key's creation has the number of the write that created it.
        let fence = header(answer).revision;
        return (fence > 0).then(|| Answer::Held { by: node.to_owned(), lease, fence });
    }
    found(answer.pointer("/responses/0/response_range")?)
}

/// Whether what a transaction compares is so.
pub(super) fn is_succeeded(answer: &Value) -> bool {
    answer.get("succeeded") == Some(&Value::Bool(true))
}

/// Asks who has the key.
pub(super) fn look(key: &str) -> Value {
    json!({"key": base64(key)})
}

/// Who has the key.
pub(super) fn found(answer: &Value) -> Option<Answer> {
    let Some(entry) = answer.pointer("/kvs/0") else {
        // An answer without a header is none.
        let is_answer = answer.is_object() && answer.get("kvs").is_none();
        return is_answer.then_some(Answer::Free);
    };
    let value = STANDARD.decode(text(entry, "value")).ok()?;
    Some(Answer::Held {
        by: String::from_utf8_lossy(&value).into_owned(),
        lease: number(entry.get("lease"))?,
        fence: count(entry.get("create_revision")),
    })
}

/// Names a lease, to keep it alive or to end it.
pub(super) fn lease(lease: i64) -> Value {
    json!({"ID": lease.to_string()})
}

/// What a server says of a lease that it was to keep alive: itself, and how long it lasts; none once it is over.
pub(super) fn kept(answer: &Value) -> Option<(Header, Option<Duration>)> {
    let result = answer.get("result")?;
    Some((header(result), ttl(result)))
}

/// Compares whether the key is the one that was created then.
fn is_of(key: &str, fence: u64) -> Value {
    json!({"key": base64(key), "target": "CREATE", "result": "EQUAL", "create_revision": fence.to_string()})
}

/// Asks whether the key is the one that was created then, and goes with the lease; gives it where it is not so. It changes
/// nothing, and is answered by a majority.
pub(super) fn confirm(key: &str, fence: u64, lease: i64) -> Value {
    let goes = json!({"key": base64(key), "target": "LEASE", "result": "EQUAL", "lease": lease.to_string()});
    let look = json!({"request_range": {"key": base64(key)}});
    json!({"compare": [is_of(key, fence), goes], "success": [], "failure": [look]})
}

/// Whether the key is the one that was created then, which is not confirmed: something else wrote to it.
pub(super) fn is_overwritten(answer: &Value, fence: u64) -> bool {
    let found = answer.pointer("/responses/0/response_range").and_then(found);
    matches!(found, Some(Answer::Held { fence: of, .. }) if of == fence)
}

/// Has the key that was created then go with the lease again.
pub(super) fn take_back(key: &str, node: &str, fence: u64, lease: i64) -> Value {
    let put = json!({"request_put": {"key": base64(key), "value": base64(node), "lease": lease.to_string()}});
    json!({"compare": [is_of(key, fence)], "success": [put], "failure": []})
}

/// Asks to be told when the key, as it was at a revision, is removed.
pub(super) fn watch(key: &str, revision: u64) -> Value {
    let after = revision.saturating_add(1).to_string();
    json!({"create_request": {"key": base64(key), "start_revision": after, "filters": ["NOPUT"]}})
}

/// Asks to be told when the key, as it was at a revision, is written or removed.
pub(super) fn watch_all(key: &str, revision: u64) -> Value {
    json!({"create_request": {"key": base64(key), "start_revision": revision.saturating_add(1).to_string()}})
}

/// What is at the key, and the number of the write that it came with; none where there is no such key.
pub(super) fn value(answer: &Value) -> Option<Option<(Vec<u8>, u64)>> {
    match answer.pointer("/kvs/0") {
        None => answer.is_object().then_some(None),
        Some(entry) => {
            let bytes = STANDARD.decode(text(entry, "value")).ok()?;
            Some(Some((bytes, count(entry.get("mod_revision")))))
        }
    }
}

/// What a server says is wrong: its words, and whether it is that there is no such lease, or that the token is old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The lease is over.
    NoLease,
    /// The token is not, or no longer, valid.
    Token,
    /// Anything else.
    Other(String),
}

/// What an answer with another status than 200 means.
pub(super) fn refusal(status: u16, answer: &Value) -> Refusal {
    let text = match text(answer, "message") {
        "" => text(answer, "error"),
        message => message,
    };
    match text {
        _ if text.contains("lease not found") => Refusal::NoLease,
        _ if text.contains("invalid auth token") || text.contains("user name is empty") => Refusal::Token,
        "" => Refusal::Other(format!("the store answers with status {status}")),
        text => Refusal::Other(format!("the store says: {}", text.chars().take(200).collect::<String>())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_was_created_has_the_number_of_its_write() {
        let answer = parsed(
            r#"{"header":{"member_id":"7","revision":"12","raft_term":"3"},"succeeded":true,
            "responses":[{"response_put":{"header":{"revision":"12"}}}]}"#,
        );
        let held = Answer::Held { by: "lb1".into(), lease: 5, fence: 12 };
        assert_eq!(acquired(&answer, "lb1", 5), Some(held));
        assert_eq!(header(&answer), Header { member: 7, term: 3, revision: 12 });
    }

    #[test]
    fn what_another_has_is_held_by_it() {
        let answer = parsed(
            r#"{"header":{"revision":"20"},"responses":[{"response_range":{"header":{},
            "kvs":[{"key":"L2E=","create_revision":"9","mod_revision":"9","version":"1","value":"bGIy","lease":"77"}],
            "count":"1"}}]}"#,
        );
        let held = Answer::Held { by: "lb2".into(), lease: 77, fence: 9 };
        assert_eq!(acquired(&answer, "lb1", 5), Some(held));
    }

    #[test]
    fn answer_that_is_none_is_taken_for_nothing() {
        for odd in ["{}", "[]", "7", r#"{"succeeded":true}"#, r#"{"responses":[]}"#] {
            let answer = parsed(odd);
            assert_eq!(acquired(&answer, "lb1", 5), None, "{odd}");
            assert_eq!((granted(&answer), kept(&answer)), (None, None), "{odd}");
        }
        assert_eq!(found(&parsed(r#"{"header":{"revision":"20"}}"#)), Some(Answer::Free));
        assert_eq!(found(&parsed(r#"{"kvs":[{"value":"no base64"}]}"#)), None);
    }

    #[test]
    fn lease_that_is_over_has_no_time_left() {
        let kept_alive = |text| kept(&parsed(text)).map(|(header, ttl)| (header.term, ttl));
        let alive = kept_alive(r#"{"result":{"header":{"raft_term":"4"},"ID":"5","TTL":"2"}}"#);
        assert_eq!(alive, Some((4, Some(Duration::from_secs(2)))));
        assert_eq!(kept_alive(r#"{"result":{"header":{"raft_term":"4"},"ID":"5"}}"#), Some((4, None)));
        let text = r#"{"error":"etcdserver: requested lease not found","code":5}"#;
        assert_eq!(refusal(404, &parsed(text)), Refusal::NoLease);
        assert_eq!(refusal(401, &parsed(r#"{"error":"etcdserver: invalid auth token"}"#)), Refusal::Token);
        assert_eq!(refusal(500, &Value::Null), Refusal::Other("the store answers with status 500".into()));
    }
}
