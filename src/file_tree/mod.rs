//! Files below a folder, for a route that serves them (`files`): which of them a request asks for, found and read on
//! threads that are nobody's event loop ([decision 034](../../docs/decisions/034-files.md)).
//!
//! Previous stop: `http::own`, which finds that the route serves files; next stop: `http::files`, which makes a response of
//! what is found. Invariants: nothing outside the folder is opened, and nothing but regular files is read; a
//! [`Reading`] holds a few blocks, however slowly they are taken.

mod beneath;
mod candidate;
pub mod conf;
mod find;
mod path;
mod reading;
mod threads;
mod tree;

pub use find::{Found, Outcome};
pub use path::Asked;
pub use reading::Reading;
pub use tree::Tree;
