//! What a route changes of requests and responses.

use crate::{
    schema::{Table, section},
    template::{Context, Template, Use},
};

section! {
    /// Changes to the request target.
    pub struct RewriteConf {
        /// Prefix to remove from the path, in whole segments; empty = none.
        pub strip_prefix: String = "";
        /// Prefix to add to the path, after `strip_prefix` is applied; empty = none.
        pub add_prefix: String = "";
        /// Changes to the query.
        pub query: Option<QueryEditConf>;
        /// A new path, which may contain [placeholders](templates.md); empty = unchanged.
        pub path: String = "";
        /// Undo `strip_prefix`, `add_prefix` and `host` in responses: in `Location`, `Content-Location`, `Refresh`, and the `Path` and `Domain` of cookies.
        pub responses: bool = false;
        /// A new host, which may contain [placeholders](templates.md); empty = unchanged.
        pub host: String = "";
    }
    check Self::check;
}

impl RewriteConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        for (key, path) in
            [("strip_prefix", &self.strip_prefix), ("add_prefix", &self.add_prefix), ("path", &self.path)]
        {
            // Those that no path of a URL has (RFC 3986 §3.3), and that begin what is no path.
            let odd = |c: char| {
                c.is_whitespace() || c.is_control() || !c.is_ascii() || "\"<>\\^`{|}?#*".contains(c)
            };
            let literal = match key {
                "path" => literal(path, Context::Path),
                _ => path.clone(),
            };
            let begins = path.starts_with('/') || (key == "path" && path.starts_with("{path}"));
            // In `path` they are left out of what comes out.
            let climbs = key != "path" && path.split('/').any(|segment| matches!(segment, "." | ".."));
            let is_odd = literal.contains(odd) || climbs || !has_whole_escapes(&literal);
            if !literal.is_empty() && (!begins || is_odd) {
                let message = format!("`{path}` is not a path");
                let hint = "a path must begin with `/` and contain no spaces, `?`, `#`, `*`, `.` or `..` \
                    between slashes, nor what a URL has only percent-encoded";
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
    /// Changes to the query's parameters, in this order: remove, rename, set, add. Write names and values decoded. A `;` separates parameters as well as `&`, as it does for some backends.
    pub struct QueryEditConf {
        /// Parameters to set, replacing any old values; they may contain [placeholders](templates.md). If the placeholders are all empty, the parameter is removed.
        pub set: Vec<(String, String)> = {};
        /// Parameters to add to the existing ones.
        pub add: Vec<(String, String)> = {};
        /// Parameters to remove.
        pub remove: Vec<String> = [];
        /// Parameters to rename: the old name, and the new one.
        pub rename: Vec<(String, String)> = {};
    }
}

/// Whether each `%` of a path has two digits behind it (RFC 3986 §2.1).
fn has_whole_escapes(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        rest.as_bytes().first_chunk::<2>().is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// What of a text is the same for every request; nothing where placeholders are wrong, which is reported elsewhere.
fn literal(text: &str, context: Context) -> String {
    Template::parse(text, Use::Rewrite, context).map_or_else(|_| String::new(), |it| it.literal())
}
