//! `pointsman purge`: what a running Pointsman's cache is to forget.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use super::{
    Status,
    admin::{Question, Running, counted, segment},
};

/// What of which cache.
#[derive(Debug, Args)]
pub struct Purge {
    /// The cache.
    pub cache: String,
    #[command(flatten)]
    #[doc(hidden)]
    pub what: What,
    /// Mark it as stale instead of removing it: it is revalidated with the backend.
    #[arg(long)]
    pub soft: bool,
    /// Only on this node; otherwise its peers in a cluster do the same.
    #[arg(long)]
    pub local: bool,
    #[command(flatten)]
    #[doc(hidden)]
    pub running: Running,
}

/// One of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct What {
    /// Everything.
    #[arg(long)]
    pub all: bool,
    /// Every response of this URL, such as `http://example.com/news?page=2`.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Every response whose URL begins with this; at least `http://example.com`.
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Every response with this tag, in the field that `purge_header` names.
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
}

/// A large cache takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks for it and prints how much it was.
pub(super) fn purge(purge: &Purge) -> Status {
    let local = if purge.local { "?local=true" } else { "" };
    let path = format!("/api/v1/caches/{}/purge{local}", segment(&purge.cache));
    let body = body(&purge.what, purge.soft).to_string();
    let question = Question::post(&path).with_json(&body).patient(PATIENCE);
    purge.running.print_answer(&question, |answer| text(&purge.cache, answer, purge.soft))
}

fn body(what: &What, is_soft: bool) -> Value {
    let mut body = Map::new();
    for (key, given) in [("url", &what.url), ("prefix", &what.prefix), ("tag", &what.tag)] {
        if let Some(given) = given {
            body.insert(key.to_owned(), given.as_str().into());
        }
    }
    for (key, is_set) in [("all", what.all), ("soft", is_soft)] {
        if is_set {
            body.insert(key.to_owned(), true.into());
        }
    }
    body.into()
}

fn text(cache: &str, answer: &Value, is_soft: bool) -> String {
    let purged = answer.get("purged").and_then(Value::as_u64).unwrap_or_default();
    let responses = counted(usize::try_from(purged).unwrap_or(usize::MAX), "response");
    format!("{cache}: {responses} {}\n", if is_soft { "marked as stale" } else { "removed" })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::cli::{Arguments, Verb};

    fn parse(line: &str) -> Result<Purge, String> {
        let line = format!("pointsman purge {line}");
        match Arguments::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?.verb {
            Verb::Purge(purge) => Ok(purge),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn exactly_one_thing_is_purged() {
        for (line, expected) in [
            ("pages --all", json!({"all": true})),
            ("pages --url http://a/ --soft", json!({"url": "http://a/", "soft": true})),
            ("--prefix http://a pages", json!({"prefix": "http://a"})),
            ("pages --tag product-17 --json", json!({"tag": "product-17"})),
        ] {
            let purge = parse(line).unwrap();
            assert_eq!((purge.cache.as_str(), body(&purge.what, purge.soft)), ("pages", expected), "{line}");
        }
        for line in ["pages", "pages --soft", "--all", "pages --all --tag a", "pages --url a --url b"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_purge_prints_its_count() {
        assert_eq!(text("pages", &json!({"purged": 1}), false), "pages: 1 response removed\n");
        assert_eq!(text("pages", &json!({"purged": 0}), true), "pages: 0 responses marked as stale\n");
    }
}
