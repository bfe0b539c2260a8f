//! What the program would write into files that it reads itself.

use std::{fs, path::Path};

use crate::{
    config::{Config, log::AccessLog},
    schema::{Node, Reader},
};

/// Reports an access log whose lines would go to the end of the configuration, or of a file that it names.
pub(super) fn check(config: &Config, root: &Node, reader: &mut Reader<'_>) {
    let AccessLog::File(access) = &config.log.access else { return };
    let Some(node) = root.get("log").and_then(|log| log.get("access")) else { return };
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let own = real(access);
    let is_own = |file: &Path| real(file) == own;
    if reader.source().files().any(is_own) || config.files().iter().any(|file| is_own(file)) {
        let message = format!("{} is a file of this configuration", access.display());
        reader.problem_with(node.place, message, "lines would be added to it; write another path");
    }
}
