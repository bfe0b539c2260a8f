//! `POST /api/v1/caches/{cache}/purge`: what is stored of a URL, a prefix, a tag or everything is taken out, or with
//! `soft` made stale.
//!
//! Next stop: [`Cache::purge`], on a thread beside the loop, since it may look at everything that is stored. A URL is
//! read as the request path reads one (`http::normalize`), so that whatever spelling a client may use is the one that
//! its responses are stored under.

use std::{rc::Rc, time::Instant};

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    Admin, Params,
    params::{Checked, unprocessable},
    reply::{self, Reply, error},
    spec::{Body, LOCAL, ResponseSpec, Spec, count, object},
};
use crate::{
    cache::{
        date::Date,
        key::{Key, KeySettings, QueryKey},
        purge::{Kind, Rule},
        store::Cache,
    },
    config::listen::{PathsConf, Underscores},
    exchange::{Exchange, Peer, TlsFacts},
    fields::Fields,
    h1::Version,
    http::normalize::normalize,
    schema::suggest,
    telemetry::clock,
};

/// What it takes and gives.
pub(super) const ABOUT: Spec = Spec {
    body: Body::Json(schema),
    gives: &[ResponseSpec::json("how many stored responses were purged", || {
        object(json!({"purged": count()}))
    })],
    errors: &[404, 422],
    is_change: true,
    is_shared: true,
    parameters: &[LOCAL],
};

fn schema() -> Value {
    let text = |what: &str| json!({"type": "string", "minLength": 1, "description": what});
    let one_of: Vec<Value> = Kind::ALL.iter().map(|kind| json!({"required": [kind.name()]})).collect();
    json!({
        "type": "object",
        "properties": {
            "url": text("every response of this URL: http://HOST/PATH?QUERY"),
            "prefix": text("every response whose URL begins with this, at least http://HOST"),
            "tag": text("every response with this tag in the header field named by `purge_header`"),
            "all": {"const": true, "description": "everything"},
            "soft": {
                "type": "boolean", "default": false,
                "description": "make responses stale instead of removing them: the backend is asked whether they are still valid",
            },
        },
        "additionalProperties": false,
        "oneOf": one_of,
        "examples": [{"url": "http://example.com/news?page=2"}, {"tag": "product-17", "soft": true}],
    })
}

pub(super) fn post(admin: &Admin, question: &Params) -> Reply {
    let name = question.parameter(0);
    let snapshot = admin.shared.snapshot.load();
    let Some(cache) = snapshot.caches.iter().find(|cache| cache.conf.name == name) else {
        let hint = suggest::did_you_mean(name, snapshot.caches.iter().map(|cache| cache.conf.name.as_str()));
        let message = format!("there is no cache `{name}`");
        return error(StatusCode::NOT_FOUND, "no_such_cache", &message, &hint);
    };
    match wanted(question, &cache.key) {
        Ok(wanted) => reply::json(StatusCode::OK, &json!({"purged": purge(cache, &wanted)})),
        Err(refusal) => *refusal,
    }
}

/// What is to be purged.
#[derive(Debug, PartialEq)]
struct Wanted {
    rule: Rule,
    is_soft: bool,
}

fn purge(cache: &Cache, wanted: &Wanted) -> u64 {
    let begun = Instant::now();
    let Wanted { rule, is_soft } = wanted;
    let purged = cache.purge(rule, *is_soft, Date(clock::unix_millis() / 1000));
    cache.store.purges.add(rule.kind(), purged);
    let what = match rule {
        Rule::All => "everything".to_owned(),
        Rule::Uri(key) => shown(key.text()),
        Rule::Prefix(text) => shown(text),
        Rule::Tag(tag) => shown(tag),
    };
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (name, kind) = (cache.conf.name.as_str(), rule.kind().name());
    tracing::info!(cache = name, kind, what, soft = is_soft, purged, took_ms, "purged");
    purged
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).escape_debug().to_string()
}

/// What the body asks for.
fn wanted(question: &Params, settings: &KeySettings) -> Checked<Wanted> {
    let body = question.object(&["url", "prefix", "tag", "all", "soft"])?;
    let given: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| body.contains_key(kind.name())).collect();
    let [kind] = given.as_slice() else {
        let message = match given.is_empty() {
            true => "the body does not say what to purge",
            false => "the body names more than one thing to purge",
        };
        return Err(refused(message, "send one of `url`, `prefix`, `tag` and `\"all\": true`"));
    };
    let is_soft = match body.get("soft") {
        None => false,
        Some(Value::Bool(is_soft)) => *is_soft,
        Some(other) => {
            let message = format!("`soft` must be true or false, not {other}");
            return Err(refused(&message, "leave it out to remove what is stored"));
        }
    };
    let rule = match kind {
        Kind::All if body.get("all") == Some(&Value::Bool(true)) => Rule::All,
        Kind::All => {
            return Err(refused("`all` can only be true", "name a `url`, a `prefix` or a `tag` instead"));
        }
        Kind::Url => Rule::Uri(url("url", text(&body, "url")?, settings)?),
        Kind::Prefix => Rule::Prefix(prefix(text(&body, "prefix")?, settings)?),
        Kind::Tag => Rule::Tag(tag(text(&body, "tag")?)?),
    };
    Ok(Wanted { rule, is_soft })
}

