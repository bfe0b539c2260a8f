//! Parts of values that are replaced, by regular expressions.

use serde_json::json;

use crate::{
    fields::{Fields, ValueRegex},
    schema::{Data, Node, Reader, Value, name},
};

/// What is replaced in the values of fields, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplacesConf(pub Vec<Replace>);

/// What is replaced in the values of a field.
#[derive(Clone, Debug)]
pub struct Replace {
    /// The field, in lower case.
    pub name: String,
    pattern: ValueRegex,
    with: String,
}

impl PartialEq for Replace {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.pattern.as_str() == other.pattern.as_str() && self.with == other.with
    }
}

impl Eq for Replace {}

impl Replace {
    /// Replaces every match in every value of the field; a value that is left empty is no field.
    pub(super) fn make(&self, fields: &mut Fields) {
        if !fields.all(&self.name).any(|value| self.pattern.is_match(value)) {
            return;
        }
        let replaced = |value: &[u8]| self.pattern.replace_all(value, &self.with);
        let values: Vec<Vec<u8>> =
            fields.all(&self.name).map(|value| replaced(value).unwrap_or_else(|| value.to_vec())).collect();
        fields.remove(&self.name);
        for value in values.iter().map(|value| value.trim_ascii()).filter(|value| !value.is_empty()) {
            fields.push(&self.name, value);
        }
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        format!("replace in {}: {} with {}", self.name, self.pattern.as_str(), self.with)
    }
}

impl Value for ReplacesConf {
    fn kind() -> String {
        "a table of `{ pattern, with }` by header: a regular expression, and what stands for each of its matches (`$1` is a group)".into()
    }

    fn schema() -> serde_json::Value {
        let text = json!({"type": "string"});
        json!({"type": "object", "additionalProperties": {
            "type": "object",
            "properties": {"pattern": text, "with": text},
            "required": ["pattern", "with"],
            "additionalProperties": false,
        }})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Data::Table(entries) = &node.data else {
            reader.wrong_type(node, "a table, such as `{ x-a = { pattern = \"^b\", with = \"c\" } }`");
            return None;
        };
        let read = |entry| replace(entry, reader);
        Some(Self(entries.iter().filter_map(read).collect()))
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

fn replace(entry: &crate::schema::Entry, reader: &mut Reader<'_>) -> Option<Replace> {
    const HINT: &str = "write { pattern = \"a regular expression\", with = \"a text\" }";
    let text = |key: &str| entry.node.get(key).and_then(Node::text);
    let (Some(pattern), Some(with), [_, _]) = (text("pattern"), text("with"), entry.node.entries()) else {
        let message = format!("the value of `{}` does not say what to replace with what", entry.key);
        reader.problem_with(entry.node.place, message, HINT);
        return None;
    };
    if with.chars().any(char::is_control) {
        reader.problem_with(entry.node.place, "header values cannot contain control characters", HINT);
    }
    if !name::is_token(&entry.key) {
        let message = format!("`{}` is not a header name", entry.key);
        reader.problem_with(entry.place, message, name::HEADER_HINT);
        return None;
    }
    match ValueRegex::new(pattern) {
        Ok(pattern) => Some(Replace { name: entry.key.to_ascii_lowercase(), pattern, with: with.to_owned() }),
        Err(error) => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let message = format!("the regular expression is invalid: {reason}");
            reader.problem_with(entry.node.place, message, HINT);
            None
        }
    }
}
