//! Names that people give: they are in metrics, the log, and the admin API's paths.

use std::collections::HashMap;

use super::{Entry, Place, Reader, Table};

/// Reports a name that could not be in a path or a metric.
pub fn check(table: &mut Table<'_, '_, '_>) {
    let Some(entry) = table.entry("name") else {
        return;
    };
    let Some(name) = entry.node.text() else {
        return;
    };
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if name.is_empty() || !name.chars().all(allowed) {
        table.reader.problem_with(
            entry.node.place,
            format!("`{name}` is not a valid name"),
            "use letters, digits, `-`, `_`, `.` and `:`",
        );
    }
}

/// Reports keys that cannot be names of header fields, and values that cannot be in them.
pub fn check_header_fields(entries: &[Entry], reader: &mut Reader<'_>) {
    for entry in entries {
        if http::HeaderName::from_bytes(entry.key.as_bytes()).is_err() {
            let message = format!("`{}` is not a header name", entry.key);
            reader.problem_with(entry.place, message, HEADER_HINT);
        }
        let Some(text) = entry.node.text() else {
            continue;
        };
        if http::HeaderValue::from_str(text).is_err() {
            reader.problem_with(
                entry.node.place,
                format!("the value of `{}` is not allowed in a header", entry.key),
                "header values cannot contain control characters or line breaks",
            );
        }
    }
}

/// Reports names of header fields that differ only in case, of which one would silently win.
pub fn check_spellings(entries: &[Entry], reader: &mut Reader<'_>) {
    let mut seen: HashMap<String, Place> = HashMap::new();
    for entry in entries {
        let first = *seen.entry(entry.key.to_ascii_lowercase()).or_insert(entry.place);
        if first != entry.place {
            let line = reader.source().line_seen_from(first.start, entry.place.start);
            let message = format!("the header `{}` is already in this table on {line}", entry.key);
            let hint = "upper and lower case are the same in header names; remove one";
            reader.problem_with(entry.place, message, hint);
        }
    }
}

/// What a header name is made of.
pub const HEADER_HINT: &str = "use letters, digits and `-`";

/// Whether `text` is a token of RFC 9110 §5.6.2: what names of headers, cookies and methods are.
pub fn is_token(text: &str) -> bool {
    let special = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
}
