//! The file of refused writes: what the origin will not have, for people to look at.
//!
//! Previous stop: [`super::writer`]. A line of JSON per write, whole, synced before the journal lets go of it. The
//! file is ours to add to and theirs to take away: it is opened anew each time.

use std::io;

use serde_json::{Value, json};

use super::{entry::Entry, segment::Folder};

/// Its name in the journal's folder.
pub(super) const NAME: &str = "refused";

/// Adds a write to the file. Beyond `limit` bytes the body is left out: a file that nobody takes away must not fill
/// the disk.
pub(super) fn add(folder: &Folder, entry: &Entry, why: &str, limit: u64) -> io::Result<()> {
    let directory = folder.directory();
    let is_new = !directory.names()?.iter().any(|name| name == NAME);
    let mut file = directory.open(NAME)?;
    let keep_body = file.length()?.saturating_add(entry.write.cost()) <= limit;
    if !keep_body {
        tracing::error!(
            id = entry.id.0,
            bytes = entry.write.body.len(),
            "{} is full: the body of a refused write is not kept; move the file away",
            directory.path().join(NAME).display()
        );
    }
    // A crash may have cut the last line short.
    let torn = if file.last()?.is_none_or(|last| last == b'\n') { "" } else { "\n" };
    let line = format!("{torn}{}\n", line(entry, why, keep_body));
    file.append(line.as_bytes())?;
    file.sync()?;
    if is_new { directory.sync() } else { Ok(()) }
}

fn line(entry: &Entry, why: &str, keep_body: bool) -> Value {
    let write = &entry.write;
    let fields: Vec<Value> =
        write.fields.iter().map(|field| json!([text(field.name), text(field.value)])).collect();
    json!({
        "id": entry.id.0,
        "why": why,
        "accepted": write.accepted,
        "route": write.route,
        "method": write.method,
        "scheme": write.scheme,
        "authority": write.authority,
        "target": write.target,
        "uri": text(&write.uri),
        "idempotency": write.idempotency,
        "fields": fields,
        "body": if keep_body { text(&write.body) } else { Value::Null },
    })
}

/// Text where it is text; else `{"hex": "…"}`, so that nothing is lost.
fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}
