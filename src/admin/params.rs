//! What an endpoint is asked: parameters of the path, the query, the body. All of it is checked here against
//! the endpoint's [`Spec`] before the endpoint sees it.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use regex::Regex;
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    reply::{self, Reply, error},
    spec::{Body, Kind, Parameter, Place, Spec},
};

/// What an endpoint is asked.
#[derive(Debug, Default)]
pub struct Params {
    /// What stands for the `{…}` of its path.
    pub parameters: Vec<String>,
    /// The query: names with values, checked.
    pub query: Vec<(String, String)>,
    /// `If-Match`, as sent.
    pub if_match: Option<String>,
    /// The body.
    pub body: Bytes,
    /// Whether all nodes of a cluster make the change.
    pub is_shared: bool,
    /// The place among large bodies that this one takes.
    pub place: Option<OwnedSemaphorePermit>,
}

/// A question, or the refusal of it.
pub type Checked<T> = Result<T, Box<Reply>>;

impl Params {
    /// A parameter of the path by its position.
    pub fn parameter(&self, position: usize) -> &str {
        self.parameters.get(position).map_or("", String::as_str)
    }

    /// A parameter of the query.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Each value of a parameter of the query.
    pub fn all<'q>(&'q self, name: &str) -> impl Iterator<Item = &'q str> {
        self.query.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Whether a flag of the query is set.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    /// A number of the query.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// The body as text.
    pub fn utf8(&self) -> Checked<&str> {
        std::str::from_utf8(&self.body).map_err(|broken| {
            let message = format!("the body is not UTF-8: its byte {} is not", broken.valid_up_to() + 1);
            Box::new(error(StatusCode::BAD_REQUEST, "not_utf8", &message, "TOML and JSON are UTF-8"))
        })
    }

    /// The body as a JSON object that has no other keys than these.
    pub fn object(&self, known: &[&str]) -> Checked<Map<String, Value>> {
        let value: Value =
            serde_json::from_slice(&self.body).map_err(|broken| Box::new(not_json(&broken)))?;
        let keys = known.join("`, `");
        let Value::Object(object) = value else {
            let message = "the body must be a JSON object";
            return Err(Box::new(unprocessable("bad_body", message, &format!("its keys are `{keys}`"))));
        };
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(object),
            Some(key) => {
                let message = format!("unknown key `{key}`");
                Err(Box::new(unprocessable("unknown_key", &message, &format!("it accepts `{keys}`"))))
            }
        }
    }
}

/// 422.
pub fn unprocessable(code: &str, message: &str, hint: &str) -> Reply {
    error(StatusCode::UNPROCESSABLE_ENTITY, code, message, hint)
}

fn not_json(broken: &serde_json::Error) -> Reply {
    let hint = "send an object, such as {\"weight\": 3}";
    let message = format!("the body is not JSON: {broken}");
    let body = json!({"error": {
        "code": "bad_json", "message": message, "hint": hint,
        "line": broken.line(), "column": broken.column(),
    }});
    reply::json(StatusCode::BAD_REQUEST, &body)
}

/// The query's names and values, if they are what `about` says.
pub fn query(about: &Spec, query: &str) -> Checked<Vec<(String, String)>> {
    let bad =
        |message: &str, hint: &str| Err(Box::new(error(StatusCode::BAD_REQUEST, "bad_query", message, hint)));
    let rows = || about.parameters.iter().filter(|row| row.place == Place::Query);
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (form(name), form(value)) else {
            return bad(&format!("`{pair}` is not percent-encoded UTF-8"), "write % as %25");
        };
        let Some(row) = rows().find(|row| row.name == name) else {
            let names: Vec<String> = rows().map(|row| format!("`{}`", row.name)).collect();
            let hint = match names.is_empty() {
                true => "it accepts none".to_owned(),
                false => format!("it accepts {}", names.join(", ")),
            };
            return bad(&format!("unknown query parameter `{name}`"), &hint);
        };
        if !matches!(row.kind, Kind::Many(_)) && pairs.iter().any(|(given, _)| *given == name) {
            return bad(&format!("`{name}` is given twice"), "give it once");
        }
        if let Err(hint) = fits(row.kind, &value) {
            return bad(&format!("`{name}` cannot be `{value}`"), &hint);
        }
        pairs.push((name, value));
    }
    let is_missing = |row: &&Parameter| {
        matches!(row.kind, Kind::Needed(_)) && !pairs.iter().any(|(name, _)| name == row.name)
    };
    match rows().find(is_missing) {
        None => Ok(pairs),
        Some(row) => bad(&format!("the query needs `{}`", row.name), row.what),
    }
}

