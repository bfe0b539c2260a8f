//! A plan for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Certificate, Happening, Plan, Step};
use crate::runtime::overrides::Line;

impl Plan {
    /// Lines with `+`, `-` and `~` before what comes, goes and changes.
    pub fn to_text(&self) -> String {
        let mut rows = Vec::new();
        let kinds = [
            ("listener", &self.listeners),
            ("route", &self.routes),
            ("upstream", &self.upstreams),
            ("backend", &self.backends),
        ];
        for (kind, steps) in kinds {
            rows.extend(steps.iter().filter_map(|step| row(kind, step)));
        }
        let keys = |note: &str, keys: &[String]| {
            keys.iter().map(|key| ["~".into(), "key".into(), key.clone(), note.into()]).collect::<Vec<_>>()
        };
        rows.extend(keys("", &self.keys));
        rows.extend(keys("only at the next start or upgrade", &self.next_start));
        for file in &self.files {
            rows.push(["~".into(), "file".into(), file.display().to_string(), "new contents".into()]);
        }
        rows.extend(self.certificates.iter().filter_map(certificate_row));
        for line in &self.dropped_overrides {
            rows.push(override_row("-", line, "the file changes it"));
        }
        if self.is_empty() {
            return format!("nothing would change\n{}", aligned(&rows));
        }
        rows.extend(self.kept_overrides.iter().map(|line| override_row(" ", line, "stays")));
        aligned(&rows)
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
            "keys": self.keys,
            "next_start": self.next_start,
            "files": files,
            "certificates": self.certificates.iter().map(Certificate::to_json).collect::<Value>(),
            "overrides": {"kept": lines(&self.kept_overrides), "dropped": lines(&self.dropped_overrides)},
        })
    }
}

impl Certificate {
    /// Its form in answers of the admin API.
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

type Row = [String; 4];

fn row(kind: &str, step: &Step) -> Option<Row> {
    let is_socket = kind == "listener";
    let (sign, note) = match step.what {
        Happening::Kept => return None,
        Happening::Added => ("+", if is_socket { "opened" } else { "" }.to_owned()),
        Happening::Removed if is_socket => ("-", "closed; what is open ends by itself".to_owned()),
        Happening::Removed if kind == "backend" => ("-", "drained".to_owned()),
        Happening::Removed => ("-", String::new()),
        Happening::Changed => ("~", step.keys.join(", ")),
        Happening::Moved => ("~", "another place in the order".to_owned()),
    };
    Some([sign.to_owned(), kind.to_owned(), step.name.clone(), note])
}

/// A certificate that is new or about to end.
fn certificate_row(certificate: &Certificate) -> Option<Row> {
    let warning = certificate.warning();
    let sign = match (certificate.is_new, &warning) {
        (false, None) => return None,
        (true, _) => "~",
        (false, Some(_)) => "!",
    };
    let names = certificate.facts.as_ref().map_or_else(String::new, |facts| facts.names.join(" "));
    let until = certificate.facts.as_ref().map(|facts| {
        let days = certificate.days_left.unwrap_or_default();
        let plural = if days == 1 { "" } else { "s" };
        format!("until {} ({days} day{plural})", facts.not_after_text())
    });
    let note = [certificate.is_new.then(|| "new".to_owned()), Some(names), until, warning];
    let note: Vec<_> = note.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    let name = format!("{} {}", certificate.listener, certificate.chain.display());
    Some([sign.to_owned(), "certificate".to_owned(), name, note.join(", ")])
}

fn override_row(sign: &str, line: &Line, note: &str) -> Row {
    [sign.to_owned(), "override".to_owned(), line.to_string(), note.to_owned()]
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
