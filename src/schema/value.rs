//! What an option can hold: the [`Value`] contract, and plain values.

use std::path::PathBuf;

use serde_json::json;

pub use super::row::Nested;
use super::{Data, Node, Reader};

/// A type that an option can have.
pub trait Value: Sized {
    /// What it is, for messages and the reference: "a duration".
    fn kind() -> String;

    /// Its JSON Schema.
    fn schema() -> serde_json::Value;

    /// The value at `node`, or `None` after problems were reported.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;

    /// What stands for it where it is not written and has no default.
    fn absent() -> Option<Self> {
        None
    }

    /// Its size, where it can have a range.
    fn magnitude(&self) -> Option<f64> {
        None
    }

    /// Its options, where it is a table or an array of tables.
    fn rows() -> Option<Nested> {
        None
    }

    /// Adds to `changed` each key in which `self` and `other` differ; `key` is the value's own, from the
    /// outermost table on.
    fn changed(&self, other: &Self, key: &str, changed: &mut Vec<String>)
    where
        Self: PartialEq,
    {
        if self != other {
            changed.push(key.to_owned());
        }
    }

    /// Adds the files that are read for this value.
    fn files(&self, _files: &mut Vec<PathBuf>) {}
}

impl Value for bool {
    fn kind() -> String {
        "a boolean".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "boolean"})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Data::Boolean(yes) = node.data else {
            reader.wrong_type(node, "`true` or `false`");
            return None;
        };
        Some(yes)
    }
}

impl Value for String {
    fn kind() -> String {
        "a string".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string"})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        reader.text(node, "a string").map(str::to_owned)
    }
}

impl Value for PathBuf {
    fn kind() -> String {
        "a file".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "minLength": 1})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "the name of a file")?;
        if text.is_empty() {
            let message = format!("`{}` is empty", reader.key());
            reader.problem_with(node.place, message, "name a file, or leave the key out");
            return None;
        }
        Some(reader.resolve(node, text))
    }

    fn files(&self, files: &mut Vec<Self>) {
        files.push(self.clone());
    }
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn kind() -> String {
                "an integer".into()
            }

            fn schema() -> serde_json::Value {
                json!({"type": "integer", "minimum": 0, "maximum": Self::MAX})
            }

            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let Data::Integer(number) = node.data else {
                    reader.wrong_type(node, "an integer");
                    return None;
                };
                let value = Self::try_from(number).ok();
                if value.is_none() {
                    let key = reader.key();
                    let most = Self::MAX.to_string();
                    let (least, most) = reader.range.unwrap_or(("0", &most));
                    let message = format!("`{key}` must be from {least} to {most}, not {number}");
                    reader.problem(node.place, message);
                }
                value
            }

            fn magnitude(&self) -> Option<f64> {
                // Bounds are far below 2^53, where every integer has its own f64.
                Some(*self as f64)
            }
        }
    )*};
}

integer!(u8, u16, u32);

impl Value for f64 {
    fn kind() -> String {
        "a number".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "number"})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.data {
            Data::Float(number) => Some(number),
            Data::Integer(number) => Some(number as Self),
            _ => {
                reader.wrong_type(node, "a number");
                None
            }
        }
    }

    fn magnitude(&self) -> Option<f64> {
        Some(*self)
    }
}

impl<T: Value + PartialEq> Value for Option<T> {
    fn kind() -> String {
        T::kind()
    }

    fn schema() -> serde_json::Value {
        T::schema()
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn magnitude(&self) -> Option<f64> {
        self.as_ref().and_then(T::magnitude)
    }

    fn rows() -> Option<Nested> {
        T::rows()
    }

    fn changed(&self, other: &Self, key: &str, changed: &mut Vec<String>) {
        match (self, other) {
            (Some(one), Some(other)) => one.changed(other, key, changed),
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => changed.push(key.to_owned()),
        }
    }

    fn files(&self, files: &mut Vec<PathBuf>) {
        if let Some(value) = self {
            value.files(files);
        }
    }
}

impl<T: Value> Value for Vec<T> {
    fn kind() -> String {
        format!("an array, each {}", T::kind())
    }

    fn schema() -> serde_json::Value {
        json!({"type": "array", "items": T::schema()})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Data::Array(items) = &node.data else {
            if T::rows().is_some() {
                let message = format!("`{}` must be an array of tables, not {}", reader.key(), node.kind());
                let hint = format!("start each with a header in double brackets: `[[{}]]`", reader.title());
                reader.problem_with(node.place, message, hint);
            } else {
                reader.wrong_type(node, "an array");
            }
            return None;
        };
        // What is wrong is left out: the problem is reported already, and the rest is still worth reading.
        Some(items.iter().filter_map(|item| T::read(item, reader)).collect())
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn rows() -> Option<Nested> {
        T::rows().map(|nested| Nested { repeated: true, ..nested })
    }

    fn files(&self, files: &mut Vec<PathBuf>) {
        for value in self {
            value.files(files);
        }
    }
}

/// Names and texts, in the order of the file.
impl Value for Vec<(String, String)> {
    fn kind() -> String {
        "a table of strings".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "object", "additionalProperties": {"type": "string"}})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Data::Table(entries) = &node.data else {
            reader.wrong_type(node, "a table of strings, such as `{ name = \"value\" }`");
            return None;
        };
        let pairs = entries.iter().filter_map(|entry| {
            let Some(text) = entry.node.text() else {
                let message = format!("`{}` must be a string, not {}", entry.key, entry.node.kind());
                reader.problem_with(entry.node.place, message, "put it in quotes");
                return None;
            };
            Some((entry.key.clone(), text.to_owned()))
        });
        Some(pairs.collect())
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

/// Anything at all: for what the contract has and this version has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anything;

impl Value for Anything {
    fn kind() -> String {
        "see the contract".into()
    }

    fn schema() -> serde_json::Value {
        // Nothing is valid until a version implements it.
        json!(false)
    }

    fn read(_node: &Node, _reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self)
    }
}
