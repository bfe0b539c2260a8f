//! Why a write was not made durable.

use std::{fmt, io, sync::Arc};

/// Why a write was not made durable. Nothing of it may be acknowledged.
#[derive(Clone, Debug)]
pub enum AppendError {
    /// There is no room until something is delivered.
    Full,
    /// There would be no room in an empty journal either.
    TooLarge,
    /// The disk. Whether the write is in the journal nobody knows, after a crash least of all.
    Io(Arc<io::Error>),
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the journal is full"),
            Self::TooLarge => f.write_str("the write is larger than the journal"),
            Self::Io(error) => write!(f, "the journal cannot be written: {error}"),
        }
    }
}

impl std::error::Error for AppendError {}
