//! What decides in the place of what responses say, as configured.

use std::time::Duration;

use serde_json::json;

use crate::schema::{Data, Node, Reader, Value, choice, status::Statuses};

choice! {
    /// A field of responses that is not looked at.
    pub enum Ignored {
        /// `Cache-Control`, `CDN-Cache-Control` and the like. Private responses are then stored, too.
        CacheControl = "cache-control",
        /// `Expires`.
        Expires = "expires",
    }
}

/// How long responses that say nothing are fresh, by status; single ones before classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TtlConf(pub Vec<(Statuses, Duration)>);

impl Value for TtlConf {
    fn kind() -> String {
        "a table of durations by status: `404`, or `5xx` for all that begin with 5".into()
    }

    fn schema() -> serde_json::Value {
        json!({
            "type": "object",
            "patternProperties": {"^[2-5]([0-9][0-9]|xx)$": {"type": "string"}},
            "additionalProperties": false,
        })
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Data::Table(entries) = &node.data else {
            reader.wrong_type(node, "a table, such as `{ 404 = \"1m\", 301 = \"1h\" }`");
            return None;
        };
        let mut all = Vec::new();
        for entry in entries {
            let statuses = Statuses::parse(&entry.key).filter(|it| it.class() >= 2);
            let Some(statuses) = statuses else {
                let message = format!("`{}` is not a status that can be cached", entry.key);
                reader.problem_with(
                    entry.place,
                    message,
                    "write a status such as `404`, or a class such as `5xx`",
                );
                continue;
            };
            let Some(duration) = Duration::read(&entry.node, reader) else { continue };
            if duration.subsec_nanos() != 0 {
                let hint = "write at least \"1s\", or \"0s\" to store none: freshness is counted in seconds (RFC 9111 §1.2.2)";
                reader.problem_with(entry.node.place, "it must be whole seconds", hint);
            }
            all.push((statuses, duration));
        }
        all.sort_by_key(|(statuses, _)| statuses.is_class());
        Some(Self(all))
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}
