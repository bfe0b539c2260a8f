//! JSON Schema (2020-12) from the rows, for editors.

use serde_json::{Map, json};

use super::{Data, Node, Row};

/// The schema of a whole file, which is the table of `doc` and `rows`.
pub fn document(title: &str, doc: &str, rows: &[Row]) -> serde_json::Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
    });
    if let (Some(schema), serde_json::Value::Object(object)) = (schema.as_object_mut(), object(doc, rows)) {
        schema.extend(object);
    }
    schema
}

/// The schema of one table: what it is for, and its options.
pub fn object(doc: &str, rows: &[Row]) -> serde_json::Value {
    let required: Vec<_> = rows.iter().filter(|row| row.required).map(|row| row.key.name).collect();
    let properties: Map<_, _> = rows.iter().map(|row| (row.key.name.to_owned(), property(row))).collect();
    json!({
        "type": "object",
        "description": paragraph(doc),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn property(row: &Row) -> serde_json::Value {
    let default = row.key.default.and_then(json_of);
    if row.later {
        // Only its default is accepted until a version implements it.
        let text = format!("Not implemented in this version. {}", paragraph(row.doc));
        return match default {
            Some(default) => json!({"const": default, "description": text}),
            None => json!({"not": {}, "description": text}),
        };
    }
    let mut schema = row.schema.clone();
    let Some(fields) = schema.as_object_mut() else {
        return schema;
    };
    let mut text = paragraph(row.doc);
    if let Some((least, greatest)) = row.key.range {
        match (json_of(least), json_of(greatest)) {
            (Some(low), Some(high)) if low.is_number() && high.is_number() => {
                fields.insert("minimum".into(), low);
                fields.insert("maximum".into(), high);
            }
            _ => text.push_str(&format!(" From {least} to {greatest}.")),
        }
    }
    if let Some(own) = fields.get("description").and_then(|own| own.as_str()) {
        text = format!("{text}\n{own}");
    }
    fields.insert("description".into(), text.into());
    if let Some(default) = default {
        fields.insert("default".into(), default);
    }
    schema
}

/// A TOML literal as JSON.
fn json_of(literal: &str) -> Option<serde_json::Value> {
    Node::parse_value(literal).map(|node| node_json(&node))
}

fn node_json(node: &Node) -> serde_json::Value {
    match &node.data {
        Data::String(text) => text.as_str().into(),
        Data::Integer(number) => i64::try_from(*number).unwrap_or(i64::MAX).into(),
        Data::Float(number) => (*number).into(),
        Data::Boolean(yes) => (*yes).into(),
        Data::Datetime => serde_json::Value::Null,
        Data::Array(items) => items.iter().map(node_json).collect(),
        Data::Table(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), node_json(&entry.node)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

/// A doc comment as one line.
pub fn paragraph(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}
