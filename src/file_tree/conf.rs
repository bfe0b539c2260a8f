//! `files` of a route, as configured.

use serde_json::json;

use super::candidate::Candidate;
use crate::{
    filter::coding::Coding,
    schema::{Node, Reader, StorePath, Table, Value, section},
};

section! {
    /// Serves files of a folder.
    pub struct FilesConf {
        /// The folder. Nothing outside it is served, whatever a path or a symbolic link says, and nothing hidden but `.well-known`. It is opened anew for each request, so that it may be a link that a deployment moves.
        pub root: StorePath;
        /// A prefix of the path that is no part of the folder: with `/assets`, `/assets/a.css` is `a.css`.
        pub strip_prefix: String = "";
        /// Files that stand for a folder, in this order. A folder that has none of them is not there: nothing is listed.
        pub index: Vec<String> = ["index.html"];
        /// What is looked for, in this order: paths in the folder, where `{path}` and `{host}` are the request's, `/` at the end means a folder, and a status such as `=404` ends the search. When nothing is found: 404, or the route's `upstream` if it has one.
        pub r#try: Vec<Candidate> = ["{path}", "{path}/"];
        /// Encodings of which there may be a file beside the one that is asked for (`a.css.zst`, `a.css.br`, `a.css.gz`), which goes to clients that take it; in the order in which they are chosen.
        pub precompressed: Vec<Coding> = ["zstd", "br", "gzip"];
        /// The value of `Cache-Control`; empty = none.
        pub cache_control: String = "";
    }
    check Self::check;
}

impl FilesConf {
    /// Whether a search that finds nothing ends with a status that is configured.
    pub fn ends_with_status(&self) -> bool {
        matches!(self.r#try.last(), Some(Candidate::Status(_)))
    }

    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if self.root.is_file() {
            let message = format!("{} is a file, not a folder", self.root.display());
            let hint = "use the folder that contains it; `respond = { file = … }` serves a single file";
            table.reader.problem_with(table.place_of("root"), message, hint);
        }
        if !self.strip_prefix.is_empty() && !self.strip_prefix.starts_with('/') {
            let message = format!("`{}` is not a path prefix", self.strip_prefix);
            table.reader.problem_with(table.place_of("strip_prefix"), message, "it must begin with `/`");
        }
        if self.index.iter().any(|name| name.is_empty() || name.contains(['/', '\0'])) {
            let hint = "use file names, such as \"index.html\"";
            table.reader.problem_with(
                table.place_of("index"),
                "`index` contains something that is not a \
                file name",
                hint,
            );
        }
        if http::HeaderValue::from_str(&self.cache_control).is_err() {
            let message = "the value of `cache_control` is not allowed in a header";
            let hint = "write directives, such as \"public, max-age=3600\"";
            table.reader.problem_with(table.place_of("cache_control"), message, hint);
        }
        let written = table.entry("try").map_or(0, |entry| entry.node.items().len());
        if self.r#try.is_empty() && written == 0 {
            let hint = "leave it out, or add at least one path";
            table.reader.problem_with(table.place_of("try"), "`try` is empty", hint);
        }
        let ends = self.r#try.iter().position(|it| matches!(it, Candidate::Status(_)));
        if ends.is_some_and(|at| at + 1 < self.r#try.len()) {
            let hint = "a status ends the search: write it last";
            table.reader.problem_with(table.place_of("try"), "`try` has entries after a status", hint);
        }
    }
}

impl Value for Candidate {
    fn kind() -> String {
        "a path or `=` and a status".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^(/|\\{path\\}|=[45][0-9][0-9]$)"})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "a path in the folder")?;
        match Self::parse(text) {
            Ok(candidate) => Some(candidate),
            Err(message) => {
                let hint = "write \"{path}\", \"{path}/\", \"/index.html\" or, last, \"=404\"";
                reader.problem_with(node.place, format!("`{text}`: {message}"), hint);
                None
            }
        }
    }
}