fn refused(message: &str, hint: &str) -> Box<Reply> {
    Box::new(unprocessable("bad_purge", message, hint))
}

fn text<'b>(body: &'b Map<String, Value>, key: &str) -> Checked<&'b str> {
    let given = body.get(key).unwrap_or(&Value::Null);
    match given.as_str() {
        Some("") => Err(refused(&format!("`{key}` is empty"), "`\"all\": true` purges everything")),
        Some(text) => Ok(text),
        None => Err(refused(&format!("`{key}` must be a string, not {given}"), "write it in quotes")),
    }
}

fn tag(text: &str) -> Checked<Vec<u8>> {
    let is_broken = |sign: char| sign == ',' || sign.is_ascii_whitespace() || sign.is_control();
    if text.contains(is_broken) {
        let message = format!("`{}` is not one tag", text.escape_debug());
        return Err(refused(&message, "spaces and commas separate tags; send one request per tag"));
    }
    Ok(text.as_bytes().to_vec())
}

/// The key of a URL, without the fields that a cache may have in its keys. `name` is what the URL came as.
fn url(name: &str, text: &str, settings: &KeySettings) -> Checked<Key> {
    let (scheme, exchange) = read(name, text)?;
    let port = exchange.authority.get(exchange.host.len()..).and_then(|rest| rest.strip_prefix(':'));
    let port = port.and_then(|port| port.parse().ok());
    let target = exchange.request.target.as_str();
    let key = Key::of(scheme, &exchange.host, port, target, &Fields::default(), settings);
    Ok(key.of_its_uri())
}

/// The beginning of keys.
fn prefix(text: &str, settings: &KeySettings) -> Checked<Vec<u8>> {
    let path = text.split('?').next().unwrap_or_default();
    if path.ends_with("/.") || path.ends_with("/..") {
        let message = format!("`{}` ends in the middle of a name, or in a dot segment", text.escape_debug());
        return Err(refused(&message, "remove the dots, or add the next character of the name"));
    }
    let has_whole_query = settings.query == QueryKey::All && !settings.sorted;
    if text.contains('?') && !has_whole_query {
        let message = "this cache's keys do not contain the query as it was sent, so a prefix cannot \
            include it";
        return Err(refused(message, "end the prefix before the `?`, or purge by `url`"));
    }
    Ok(url("prefix", text, settings)?.uri().to_vec())
}

/// A URL as the request path reads it: its scheme, and what a request for it would be.
fn read(name: &str, text: &str) -> Checked<(&'static str, Exchange)> {
    let hint = "write the whole URL: http://example.com/path?query";
    let bad = |why: &str| refused(&format!("`{name}` cannot be `{}`: {why}", text.escape_debug()), hint);
    let scheme = ["http", "https"].into_iter().find(|scheme| {
        let (own, rest) = text.split_at_checked(scheme.len()).unwrap_or_default();
        own.eq_ignore_ascii_case(scheme) && rest.starts_with("://")
    });
    let scheme = scheme.ok_or_else(|| bad("it does not begin with http:// or https://"))?;
    if text.contains('#') {
        return Err(bad("a fragment is never sent"));
    }
    if text.chars().any(|sign| sign.is_control() || sign == ' ') {
        return Err(bad("it contains spaces or control characters"));
    }
    let tls = (scheme == "https").then(Box::<TlsFacts>::default);
    let peer = Rc::new(Peer { tls, ..Peer::default() });
    let mut exchange = Exchange::default();
    exchange.facts.peer = peer;
    // Without a Host field beside the target.
    exchange.request.version = Version::Http10;
    exchange.request.target = escaped(text);
    match normalize(&mut exchange, Underscores::Drop, None, &PathsConf::default()) {
        Ok(_) if exchange.host.is_empty() => Err(bad("it has no host")),
        Ok(_) => Ok((scheme, exchange)),
        Err(error) => Err(bad(&error.to_string())),
    }
}