/// Whether a value is one of these; the error says what it may be.
fn fits(kind: Kind, value: &str) -> Result<(), String> {
    let matches = |pattern: &str| match Regex::new(pattern) {
        Ok(pattern) if pattern.is_match(value) => Ok(()),
        // The patterns are our own; a test compiles all of them.
        Ok(_) | Err(_) => Err(format!("it must match {pattern}")),
    };
    match kind {
        Kind::Flag if ["true", "false"].contains(&value) => Ok(()),
        Kind::Flag => Err("it must be `true` or `false`".to_owned()),
        Kind::Count(least, most) => {
            let is_plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            match value.parse::<u64>() {
                Ok(count) if is_plain && (least..=most).contains(&count) => Ok(()),
                Ok(_) | Err(_) => Err(format!("it must be a number from {least} to {most}")),
            }
        }
        Kind::Text(pattern) | Kind::Needed(pattern) | Kind::Many(pattern) => matches(pattern),
        Kind::Address if value.parse::<IpAddr>().is_ok() => Ok(()),
        Kind::Address => Err("it must be an IP address".to_owned()),
    }
}

/// Whether the body has the media type that `body` says.
pub fn media_type(body: Body, fields: &HeaderMap, bytes: &Bytes) -> Checked<()> {
    let Some(expected) = body.media_type() else {
        if bytes.is_empty() {
            return Ok(());
        }
        let message = "this accepts no body";
        return Err(Box::new(error(StatusCode::BAD_REQUEST, "unexpected_body", message, "leave it out")));
    };
    if bytes.is_empty() {
        return match body {
            Body::TomlOrNothing | Body::None => Ok(()),
            Body::Json(_) | Body::Toml => {
                let (message, hint) = ("the body is empty", format!("it must be {expected}"));
                Err(Box::new(error(StatusCode::BAD_REQUEST, "no_body", message, &hint)))
            }
        };
    }
    let given = fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    let message = match given.is_empty() {
        true => format!("the body must be {expected}, but has no content type"),
        false => format!("the body must be {expected}, not {essence}"),
    };
    let hint = format!("send `Content-Type: {expected}`");
    Err(Box::new(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_content_type", &message, &hint)))
}

/// The name in a pair of a query, with its encoding undone; `None` when it is broken.
pub(super) fn name(pair: &str) -> Option<String> {
    form(pair.split('=').next().unwrap_or_default())
}

/// A name or value of a query with its encoding undone; `None` when it is broken.
fn form(text: &str) -> Option<String> {
    decode(&text.replace('+', " "))
}

/// Text with its percent-encoding undone; `None` when it is broken.
pub fn decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let &[high, low] = digits else { return None };
                u8::try_from(digit(high)? * 16 + digit(low)?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: Spec = Spec {
        parameters: &[
            Parameter { name: "persist", what: "x", place: Place::Query, kind: Kind::Flag },
            Parameter { name: "limit", what: "x", place: Place::Query, kind: Kind::Count(1, 10) },
            Parameter { name: "url", what: "what to ask", place: Place::Query, kind: Kind::Needed("^.+$") },
            Parameter { name: "header", what: "x", place: Place::Query, kind: Kind::Many("^[a-z]+:") },
            Parameter { name: "from", what: "x", place: Place::Query, kind: Kind::Address },
            Parameter { name: "if-match", what: "x", place: Place::Field, kind: Kind::Text("") },
        ],
        ..Spec::PLAIN
    };

    fn refusal(text: &str) -> String {
        let reply = query(&ABOUT, text).unwrap_err();
        assert_eq!(reply.status(), 400);
        format!("{:?}", reply.body())
    }

    #[test]
    fn a_query_is_what_the_rows_say_or_is_refused() {
        let text = "url=%2Fa%20b+c&limit=10&persist=true&header=a:1&header=b:&from=::1&&";
        let question = Params { query: query(&ABOUT, text).unwrap(), ..Params::default() };
        assert_eq!(question.text("url"), Some("/a b c"));
        assert_eq!((question.count("limit"), question.flag("persist")), (Some(10), true));
        assert_eq!(question.all("header").collect::<Vec<_>>(), ["a:1", "b:"]);
        for (bad, why) in [
            ("", "the query needs `url`"),
            ("url=", "cannot be"),
            ("url=/&url=/", "given twice"),
            ("url=/&persist=1", "`true` or `false`"),
            ("url=/&persist", "`true` or `false`"),
            ("url=/&limit=0", "a number from 1 to 10"),
            ("url=/&limit=+5", "a number from 1 to 10"),
            ("url=/&limit=11", "a number from 1 to 10"),
            ("url=/&limit=99999999999999999999", "a number from 1 to 10"),
            ("url=/&header=1", "it must match"),
            ("url=/&from=localhost", "an IP address"),
            ("url=/&if-match=x", "unknown query parameter"),
            ("url=/&persists=true", "unknown query parameter `persists`"),
            ("url=%f", "percent-encoded"),
            ("url=%ff", "percent-encoded"),
        ] {
            assert!(refusal(bad).contains(why), "{bad}: {}", refusal(bad));
        }
        assert!(query(&Spec::PLAIN, "a=1").is_err() && query(&Spec::PLAIN, "").is_ok());
    }

    #[test]
    fn a_body_has_its_media_type() {
        let status = |body: Body, given: &str, bytes: &'static str| {
            let mut fields = HeaderMap::new();
            if !given.is_empty() {
                fields.insert(header::CONTENT_TYPE, given.parse().unwrap());
            }
            media_type(body, &fields, &Bytes::from(bytes))
                .map_or_else(|reply| reply.status().as_u16(), |()| 0)
        };
        let json = Body::Json(super::super::spec::text);
        assert_eq!(status(json, "application/json", "{}"), 0);
        assert_eq!(status(json, "Application/JSON; charset=utf-8", "{}"), 0);
        for wrong in ["", "text/plain", "application/jsonx", "application/x-www-form-urlencoded"] {
            assert_eq!(status(json, wrong, "{}"), 415, "{wrong}");
        }
        assert_eq!(status(json, "application/json", ""), 400);
        assert_eq!((status(Body::Toml, "", ""), status(Body::TomlOrNothing, "", "")), (400, 0));
        assert_eq!(status(Body::TomlOrNothing, "application/toml", "a=1"), 0);
        assert_eq!((status(Body::None, "", ""), status(Body::None, "", "x")), (0, 400));
    }

    #[test]
    fn broken_json_is_reported_with_its_place() {
        let ask = |body: &'static str| {
            let question = Params { body: body.into(), ..Params::default() };
            question
                .object(&["weight", "state"])
                .map_err(|reply| (reply.status().as_u16(), format!("{:?}", reply.body())))
        };
        assert_eq!(ask("{\"weight\": 3}").unwrap()["weight"], 3);
        let (status, text) = ask("{\n  \"weight\": }").unwrap_err();
        assert!(status == 400 && text.contains("line 2 column 13"), "{text}");
        let (status, text) = ask("{\"wieght\": 3}").unwrap_err();
        assert!(status == 422 && text.contains("unknown key `wieght`"), "{text}");
        assert_eq!(ask("[]").unwrap_err().0, 422);
        assert_eq!(ask("{} x").unwrap_err().0, 400);
    }

    #[test]
    fn a_segment_is_decoded_and_a_broken_one_is_nobodys() {
        assert_eq!(decode("a%2Fb+").as_deref(), Some("a/b+"));
        for broken in ["%", "%4", "%zz", "%ff", "%+1"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }
}
