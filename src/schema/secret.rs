//! Secrets, which are not in the configuration itself.

use std::{io, path::PathBuf};

use serde_json::json;

use super::{Node, Reader, Value, regular_file, unreadable, unreadable_hint};

/// Where a secret is kept: `file:path`, a plain path, or `env:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// In this file; blanks and line breaks around it do not count.
    File(PathBuf),
    /// In this environment variable.
    Environment(String),
}

impl Secret {
    /// The secret itself, read anew.
    pub fn reveal(&self) -> io::Result<String> {
        let text = match self {
            Self::File(path) => regular_file::read_text(path, regular_file::MOST)?,
            Self::Environment(name) => std::env::var(name).map_err(io::Error::other)?,
        };
        Ok(text.trim().to_owned())
    }
}

impl Value for Secret {
    fn kind() -> String {
        "a file, or `env:NAME`".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "minLength": 1})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "the name of a file, or \"env:NAME\"")?;
        let secret = match text.strip_prefix("env:") {
            Some(name) => Self::Environment(name.to_owned()),
            None => Self::File(reader.resolve(node, text.strip_prefix("file:").unwrap_or(text))),
        };
        if text.is_empty() || text == "env:" || text == "file:" {
            let message = format!("`{}` is empty", reader.key());
            let hint = "name a file, or an environment variable as \"env:NAME\"";
            reader.problem_with(node.place, message, hint);
            return None;
        }
        let (message, hint) = match (secret.reveal(), &secret) {
            (Ok(secret), _) if secret.is_empty() => {
                (format!("`{}` points to an empty secret", reader.key()), "use a long random string")
            }
            (Ok(_), _) => return Some(secret),
            (Err(error), Self::File(path)) => (unreadable(path, &error), unreadable_hint(&error)),
            (Err(_), Self::Environment(name)) => (
                format!("the environment variable `{name}` is not set"),
                "set it for the process, also when it only runs `check`",
            ),
        };
        match secret {
            Self::File(_) => reader.lacking(node.place, message, hint),
            // That of a process never changes.
            Self::Environment(_) => reader.problem_with(node.place, message, hint),
        }
        None
    }

    fn files(&self, files: &mut Vec<PathBuf>) {
        match self {
            Self::File(path) => files.push(path.clone()),
            Self::Environment(_) => {}
        }
    }
}
