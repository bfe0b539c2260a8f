//! The file of refused writes: what the origin will not have, for people to look at.
//!
//! Previous stop: [`super::writer`]. A line of JSON per write, whole, synced before the journal lets go of it. The
//! file is ours to add to and theirs to take away: it is opened anew each time.

use std::io;

use serde_json::{Value, json};

use super::{entry::Entry, segment::Folder};

/// Its name in the journal's folder.
pub(super) const NAME: &str = "refused";

/// Adds a write to the file. Beyond `limit` bytes body and fields are left out, and an eighth beyond it nothing is added
/// any more: a file that nobody takes away must not fill the disk. After an error `is_torn` says whether a part of the line may be left, behind which the next begins anew.
pub(super) fn add(
    folder: &Folder,
    entry: &Entry,
    why: &str,
    limit: u64,
    is_torn: &mut bool,
) -> io::Result<()> {
    let directory = folder.directory();
    let mut file = directory.open(NAME)?;
    let length = file.length()?;
    let is_whole = length.saturating_add(entry.write.cost()) <= limit;
    if !is_whole {
        tracing::error!(
            id = entry.id.0,
            bytes = entry.write.body.len(),
            request_target = shortened(&entry.write.target),
            "{} is full: a refused write is not kept whole; move the file away",
            directory.path().join(NAME).display()
        );
    }
    if length > limit.saturating_add(limit / 8) {
        return Ok(());
    }
    // A crash may have cut the last line short.
    *is_torn |= file.last()?.is_some_and(|last| last != b'\n');
    let line = format!("{}{}\n", if *is_torn { "\n" } else { "" }, line(entry, why, is_whole));
    let added = file.append(line.as_bytes()).and_then(|()| file.sync());
    // Each time: whoever made the file may have failed to sync its name.
    let added = added.and_then(|()| directory.sync());
    *is_torn = added.is_err() && (*is_torn || file.cut(length).is_err());
    added
}

fn line(entry: &Entry, why: &str, is_whole: bool) -> Value {
    let write = &entry.write;
    if !is_whole {
        return json!({
            "id": entry.id.0,
            "why": shortened(why),
            "accepted": write.accepted,
            "method": shortened(&write.method),
            "target": shortened(&write.target),
            "body": Value::Null,
        });
    }
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
        "body": text(&write.body),
    })
}

/// The beginning of a text that a client chose.
fn shortened(text: &str) -> String {
    text.chars().take(256).collect()
}

/// Text where it is text; else `{"hex": "…"}`, so that nothing is lost.
fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}
