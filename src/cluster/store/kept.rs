//! What a node keeps on disk of a store, for when that cannot be asked: files that are replaced whole, and that others may read.

use std::{io, path::Path};

use crate::schema::whole_file;

/// Replaces a file, or makes it.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    whole_file::replace(path, bytes, 0o644)
}
