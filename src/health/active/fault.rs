//! Why a check did not succeed, in few words.

use std::{error::Error, io};

use crate::error::ProxyError;

/// Why a check did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The backend's; the reason is for people.
    OfBackend(String),
    /// There was nothing here to connect with: it says nothing of the backend.
    NoSocket,
    /// Its name was not looked up yet, so that nobody was asked.
    NotLookedUp,
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::OfBackend(reason)
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Self {
        Self::OfBackend(reason.to_owned())
    }
}

pub(super) fn dial_reason(error: &ProxyError) -> String {
    match error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
        Some(error) => io_reason(error),
        None => error.to_string(),
    }
}

/// In few words: "connection refused", not "Connection refused (os error 111)".
pub(super) fn io_reason(error: &io::Error) -> String {
    if error.raw_os_error().is_none() {
        return innermost(error);
    }
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket".into(),
        kind @ (io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::TimedOut) => kind.to_string(),
        _ => error.to_string(),
    }
}

/// What brought an error about; the outer ones only name where it passed.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    match error.downcast_ref::<io::Error>() {
        Some(error) if error.raw_os_error().is_some() => io_reason(error),
        _ => error.to_string(),
    }
}
