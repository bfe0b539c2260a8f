//! What becomes of a request.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    file_tree::conf::FilesConf,
    filter::page::Page,
    schema::{Node, Reader, Row, Section, Table, Value, section, section::key},
    template::{Context, Template, Use},
};

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It goes to this upstream.
    Upstream(String),
    /// It goes to one of these, by weight.
    Split(Vec<(String, u32)>),
    /// The client is sent elsewhere.
    Redirect(RedirectConf),
    /// It is answered at once.
    Respond(RespondConf),
    /// It is answered with a file of a folder.
    Files(FilesConf),
}

impl Section for Action {
    const DOC: &'static str = ActionKeys::DOC;

    fn rows() -> Vec<Row> {
        <ActionKeys as Section>::rows()
    }

    fn take(table: &mut Table<'_, '_, '_>) -> Option<Self> {
        let keys = ActionKeys::take(table)?;
        let goes_on = goes_on(table);
        let is_action = |name: &&&str| !(goes_on && **name == "files");
        let written: Vec<_> = NAMES.iter().filter(is_action).filter_map(|name| table.entry(name)).collect();
        match written.as_slice() {
            [] => {
                let hint = "add one of `upstream`, `split`, `redirect`, `respond` and `files`";
                table.reader.missing(table.place, "the route has no action", hint);
                return None;
            }
            [_] => {}
            [first, rest @ ..] => {
                for entry in rest {
                    let message = format!("the route has two actions, `{}` and `{}`", first.key, entry.key);
                    let hint = "a route has exactly one, but `files` can be combined with `upstream` or \
                        `split`; use two routes";
                    table.reader.problem_with(entry.place, message, hint);
                }
            }
        }
        if let Some(name) = keys.upstream {
            return Some(Self::Upstream(name));
        }
        if !keys.split.is_empty() || table.entry("split").is_some() {
            return Some(Self::split(keys.split, table));
        }
        let redirect = keys.redirect.map(Self::Redirect);
        let answer = keys.respond.map(Self::Respond).or(keys.files.map(Self::Files));
        redirect.or(answer)
    }

    fn flat_files(&self, files: &mut Vec<PathBuf>) {
        match self {
            Self::Respond(respond) => Value::files(respond, files),
            Self::Upstream(_) | Self::Split(_) | Self::Redirect(_) | Self::Files(_) => {}
        }
    }
}

impl Action {
    fn split(parts: Vec<SplitConf>, table: &mut Table<'_, '_, '_>) -> Self {
        let broken = parts.len() != table.places_in("split").len();
        if !broken && parts.iter().all(|part| part.weight == 0) {
            let message = if parts.is_empty() {
                "`split` lists no upstream"
            } else {
                "every weight in `split` is 0, so no request can be sent"
            };
            let hint = "give at least one upstream a weight of 1 or more";
            table.reader.problem_with(table.place_of("split"), message, hint);
        }
        Self::Split(parts.into_iter().map(|part| (part.upstream, part.weight)).collect())
    }
}

/// Whether the route passes requests on.
fn goes_on(table: &Table<'_, '_, '_>) -> bool {
    table.entry("upstream").is_some() || table.entry("split").is_some()
}

/// `files` beside `upstream` or `split`: what a request is answered with where there is such a file; else it goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct FilesFirst(pub Option<FilesConf>);

impl Section for FilesFirst {
    const DOC: &'static str = ActionKeys::DOC;

    /// It is among those of [`ActionKeys`].
    fn rows() -> Vec<Row> {
        Vec::new()
    }

    fn take(table: &mut Table<'_, '_, '_>) -> Option<Self> {
        if !goes_on(table) {
            return Some(Self(None));
        }
        // It is read with the actions too; a problem is reported once.
        let files = table.read::<Option<FilesConf>>(&key!(files))?;
        if files.as_ref().is_some_and(FilesConf::ends_with_status) {
            let message = "`try` ends with a status, so no request reaches the upstream";
            let hint = "leave the status out: requests for missing files then go to the upstream";
            table.reader.problem_with(table.place_of("files"), message, hint);
        }
        Some(Self(files))
    }

    fn flat_files(&self, _files: &mut Vec<PathBuf>) {}
}

const NAMES: [&str; 5] = ["upstream", "split", "redirect", "respond", "files"];

