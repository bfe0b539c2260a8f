//! The Markdown reference from the rows.

use std::fmt::Write;

use super::{Row, Section, json_schema::paragraph};

/// Every table below section `S`, with every option, under `## [table]` headings.
pub fn tables<S: Section>() -> String {
    let mut text = String::new();
    for row in S::rows() {
        write_row(&mut text, "", &row);
    }
    text
}

fn write_row(out: &mut String, parent: &str, row: &Row) {
    let path = format!("{parent}{}", row.key.name);
    if row.later && parent.is_empty() {
        let _infallible = write!(
            out,
            "## `{path}`\n\n{} Not implemented in this version: writing it is an error.\n\n",
            paragraph(row.doc)
        );
    }
    let Some(nested) = row.nested.as_ref().filter(|_| !row.later) else {
        return;
    };
    let header = if nested.repeated { format!("[[{path}]]") } else { format!("[{path}]") };
    let _infallible = write!(
        out,
        "## `{header}`\n\n{}\n\n| key | type | default | range | meaning |\n|---|---|---|---|---|\n",
        paragraph(nested.doc)
    );
    for inner in &nested.rows {
        out.push_str(&line(inner));
    }
    out.push('\n');
    for inner in &nested.rows {
        write_row(out, &format!("{path}."), inner);
    }
}

fn line(row: &Row) -> String {
    let default = match row.key.default {
        Some(default) => format!("`{default}`"),
        None if row.required => "required".to_owned(),
        None => "–".to_owned(),
    };
    let range = row.key.range;
    let range = range.map_or(String::new(), |(least, most)| format!("`{least}` to `{most}`"));
    let later = if row.later { "*Not implemented in this version.* " } else { "" };
    let mut doc = paragraph(row.doc);
    if let Some(words) = words(&row.schema) {
        doc = format!("{doc}<br>{words}");
    }
    let doc = doc.replace('|', "\\|");
    let kind = &row.kind;
    format!("| `{}` | {kind} | {default} | {range} | {later}{doc} |\n", row.key.name)
}

/// What each word of a choice means, where the option is one or an array of them.
fn words(schema: &serde_json::Value) -> Option<String> {
    let choice = schema.get("items").unwrap_or(schema);
    choice.get("enum")?;
    let about = choice.get("description")?.as_str()?;
    Some(about.replace('\n', "<br>"))
}
