//! The leftmost room: TOML text → located tree → typed values, with **every** problem reported.
//!
//! serde is not used, since it stops at the first error and loses places. An option is one row of a
//! [`section!`](crate::schema::section) table: name, type, default, range, doc; reader, JSON Schema
//! ([`json_schema`]) and Markdown reference ([`reference`](mod@reference)) all come from that row.
//!
//! Next stop: each room's `conf.rs`, then [`crate::config`], which puts the file together.

pub mod choice;
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
pub mod row;
pub mod secret;
pub mod section;
pub mod source;
pub mod store_path;
pub mod suggest;
pub mod syntax;
pub mod tree;
mod typed;
pub mod value;

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
pub fn unreadable(path: &std::path::Path, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound => format!("there is no file {path}"),
        ErrorKind::PermissionDenied => format!("{path} may not be read by this user"),
        ErrorKind::IsADirectory => format!("{path} is a folder, not a file"),
        _ => format!("{path} cannot be read: {error}"),
    }
}
