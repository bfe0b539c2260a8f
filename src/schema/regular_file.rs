//! Files that a configuration names, opened and read without waiting for anybody: of a pipe or a device nobody knows when
//! it ends, and whoever reads configurations would wait with it, or fill the memory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

/// Bytes of a file with a secret, a key or certificates: far more than any has.
pub const MOST: u64 = 16 * 1024 * 1024;

/// Opens a file to be read; none where it is a folder, a pipe or a device. To open a pipe waits for who writes, unless it is
/// told not to.
pub fn open(path: &Path) -> io::Result<Option<File>> {
    // A terminal that is opened must not become the one that this process is controlled from.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

/// The bytes of a file that has at most `most`.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let Some(file) = open(path)? else {
        return Err(match path.is_dir() {
            true => io::ErrorKind::IsADirectory.into(),
            false => io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe, a socket or a device"),
        });
    };
    let mut bytes = Vec::new();
    // One more, since a file can grow, and those of `/proc` do not say how long they are.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let message = format!("it has more than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(bytes)
}

/// The text of a file that has at most `most` bytes.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn only_regular_files_are_read_and_no_more_than_allowed() {
        let folder = std::env::temp_dir().join(format!("pointsman-regular-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, pipe) = (folder.join("file"), folder.join("pipe"));
        fs::write(&file, "four").unwrap();
        assert_eq!(read(&file, 4).unwrap(), b"four");
        assert!(read(&file, 3).unwrap_err().to_string().contains("more than 3 bytes"));
        fs::write(&file, [0xff]).unwrap();
        assert_eq!(read_text(&file, 4).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let made = crate::sync::children::begin(|| Command::new("mkfifo").arg(&pipe).status());
        assert!(made.is_ok_and(|made| made.success()));
        for (other, kind) in [
            (pipe.as_path(), io::ErrorKind::InvalidInput),
            (Path::new("/dev/zero"), io::ErrorKind::InvalidInput),
            (folder.as_path(), io::ErrorKind::IsADirectory),
        ] {
            assert!(open(other).unwrap().is_none(), "{other:?}");
            assert_eq!(read(other, 4).unwrap_err().kind(), kind, "{other:?}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
