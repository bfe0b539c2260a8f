//! `error_pages` as configured.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    filter::page::Page,
    schema::{Data, Node, Reader, Value, status::Statuses},
    template::Use,
};

/// Pages by statuses: single ones before classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPagesConf(pub Vec<(Statuses, Page)>);

impl Value for ErrorPagesConf {
    fn kind() -> String {
        "a table of files by status: `404`, or `5xx` for all that begin with 5".into()
    }

    fn schema() -> serde_json::Value {
        json!({
            "type": "object",
            "patternProperties": {"^([45][0-9][0-9]|[45]xx)$": {"type": "string", "minLength": 1}},
            "additionalProperties": false,
        })
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Data::Table(entries) = &node.data else {
            reader.wrong_type(node, "a table, such as `{ 404 = \"404.html\", 5xx = \"sorry.html\" }`");
            return None;
        };
        let mut pages = Vec::new();
        for entry in entries {
            let statuses = Statuses::parse(&entry.key).filter(|it| it.class() >= 4);
            let Some(statuses) = statuses else {
                let message = format!("`{}` is not an error status", entry.key);
                reader.problem_with(entry.place, message, "write a status such as `404`, or `4xx` or `5xx`");
                continue;
            };
            let Some(page) = Page::read(&entry.node, reader) else { continue };
            if let Some((message, hint)) = page.fault(Use::Page) {
                reader.lacking(entry.node.place, message, hint);
            }
            pages.push((statuses, page));
        }
        pages.sort_by_key(|(statuses, _)| statuses.is_class());
        Some(Self(pages))
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn files(&self, files: &mut Vec<PathBuf>) {
        self.0.iter().for_each(|(_, page)| Value::files(page, files));
    }
}
