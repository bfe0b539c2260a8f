//! What a node keeps on disk of a store, for when that cannot be asked: files that are replaced whole.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::schema::regular_file::BESIDE;

/// Replaces a file, or makes it: whoever reads it, and whatever happens meanwhile, it is the old one or the new one.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    // Each program has one of its own: during an upgrade there are two.
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}{BESIDE}", std::process::id()));
    let beside = folder.join(name);
    let written = write_new(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // It would take room, of which there may be none.
        let _ = fs::remove_file(&beside);
    }
    written?;
    // It is in its place already; only whether that outlives a power failure hangs on this.
    let _some_file_systems_cannot = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What has this name is of a program that ended in the middle.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.write_all(bytes)?;
    // Without that a power failure may leave the name without what it stands for.
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn file_is_replaced_whole_or_stays() {
        let folder = std::env::temp_dir().join(format!("pointsman-kept-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("copy.toml");
        write(&path, b"first").unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        // Who has it open still reads what it was.
        let open = File::open(&path).unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(io::read_to_string(open).unwrap(), "first");
        assert_ne!(fs::metadata(&path).unwrap().ino(), before);
        // What cannot take its place leaves nothing.
        fs::create_dir(folder.join("taken")).unwrap();
        fs::write(folder.join("taken/by"), "").unwrap();
        assert!(write(&folder.join("taken"), b"third").is_err());
        let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["copy.toml", "taken"]);
        fs::remove_dir_all(folder).unwrap();
    }
}
