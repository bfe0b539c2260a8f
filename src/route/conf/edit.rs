//! What a route changes of requests and responses.

use crate::{
    schema::{Table, section},
    template::{Context, Template, Use},
};

section! {
    /// How the request's target is changed.
    pub struct RewriteConf {
        /// Removed from the beginning of the path, by whole segments; empty = nothing.
        pub strip_prefix: String = "";
        /// Put before the path, behind what `strip_prefix` left; empty = nothing.
        pub add_prefix: String = "";
        /// How the query is changed.
        pub query: Option<QueryEditConf>;
        /// The whole new path, which may have [placeholders](templates.md); empty = as it is.
        pub path: String = "";
        /// Whether `Location`, `Content-Location`, `Refresh`, and `Path` and `Domain` of cookies in responses are translated back: by `strip_prefix`, `add_prefix` and `host`.
        pub responses: bool = false;
        /// The new host, which may have [placeholders](templates.md); empty = as it is.
        pub host: String = "";
    }
    check Self::check;
}

impl RewriteConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        for (key, path) in
            [("strip_prefix", &self.strip_prefix), ("add_prefix", &self.add_prefix), ("path", &self.path)]
        {
            let odd = |c: char| c.is_whitespace() || c.is_control() || !c.is_ascii();
            let literal = match key {
                "path" => literal(path, Context::Path),
                _ => path.clone(),
            };
            let begins = path.starts_with('/') || (key == "path" && path.starts_with("{path}"));
            let is_odd = literal.contains(odd) || literal.contains(['?', '#', '*']);
            if !literal.is_empty() && (!begins || is_odd) {
                let message = format!("`{path}` is not a path");
                let hint = "a path must begin with `/` and contain no spaces, `?`, `#` or `*`";
                table.reader.problem_with(table.place_of(key), message, hint);
            }
        }
        for (key, prefix) in [("strip_prefix", &self.strip_prefix), ("add_prefix", &self.add_prefix)] {
            if !prefix.is_empty() && !self.path.is_empty() {
                let message = format!(
                    "`{key}` has no effect together with `path`, which replaces the whole \
                    path"
                );
                table.reader.problem_with(table.place_of(key), message, "leave one out");
            }
        }
        if let Some(entry) = table.entry("responses").filter(|_| self.responses && !self.path.is_empty()) {
            let message = "responses cannot be translated back when `path` replaces many paths with one";
            table.reader.problem_with(
                entry.place,
                message,
                "use `strip_prefix` and `add_prefix`, or leave it out",
            );
        }
        let host = literal(&self.host, Context::Host);
        if !host.is_empty() && host.parse::<http::uri::Authority>().is_err() && host == self.host {
            let message = format!("`{}` is not a host", self.host);
            let hint = "use a name, with or without port: \"api.internal\"";
            table.reader.problem_with(table.place_of("host"), message, hint);
        }
    }
}

section! {
    /// How a query's parameters are changed: first removed, then renamed, then set, then added. Names and values are written decoded.
    pub struct QueryEditConf {
        /// Parameters that are replaced, with [placeholders](templates.md); one whose placeholders give nothing is removed.
        pub set: Vec<(String, String)> = {};
        /// Parameters that are added to what is there.
        pub add: Vec<(String, String)> = {};
        /// Parameters that are removed.
        pub remove: Vec<String> = [];
        /// Parameters that get another name.
        pub rename: Vec<(String, String)> = {};
    }
}

/// What of a text is the same for every request; nothing where placeholders are wrong, which is reported elsewhere.
fn literal(text: &str, context: Context) -> String {
    Template::parse(text, Use::Rewrite, context).map_or_else(|_| String::new(), |it| it.literal())
}
