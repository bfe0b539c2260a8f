//! `error_pages` as configured.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    filter::page::Page,
    schema::{Data, Node, Reader, Value},
    template::Use,
};

/// Which statuses a page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statuses {
    /// One.
    One(u16),
    /// All that begin with this digit.
    Class(u16),
}

impl Statuses {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(class) = text.strip_suffix("xx") {
            return class.parse().ok().filter(|class| (4..=5).contains(class)).map(Self::Class);
        }
        text.parse().ok().filter(|status| (400..=599).contains(status) && text.len() == 3).map(Self::One)
    }

    /// Whether a status is one of them.
    pub fn has(self, status: u16) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Class(class) => class == status / 100,
        }
    }
}

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
            let Some(statuses) = Statuses::parse(&entry.key) else {
                let message = format!("`{}` is no status of an error", entry.key);
                reader.problem_with(entry.place, message, "write a status such as `404`, or `4xx` or `5xx`");
                continue;
            };
            let Some(page) = Page::read(&entry.node, reader) else { continue };
            if let Some((message, hint)) = page.fault(Use::Page) {
                reader.problem_with(entry.node.place, message, hint);
            }
            pages.push((statuses, page));
        }
        pages.sort_by_key(|(statuses, _)| matches!(statuses, Statuses::Class(_)));
        Some(Self(pages))
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn files(&self, files: &mut Vec<PathBuf>) {
        self.0.iter().for_each(|(_, page)| Value::files(page, files));
    }
}