/// What a browser sends for text beyond ASCII (RFC 3986 §2.5).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii() {
            true => escaped.push(char::from(byte)),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &str, settings: &KeySettings) -> Result<Wanted, String> {
        let question = Params { body: body.to_owned().into(), ..Params::default() };
        wanted(&question, settings).map_err(|reply| {
            assert!([400, 422].contains(&reply.status().as_u16()), "{body}");
            format!("{:?}", reply.body())
        })
    }

    fn rule(body: &str, settings: &KeySettings) -> String {
        match ask(body, settings).unwrap().rule {
            Rule::All => "all".to_owned(),
            Rule::Uri(key) => format!("url {}", String::from_utf8_lossy(key.text())),
            Rule::Prefix(text) => format!("prefix {}", String::from_utf8_lossy(&text)),
            Rule::Tag(tag) => format!("tag {}", String::from_utf8_lossy(&tag)),
        }
    }

    #[test]
    fn what_is_named_gets_the_spelling_of_the_keys() {
        let plain = KeySettings::default();
        for (body, expected) in [
            ("{\"all\": true}", "all"),
            ("{\"tag\": \"größe:1\"}", "tag größe:1"),
            ("{\"url\": \"HTTP://A.Example:80\"}", "url http://a.example/"),
            ("{\"url\": \"https://a.example:443/%7ea/../b%c3?x=%41\"}", "url https://a.example/b%C3?x=A"),
            ("{\"url\": \"https://a.example:80/?\"}", "url https://a.example:80/?"),
            ("{\"url\": \"http://a.example/größe\"}", "url http://a.example/gr%C3%B6%C3%9Fe"),
            ("{\"url\": \"http://[::1]:8080/a\"}", "url http://[::1]:8080/a"),
            ("{\"prefix\": \"http://a.example\"}", "prefix http://a.example/"),
            ("{\"prefix\": \"http://a.example/b/c\"}", "prefix http://a.example/b/c"),
            ("{\"prefix\": \"http://a.example/b?c=%41\"}", "prefix http://a.example/b?c=A"),
        ] {
            assert_eq!(rule(body, &plain), expected, "{body}");
        }
        let names = KeySettings {
            query: QueryKey::Names(vec!["b".into(), "a".into()]),
            sorted: true,
            headers: vec!["x-tenant".into()],
        };
        assert_eq!(rule("{\"url\": \"http://a/p?b=1&c=2&a=3\"}", &names), "url http://a/p?a=3&b=1");
        assert_eq!(rule("{\"prefix\": \"http://a/p\"}", &names), "prefix http://a/p");
        assert!(ask("{\"prefix\": \"http://a/p?a\"}", &names).unwrap_err().contains("cannot include it"));
        assert!(ask("{\"all\": true, \"soft\": true}", &plain).unwrap().is_soft);
        assert!(!ask("{\"all\": true, \"soft\": false}", &plain).unwrap().is_soft);
    }

    #[test]
    fn a_purge_without_a_known_target_is_refused() {
        for (body, why) in [
            ("{}", "does not say what"),
            ("{\"soft\": true}", "does not say what"),
            ("{\"url\": \"http://a/\", \"all\": true}", "more than one"),
            ("{\"tag\": \"a\", \"prefix\": \"http://a/\"}", "more than one"),
            ("{\"all\": false}", "can only be true"),
            ("{\"all\": 1}", "can only be true"),
            ("{\"all\": true, \"soft\": 1}", "`soft` must be"),
            ("{\"all\": true, \"hard\": true}", "unknown key"),
            ("{\"tag\": \"\"}", "`tag` is empty"),
            ("{\"tag\": 17}", "must be a string"),
            ("{\"tag\": \"a b\"}", "not one tag"),
            ("{\"tag\": \"a,b\"}", "not one tag"),
            ("{\"url\": null}", "must be a string"),
            ("{\"url\": \"/path\"}", "does not begin with http"),
            ("{\"url\": \"a.example/path\"}", "does not begin with http"),
            ("{\"url\": \"httpö://a/\"}", "does not begin with http"),
            ("{\"url\": \"ftp://a/\"}", "does not begin with http"),
            ("{\"url\": \"http://\"}", "no host"),
            ("{\"url\": \"http:///path\"}", "no host"),
            ("{\"url\": \"http://user@a/\"}", "Host is invalid"),
            ("{\"url\": \"http://a:port/\"}", "port"),
            ("{\"url\": \"http://a/b c\"}", "spaces"),
            ("{\"url\": \"http://a/#b\"}", "fragment"),
            ("{\"url\": \"http://a/%4\"}", "percent sign"),
            ("{\"url\": \"http://a/../b\"}", "above the root"),
            ("{\"prefix\": \"http://\"}", "no host"),
            ("{\"prefix\": \"http:\"}", "`prefix` cannot be `http:`"),
            ("{\"url\": \"http:\"}", "`url` cannot be `http:`"),
            ("{\"prefix\": \"http://a/b/.\"}", "dot segment"),
            ("{\"prefix\": \"\"}", "`prefix` is empty"),
            ("[]", "must be a JSON object"),
        ] {
            let problem = ask(body, &KeySettings::default()).unwrap_err();
            assert!(problem.contains(why), "{body}: {problem}");
        }
    }
}
