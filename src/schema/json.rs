//! JSON as a tree of values, so that what the admin API takes goes through the same rows as the file.
//!
//! Nothing in it has a place; problems are given by their message and hint.

use std::path::Path;

use serde_json::Value as Json;

use super::{Data, Entry, Node, Place, Problems, Reader, Source, Value};

/// Reads `json` as the value of the option `key`. Relative paths start from the folder of `file`.
pub fn read<T: Value>(json: &Json, key: &str, file: &Path) -> Result<T, Problems> {
    let source = Source::new("", file);
    let mut reader = Reader::new(&source);
    let value = reader.read_as::<T>(key, &node(json));
    match value {
        Some(value) if !reader.has_problems() => Ok(value),
        _ => Err(reader.into_problems()),
    }
}

fn node(json: &Json) -> Node {
    let data = match json {
        // No option takes it; as a string it would be taken for a value.
        Json::Null => Data::Datetime,
        Json::Bool(yes) => Data::Boolean(*yes),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Data::Integer(number.into()),
            None => match number.as_f64().unwrap_or(f64::NAN) {
                // JSON has one kind of number: 3.0 is the integer 3.
                whole if whole.fract() == 0.0 && whole.abs() < 9e15 => {
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "without a fraction, and in the range"
                    )]
                    let whole = whole as i64;
                    Data::Integer(whole.into())
                }
                other => Data::Float(other),
            },
        },
        Json::String(text) => Data::String(text.clone()),
        Json::Array(items) => Data::Array(items.iter().map(node).collect()),
        Json::Object(entries) => {
            let entry = |(key, value): (&String, &Json)| Entry {
                key: key.clone(),
                place: Place::default(),
                node: node(value),
            };
            Data::Table(entries.iter().map(entry).collect())
        }
    };
    Node { place: Place::default(), data }
}
