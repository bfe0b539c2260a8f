//! `[log]`: the log and the access log.

use std::path::PathBuf;

use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::schema::{Node, Reader, Value, choice, section};

section! {
    /// The log on standard error, and the access log.
    pub struct LogConf {
        /// What is worth a line.
        pub level: LogLevel = "info";
        /// How lines look.
        pub format: LogFormat = "auto";
        /// Where a line per request goes: `off`, `stdout`, `stderr` or a file.
        pub access: AccessLog = "stdout";
        /// How a line per request looks.
        pub access_format: AccessFormat = "json";
    }
}

choice! {
    /// What is worth a line.
    pub enum LogLevel {
        /// What needs a person now.
        Error = "error",
        /// What may need one.
        Warn = "warn",
        /// What changed.
        Info = "info",
        /// Why something happened.
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
    /// How lines look.
    pub enum LogFormat {
        /// `text` on a terminal, `json` otherwise.
        Auto = "auto",
        /// For people.
        Text = "text",
        /// For machines.
        Json = "json",
    }
}

choice! {
    /// How a line per request looks.
    pub enum AccessFormat {
        /// Everything known, as JSON.
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
        match reader.text(node, &Self::kind())? {
            "off" => return Some(Self::Off),
            "stdout" => return Some(Self::Stdout),
            "stderr" => return Some(Self::Stderr),
            _ => {}
        }
        let path = PathBuf::read(node, reader)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let message = format!("there is no folder {} to write `access` in", folder.display());
            let hint = "make the folder, or write \"off\", \"stdout\" or \"stderr\"";
            reader.problem_with(node.place, message, hint);
            return None;
        }
        if path.is_dir() {
            let message = format!("{} is a folder, not a file", path.display());
            reader.problem_with(node.place, message, "name a file in it");
            return None;
        }
        Some(Self::File(path))
    }
}
