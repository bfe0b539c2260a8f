//! `[log]`: the log and the access log.

use std::path::{Path, PathBuf};

use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::{
    schema::{Node, Reader, Table, Value, choice, section},
    telemetry::access_line::NAMES,
    template::{Context, Fault, Template, Use},
};

section! {
    /// The log on standard error, and the access log.
    pub struct LogConf {
        /// The lowest severity that is logged.
        pub level: LogLevel = "info";
        /// The format of the log on standard error.
        pub format: LogFormat = "auto";
        /// Where the access log goes, one line per request: `off`, `stdout`, `stderr` or a file.
        pub access: AccessLog = "stdout";
        /// The format of the access log.
        pub access_format: AccessFormat = "json";
        /// Extra fields for each line of a JSON access log: names, and values with [placeholders](templates.md). For forwarded connections and UDP sessions, placeholders for parts of a request are empty.
        pub fields: Vec<(String, String)> = {};
    }
    check Self::check;
}

impl LogConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        for entry in table.entries_of("fields") {
            let is_sign = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            if entry.key.is_empty() || !entry.key.chars().all(is_sign) {
                let message = format!("`{}` is not a valid field name", entry.key);
                table.reader.problem_with(entry.place, message, "use letters, digits, `_`, `-` and `.`");
            } else if NAMES.contains(&&*entry.key) {
                let message = format!("every line already has a field `{}`", entry.key);
                table.reader.problem_with(entry.place, message, "use another name");
            }
            let Some(text) = entry.node.text() else { continue };
            let fault = match Template::parse(text, Use::Log, Context::Plain) {
                Ok(template) => template.captures().next().map(|group| Fault {
                    message: format!("`{{path.{group}}}` is not available here"),
                    hint: "groups belong to routes; set a header in the route, and log that".to_owned(),
                }),
                Err(fault) => Some(fault),
            };
            if let Some(Fault { message, hint }) = fault {
                table.reader.problem_with(entry.node.place, message, hint);
            }
        }
        if !self.fields.is_empty() && self.access_format != AccessFormat::Json {
            let message = "`fields` has no effect unless lines are JSON";
            let hint = "leave it out, or set `access_format = \"json\"`";
            table.reader.problem_with(table.place_of("fields"), message, hint);
        }
    }
}

choice! {
    /// The lowest severity that is logged.
    pub enum LogLevel {
        /// Needs attention now.
        Error = "error",
        /// May need attention.
        Warn = "warn",
        /// State changes.
        Info = "info",
        /// Reasons for what happened.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

impl LogLevel {
    /// The level as the log takes it.
    pub fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

choice! {
    /// The format of the log on standard error.
    pub enum LogFormat {
        /// `text` on a terminal, `json` otherwise.
        Auto = "auto",
        /// Readable text.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

choice! {
    /// The format of the access log.
    pub enum AccessFormat {
        /// JSON, with every field.
        Json = "json",
        /// The Common Log Format.
        Common = "common",
        /// The Common Log Format with referrer and user agent.
        Combined = "combined",
    }
}

/// Where a line per request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To standard error.
    Stderr,
    /// To the end of this file.
    File(PathBuf),
}

impl Value for AccessLog {
    fn kind() -> String {
        "`off`, `stdout`, `stderr` or a file".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "minLength": 1, "examples": ["off", "stdout", "stderr"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, &Self::kind())?;
        match text {
            "off" => return Some(Self::Off),
            "stdout" => return Some(Self::Stdout),
            "stderr" => return Some(Self::Stderr),
            _ => {}
        }
        if let Some((_, hint)) = MEANT.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)) {
            let message = format!("`{text}` would write to a file of that name");
            reader.problem_with(node.place, message, *hint);
            return None;
        }
        let path = PathBuf::read(node, reader)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let message = format!("the folder {} for `access` does not exist", folder.display());
            let hint = "create the folder, or write \"off\", \"stdout\" or \"stderr\"";
            reader.lacking(node.place, message, hint);
            return None;
        }
        if path.is_dir() {
            let message = format!("{} is a folder, not a file", path.display());
            reader.lacking(node.place, message, "use a file in it");
            return None;
        }
        Some(Self::File(path))
    }
}

/// Words that mean something to other programs, and that nobody wants a file to be called.
const MEANT: [(&str, &str); 8] = [
    ("none", "for no access log write \"off\""),
    ("null", "for no access log write \"off\""),
    ("disabled", "for no access log write \"off\""),
    ("false", "for no access log write \"off\""),
    ("/dev/null", "for no access log write \"off\""),
    ("syslog", "write \"stdout\", which systemd and containers collect, or let a log shipper read a file"),
    ("journald", "write \"stdout\", which systemd collects"),
    ("console", "write \"stdout\" or \"stderr\""),
];

/// The `format` of `[log]` in a file that need not be good.
pub fn format_in(path: &Path) -> Option<LogFormat> {
    let text = super::read_text(path).ok()?;
    let (root, _) = Node::parse(&text);
    let written = root.get("log")?.get("format")?.text()?;
    LogFormat::ALL.iter().find(|(_, name, _)| *name == written).map(|(format, ..)| *format)
}