section! {
    /// The five actions.
    pub struct ActionKeys {
        /// Send the request to this upstream.
        pub upstream: Option<String>;
        /// Split requests over several upstreams by weight.
        pub split: Vec<SplitConf>;
        /// Redirect the client to another URL.
        pub redirect: Option<RedirectConf>;
        /// Answer directly, without a backend.
        pub respond: Option<RespondConf>;
        /// Serve files from a folder. With `upstream` or `split`, requests for which there is no file go on to a backend.
        pub files: Option<FilesConf>;
    }
}

section! {
    /// One of the upstreams to split requests over.
    pub struct SplitConf {
        /// Name of the upstream.
        pub upstream: String;
        /// Its share of requests, relative to the other weights.
        pub weight: u32 = 1, in 0 to 1000000;
    }
}

section! {
    /// Redirect the client to another URL.
    pub struct RedirectConf {
        /// The target URL, with [placeholders](templates.md) for parts of the request: `{scheme}`, `{host}`, `{port}`, `{path}`, `{query}`, `{path_and_query}` and others.
        pub to: String;
        /// The redirect's status.
        pub status: RedirectStatus = 308;
    }
    check Self::check;
}

impl RedirectConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        let place = table.place_of("to");
        // What is wrong with placeholders is reported with those of the whole route.
        let Ok(template) = Template::parse(&self.to, Use::Redirect, Context::Url) else { return };
        let literal = template.literal();
        let absolute = ["/", "http://", "https://", "{scheme}://", "{path"];
        if !absolute.iter().any(|start| self.to.starts_with(start)) {
            let message = format!("`{}` is not a valid redirect target", self.to);
            let hint = "it must begin with \"https://\", \"http://\", \"{scheme}://\" or `/`";
            table.reader.problem_with(place, message, hint);
        } else if literal.chars().any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
            let hint = "write spaces and special characters percent-encoded, such as `%20`";
            table.reader.problem_with(place, "a URL cannot contain these characters", hint);
        }
    }
}

/// The status of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectStatus(pub u16);

impl Value for RedirectStatus {
    fn kind() -> String {
        "301, 302, 303, 307 or 308".into()
    }

    fn schema() -> serde_json::Value {
        json!({"enum": [301, 302, 303, 307, 308]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let status = u32::read(node, reader)?;
        match u16::try_from(status) {
            Ok(status @ (301 | 302 | 303 | 307 | 308)) => Some(Self(status)),
            _ => {
                let message = format!("{status} is not a redirect status");
                let hint = "308 and 301 are permanent, 307 and 302 temporary, 303 follows a form submission";
                reader.problem_with(node.place, message, hint);
                None
            }
        }
    }
}

section! {
    /// Answer directly, without a backend.
    pub struct RespondConf {
        /// The response's status.
        pub status: u16, in 200 to 599;
        /// The response body, which may contain [placeholders](templates.md); their values are escaped for HTML, XML and JSON.
        pub body: String = "";
        /// A file to send instead of `body`; it is read again when it changes. Text files may contain [placeholders](templates.md). The file name's extension sets the content type.
        pub file: Option<Page>;
        /// The `Content-Type` of `body`.
        pub content_type: String = "text/plain";
    }
    check Self::check;
}

impl RespondConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if let Some(page) = &self.file {
            let place = table.place_of("file");
            if let Some((message, hint)) = page.fault(Use::Body) {
                table.reader.lacking(place, message, hint);
            }
            if !self.body.is_empty() {
                table.reader.problem_with(place, "`file` and `body` cannot be combined", "leave one out");
            }
            if table.entry("content_type").is_none() {
                self.content_type = page.media_type().to_owned();
            }
        }
        if http::HeaderValue::from_str(&self.content_type).is_err() || self.content_type.is_empty() {
            let message = "the value of `content_type` is not allowed in a header";
            let hint = "write a media type, such as \"text/plain\"";
            table.reader.problem_with(table.place_of("content_type"), message, hint);
        }
        // RFC 9110 §6.4.1: these responses have no body.
        if matches!(self.status, 204 | 205 | 304) && (!self.body.is_empty() || self.file.is_some()) {
            let message = format!("a response with status {} has no body", self.status);
            table.reader.problem_with(table.place_of("body"), message, "leave `body` out");
        }
    }
}
