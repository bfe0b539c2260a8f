//! Edits of fields as configured.

use super::ReplacesConf;
use crate::schema::{Place, Table, name, section};

section! {
    /// Changes to headers, in this order: remove, replace parts, set, add. Values may contain [placeholders](templates.md). Trailers of names in `remove`, `replace` and `set` go no further, nor do such fields of interim responses (103).
    pub struct HeaderEditConf {
        /// Headers to set, replacing any old values. If the placeholders are all empty, the header is removed.
        pub set: Vec<(String, String)> = {};
        /// Headers to set only if there is none of that name.
        pub set_if_missing: Vec<(String, String)> = {};
        /// Replacements within header values: `{ destination = { pattern = "^https:", with = "http:" } }`. `.` matches every character, and a byte that is not UTF-8 counts as one.
        pub replace: ReplacesConf = {};
        /// Headers to add, keeping existing ones.
        pub add: Vec<(String, String)> = {};
        /// Headers to remove.
        pub remove: Vec<String> = [];
    }
    check Self::check;
}

impl HeaderEditConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        for key in ["set", "set_if_missing", "add"] {
            let entries = table.entries_of(key);
            name::check_header_fields(entries, table.reader);
            for entry in entries {
                refuse_framing(&entry.key, entry.place, table);
            }
        }
        for key in ["set", "set_if_missing"] {
            name::check_spellings(table.entries_of(key), table.reader);
        }
        for entry in table.entries_of("replace") {
            refuse_framing(&entry.key, entry.place, table);
        }
        let items = table.entry("remove").map_or(&[][..], |entry| entry.node.items());
        for item in items {
            let Some(field) = item.text() else { continue };
            if name::is_token(field) {
                refuse_framing(field, item.place, table);
            } else {
                let message = format!("`{field}` is not a header name");
                table.reader.problem_with(item.place, message, name::HEADER_HINT);
            }
        }
        let values = self.set.iter_mut().chain(&mut self.set_if_missing).chain(&mut self.add);
        let fields = values.map(|(field, _)| field);
        for field in fields.chain(&mut self.remove) {
            field.make_ascii_lowercase();
        }
    }
}

/// Reports fields that say how a message is framed: changing them would let requests be smuggled.
fn refuse_framing(field: &str, place: Place, table: &mut Table<'_, '_, '_>) {
    const FRAMING: [&str; 7] =
        ["connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade"];
    let lower = field.to_ascii_lowercase();
    if FRAMING.contains(&lower.as_str()) {
        let hint = match lower.as_str() {
            "host" => "use `rewrite = { host = \"…\" }`",
            _ => "Pointsman sets this header itself",
        };
        table.reader.problem_with(place, format!("`{field}` cannot be edited"), hint);
    }
}
