//! Why a folder of a cache could not be opened, for people.

use std::io;

use crate::{cache::conf::CacheConf, owned_directory::Held, schema};

/// Why a folder of a cache could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CannotOpen {
    /// The key of the cache that names the folder: `disk`, `journal`.
    pub part: &'static str,
    /// What is wrong, for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What became of an attempt to open one, in words, with what to do about it.
pub(super) fn cannot_open<T: Held>(conf: &CacheConf, error: &io::Error) -> CannotOpen {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some(format!("the folder must be writable for {}", schema::own_user()))
        }
        io::ErrorKind::NotFound => Some("create the folder that it is in".to_owned()),
        io::ErrorKind::StorageFull => {
            Some("free some disk space, or use a folder on another disk".to_owned())
        }
        io::ErrorKind::WouldBlock => {
            Some("another program is using this folder: stop it, or set another `path`".to_owned())
        }
        _ => None,
    };
    let message = format!("cannot open the {} of cache `{}`: {error}", T::NAME, conf.name);
    CannotOpen { part: T::NAME, message, hint }
}
