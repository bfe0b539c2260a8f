//! What `check`, `schema` and the documentation print.

use std::path::Path;

use serde_json::json;

use super::{
    Config,
    listen::ListenerConf,
    notes,
    shared::{SharedTable, can_be_off},
};
use crate::{
    route::conf::RouteConf,
    schema::{Problems, Section, json_schema, reference::tables},
    upstream::conf::UpstreamConf,
};

/// How `check` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckFormat {
    /// For people.
    Text,
    /// For scripts: `{"ok", "problems": [{"file", "line", "column", "message", "hint", "source", "width"}]}`, and `"notes"` where there is none.
    Json,
}

/// What `check` prints about a configuration of this name, and its exit status: 0 good, 2 problems.
pub fn check_report(name: &Path, loaded: &Result<Config, Problems>, format: CheckFormat) -> (String, u8) {
    let status = if loaded.is_ok() { 0 } else { 2 };
    let text = match (format, loaded) {
        (CheckFormat::Text, Ok(config)) => {
            let notes: String = notes(config).iter().map(|note| format!("note: {note}\n")).collect();
            format!("{}: OK: {}\n{notes}", name.display(), summary(config))
        }
        (CheckFormat::Text, Err(problems)) => {
            let count = counted(problems.0.len(), "problem");
            format!("{problems}\n{count}\n")
        }
        (CheckFormat::Json, loaded) => {
            let report = match loaded {
                Ok(config) => json!({"ok": true, "problems": [], "notes": notes(config)}),
                Err(problems) => json!({"ok": false, "problems": problems.to_json()}),
            };
            format!("{report:#}\n")
        }
    };
    (text, status)
}

/// JSON Schema (2020-12) of the configuration file.
pub fn schema() -> serde_json::Value {
    let mut schema = json_schema::document("Pointsman configuration", Config::DOC, &Config::rows());
    allow_false::<ListenerConf>(&mut schema);
    allow_false::<RouteConf>(&mut schema);
    allow_false::<UpstreamConf>(&mut schema);
    schema
}

/// Lets `false` stand where it takes away what is shared.
fn allow_false<T: SharedTable>(schema: &mut serde_json::Value) {
    let off = T::rows().into_iter().filter(|row| can_be_off(row) && !T::OWN.contains(&row.key.name));
    for row in off {
        let (table, key) = (T::TABLE, row.key.name);
        for place in [
            format!("/properties/{table}/items/properties/{key}"),
            format!("/properties/defaults/properties/{table}/properties/{key}"),
            format!("/properties/policy/items/properties/{key}"),
        ] {
            // A policy has keys of routes alone.
            let is_other = table != RouteConf::TABLE && place.contains("/policy/");
            if let Some(property) = schema.pointer_mut(&place).filter(|_| !is_other) {
                or_false(property);
            }
        }
    }
}

/// Lets `false`, and no `true`, stand in the place of a value. What is said of the value stays where editors look for it.
fn or_false(property: &mut serde_json::Value) {
    let Some(fields) = property.as_object_mut() else { return };
    for (key, or) in [("enum", json!(false)), ("anyOf", json!({"const": false}))] {
        if let Some(serde_json::Value::Array(values)) = fields.get_mut(key) {
            values.push(or);
        }
    }
    if let Some(kind) = fields.get_mut("type") {
        *kind = json!([kind.clone(), "boolean"]);
        fields.insert("not".to_owned(), json!({"const": true}));
    }
}

/// The reference of the configuration file, in Markdown.
pub fn reference() -> String {
    format!("{INTRODUCTION}{}", tables::<Config>().trim_end()) + "\n"
}

fn summary(config: &Config) -> String {
    let backends = config.upstream.iter().map(|upstream| upstream.backend.len());
    [
        counted(config.listener.len(), "listener"),
        counted(config.route.len(), "route"),
        counted(config.upstream.len(), "upstream"),
        counted(backends.sum(), "backend"),
    ]
    .join(", ")
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from the code: `UPDATE_DOCS=1 cargo test reference` writes it. -->

Pointsman reads one TOML file, by default `config/pointsman.toml`, or else `/etc/pointsman/pointsman.toml`.
`pointsman check` lists every mistake in it; commented examples are in `config/`.

- A duration is a number with a unit of `us`, `ms`, `s`, `m`, `h` or `d`: `\"250ms\"`, `\"1h30m\"`.
- A size is a number of bytes, or a number with a unit of `B`, `KiB`, `MiB`, `GiB`, `TiB`, `kB`, `MB`, `GB` or `TB`: `\"64KiB\"`.
- A network is an address with a prefix length, `\"10.0.0.0/8\"`, or a single address.
- Relative paths start from the folder of the file.
- `include = [\"conf.d/*.toml\"]`, at the top of the file, adds [further files](shared.md#files).
- Unknown keys, duplicate names and references to undefined names are errors.

A default of `–` means \"none\", unless the description says otherwise.

";
