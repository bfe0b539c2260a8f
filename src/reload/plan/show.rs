//! A plan for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Certificate, Happening, Plan, Step};
use crate::runtime::overrides::Line;

impl Plan {
    /// Lines with `+`, `-` and `~` before what comes, goes and changes.
    pub fn to_text(&self) -> String {
        text(&self.to_json())
    }

    /// The form in which the admin API gives it.
    pub fn to_json(&self) -> Value {
        let steps = |steps: &[Step]| steps.iter().map(step_json).collect::<Value>();
        let lines = |lines: &[Line]| lines.iter().map(Line::to_json).collect::<Value>();
        let files: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
        json!({
            "changes": !self.is_empty(),
            "listeners": steps(&self.listeners),
            "routes": steps(&self.routes),
            "upstreams": steps(&self.upstreams),
            "backends": steps(&self.backends),
            "caches": steps(&self.caches),
            "keys": self.keys,
            "next_start": self.next_start,
            "files": files,
            "certificates": self.certificates.iter().map(Certificate::to_json).collect::<Value>(),
            "overrides": {"kept": lines(&self.kept_overrides), "dropped": lines(&self.dropped_overrides)},
        })
    }
}

impl Certificate {
    /// The certificate as answers of the admin API have it.
    pub fn to_json(&self) -> Value {
        let facts = self.facts.as_ref();
        json!({
            "listener": self.listener,
            "chain": self.chain.display().to_string(),
            "names": facts.map_or(&[][..], |it| &it.names),
            "issuer": facts.and_then(|it| it.issuer.as_deref()),
            "not_after": facts.map(|it| it.not_after_text()),
            "days_left": self.days_left,
            "new": self.is_new,
            "warning": self.warning(),
        })
    }
}

impl Happening {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Moved => "moved",
            Self::Kept => "kept",
        }
    }
}

/// Lines of a plan that [`Plan::to_json`] made, here or in a program that runs.
pub fn text(plan: &Value) -> String {
    let mut rows = Vec::new();
    for (kind, kinds) in [
        ("listener", "listeners"),
        ("route", "routes"),
        ("upstream", "upstreams"),
        ("backend", "backends"),
        ("cache", "caches"),
    ] {
        rows.extend(list(plan, kinds).iter().filter_map(|step| row(kind, step)));
    }
    let named = |key: &str, kind: &str, note: &str| {
        let names = list(plan, key).iter().filter_map(Value::as_str);
        names.map(|name| ["~".into(), kind.into(), name.into(), note.into()]).collect::<Vec<Row>>()
    };
    rows.extend(named("keys", "key", ""));
    rows.extend(named("next_start", "key", "only at the next start or upgrade"));
    rows.extend(named("files", "file", "new contents"));
    rows.extend(list(plan, "certificates").iter().filter_map(certificate_row));
    let overrides = plan.get("overrides").unwrap_or(&Value::Null);
    let dropped = list(overrides, "dropped").iter();
    rows.extend(dropped.map(|line| override_row("-", line, "the file changes this key")));
    if plan.get("changes").and_then(Value::as_bool) == Some(false) {
        return format!("nothing would change\n{}", aligned(&rows));
    }
    rows.extend(list(overrides, "kept").iter().map(|line| override_row(" ", line, "stays")));
    aligned(&rows)
}

type Row = [String; 4];

fn text_of<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn joined(value: &Value, key: &str, between: &str) -> String {
    list(value, key).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(between)
}

fn row(kind: &str, step: &Value) -> Option<Row> {
    let is_socket = kind == "listener";
    let (sign, note) = match text_of(step, "change") {
        "kept" => return None,
        "added" => ("+", if is_socket { "opened" } else { "" }.to_owned()),
        "removed" if is_socket => ("-", "closed; open connections run to their end".to_owned()),
        "removed" if kind == "backend" => ("-", "drained".to_owned()),
        "removed" => ("-", String::new()),
        "moved" => ("~", "moved in the order".to_owned()),
        // Also what a newer program calls otherwise.
        _ => ("~", joined(step, "keys", ", ")),
    };
    Some([sign.to_owned(), kind.to_owned(), text_of(step, "name").to_owned(), note])
}

/// A certificate that is new or about to end.
fn certificate_row(certificate: &Value) -> Option<Row> {
    let is_new = certificate.get("new").and_then(Value::as_bool) == Some(true);
    let warning = text_of(certificate, "warning");
    let sign = match (is_new, warning) {
        (false, "") => return None,
        (true, _) => "~",
        (false, _) => "!",
    };
    let until = match text_of(certificate, "not_after") {
        "" => String::new(),
        until => {
            let days = certificate.get("days_left").and_then(Value::as_i64).unwrap_or_default();
            let plural = if days == 1 { "" } else { "s" };
            format!("until {until} ({days} day{plural})")
        }
    };
    let names = joined(certificate, "names", " ");
    let note = [if is_new { "new" } else { "" }, &names, &until, warning];
    let note: Vec<&str> = note.into_iter().filter(|part| !part.is_empty()).collect();
    let name = format!("{} {}", text_of(certificate, "listener"), text_of(certificate, "chain"));
    Some([sign.to_owned(), "certificate".to_owned(), name, note.join(", ")])
}

fn override_row(sign: &str, line: &Value, note: &str) -> Row {
    let plain = |key: &str| match line.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let mut what =
        format!("{}/{}: {}", text_of(line, "upstream"), text_of(line, "backend"), text_of(line, "key"));
    if let (Some(value), Some(base)) = (plain("value"), plain("base")) {
        what += &format!(" {value} instead of {base}");
    }
    [sign.to_owned(), "override".to_owned(), what, note.to_owned()]
}

/// Rows with their second and third columns below each other.
fn aligned(rows: &[Row]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let (kinds, names) = (width(1), width(2));
    let mut text = String::new();
    for [sign, kind, name, note] in rows {
        let line = format!("{sign} {kind:kinds$}  {name:names$}  {note}");
        let _infallible = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn step_json(step: &Step) -> Value {
    json!({"change": step.what.name(), "name": step.name, "keys": step.keys})
}
