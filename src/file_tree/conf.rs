//! `files` of a route, as configured.

use serde_json::json;

use super::candidate::Candidate;
use crate::{
    filter::coding::Coding,
    schema::{Node, Reader, StorePath, Table, Value, section},
};

section! {
    /// Serves files from a folder.
    pub struct FilesConf {
        /// The folder to serve. Nothing outside it is ever served, whatever the path or a symbolic link says, and no hidden files except `.well-known`. It is opened anew for each request, so it can be a symbolic link that a deployment switches.
        pub root: StorePath;
        /// Prefix to remove from the path before looking up the file: with `/assets`, the path `/assets/a.css` finds `a.css`.
        pub strip_prefix: String = "";
        /// Files to serve for a folder; the first that exists is taken. A folder without any is not found: there are no directory listings.
        pub index: Vec<String> = ["index.html"];
        /// What to look for, in this order: paths in the folder, in which `{path}` and `{host}` are the request's and a final `/` means a folder; a status such as `=404` ends the search. If nothing is found, the route's `upstream` gets the request; without one, the answer is 404.
        pub r#try: Vec<Candidate> = ["{path}", "{path}/"];
        /// Encodings for which to look for a compressed file next to the requested one (`a.css.zst`, `a.css.br`, `a.css.gz`), in order of preference, for clients that accept them.
        pub precompressed: Vec<Coding> = ["zstd", "br", "gzip"];
        /// Value of the response's `Cache-Control`; empty = none.
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
            table.reader.lacking(table.place_of("root"), message, hint);
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
