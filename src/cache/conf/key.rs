//! What a stored response is found by, as configured.

use serde_json::json;

use crate::{
    cache::key::{KeySettings, QueryKey},
    schema::{Data, Node, Reader, Table, Value, name, section},
    template::{Context, Fault, Template, Use},
};

section! {
    /// What the cache key consists of, besides scheme, host and path.
    pub struct KeyConf {
        /// Query parameters: `all`, `none`, or a list of names.
        pub query: QueryKey = "all";
        /// Sort the query parameters by name first, so that `a=1&b=2` and `b=2&a=1` share one key.
        pub sorted: bool = false;
        /// Request header fields to include.
        pub headers: Vec<String> = [];
        /// Text with [placeholders](templates.md) to include: `"{cookie.lang|default:en}"`. Each value is told apart from the next.
        pub template: String = "";
    }
    check Self::check;
}

impl KeyConf {
    /// The key's settings as the cache takes them.
    pub fn settings(&self) -> KeySettings {
        KeySettings { query: self.query.clone(), sorted: self.sorted, headers: self.headers.clone() }
    }

    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        for header in table.entry("headers").map_or(&[][..], |entry| entry.node.items()) {
            check_field(header, table.reader);
        }
        for header in &mut self.headers {
            header.make_ascii_lowercase();
        }
        if let Err(Fault { message, hint }) = Template::parse(&self.template, Use::Key, Context::Plain) {
            table.reader.problem_with(table.place_of("template"), message, hint);
        }
        let unused = matches!(self.query, QueryKey::None) && self.sorted;
        // Another query that was not understood has been replaced, and says enough itself.
        if let Some(entry) = table.entry("sorted").filter(|_| unused) {
            let message = "`sorted` has no effect: no query parameter is part of the key";
            table.reader.problem_with(entry.place, message, "leave it out, or set `query = \"all\"`");
        }
    }
}

/// Reports a text that cannot be the name of a header field.
pub(super) fn check_field(node: &Node, reader: &mut Reader<'_>) {
    if let Some(text) = node.text().filter(|text| !name::is_token(text)) {
        let message = format!("`{text}` is not a header name");
        reader.problem_with(node.place, message, name::HEADER_HINT);
    }
}

impl Value for QueryKey {
    fn kind() -> String {
        "`all`, `none` or an array of strings".into()
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [{"enum": ["all", "none"]}, {"type": "array", "items": {"type": "string"}}]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.data {
            Data::Array(_) => Vec::read(node, reader).map(Self::Names),
            Data::String(text) => match text.as_str() {
                "all" => Some(Self::All),
                "none" => Some(Self::None),
                other => {
                    let message = format!("`{}` must be {}, not `{other}`", reader.key(), Self::kind());
                    let hint = format!("for the parameter `{other}` alone write [\"{other}\"]");
                    reader.problem_with(node.place, message, hint);
                    None
                }
            },
            Data::Integer(_) | Data::Float(_) | Data::Boolean(_) | Data::Datetime | Data::Table(_) => {
                reader.wrong_type(node, &Self::kind());
                None
            }
        }
    }
}
