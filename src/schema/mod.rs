//! The leftmost room: TOML text → located tree → typed values, with **every** problem reported.
//!
//! serde is not used, since it stops at the first error and loses places. An option is one row of a
//! [`section!`](crate::schema::section) table: name, type, default, range, doc; reader, JSON Schema
//! ([`json_schema`]) and Markdown reference ([`reference`](mod@reference)) all come from that row.
//!
//! Next stop: each room's `conf.rs`, then [`crate::config`], which puts the file together.

pub mod choice;
mod depth;
pub mod environment;
pub mod form;
pub mod json;
pub mod json_schema;
pub mod name;
pub mod network;
pub mod problem;
pub mod quantity;
pub mod reader;
pub mod reference;
pub mod regular_file;
pub mod row;
pub mod secret;
pub mod section;
pub mod source;
pub mod status;
pub mod store_path;
pub mod suggest;
pub mod syntax;
pub mod tree;
mod typed;
pub mod value;
pub mod whole_file;

pub(crate) use choice::choice;
pub use problem::{Problem, Problems};
pub use quantity::Size;
pub use reader::{Reader, Table};
pub use row::Row;
pub use secret::Secret;
pub use section::Section;
pub(crate) use section::section;
pub use source::{Place, Source};
pub use store_path::StorePath;
pub use tree::{Data, Entry, Node};
pub use value::{Anything, Value};

/// Why a file could not be read, in words that do not change with the system.
pub fn unreadable(at: &std::path::Path, error: &std::io::Error) -> String {
    use std::{io::ErrorKind, os::unix::fs::MetadataExt};
    let path = at.display();
    match error.kind() {
        ErrorKind::NotFound => format!("there is no file {path}"),
        ErrorKind::PermissionDenied => match std::fs::metadata(at) {
            Ok(file) => format!(
                "{path} is not readable by {}: it has mode {:04o}, owner {} and group {}",
                own_user(),
                file.mode() & 0o7777,
                file.uid(),
                file.gid()
            ),
            // The folder hides it.
            Err(_) => {
                format!("{path} is not readable by {}: a parent folder denies access", own_user())
            }
        },
        ErrorKind::IsADirectory => format!("{path} is a folder, not a file"),
        _ => format!("{path} cannot be read: {error}"),
    }
}

/// What to do about a file that could not be read.
pub fn unreadable_hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "`chown` or `chmod` it for the user that Pointsman runs as",
        _ => "relative paths start from the folder of the configuration file",
    }
}

/// Who this program runs as, for people.
pub fn own_user() -> String {
    use rustix::process::{getegid, geteuid};
    format!("user {} (group {})", geteuid().as_raw(), getegid().as_raw())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::ErrorKind, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn an_unreadable_file_is_told_with_its_mode() {
        let file = std::env::temp_dir().join(format!("pointsman-unreadable-{}", std::process::id()));
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let said = unreadable(&file, &ErrorKind::PermissionDenied.into());
        fs::remove_file(&file).unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert!(said.contains(&format!("by user {own} ")) && said.contains("mode 0640, owner "), "{said}");
        let hidden = unreadable(&file, &ErrorKind::PermissionDenied.into());
        assert!(hidden.contains("a parent folder"), "{hidden}");
        assert!(unreadable_hint(&ErrorKind::PermissionDenied.into()).contains("chown"));
    }
}
