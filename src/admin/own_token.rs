//! The token of an admin endpoint over TCP whose configuration names none: made when it first listens at its address, in a
//! file that only its owner can read, where the verbs of the same user, and root's, find it.
//!
//! Loopback is no guard: every account of the machine can connect to it ([decision
//! 022](../../docs/decisions/022-admin-access.md)).

use std::{
    env,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use rustix::{fs::OFlags, process::geteuid};

use crate::schema::whole_file;

/// Bytes of chance in a token.
const BYTES: usize = 32;
/// Bytes that are read of a file.
const MOST: u64 = 4096;

/// The token for an address, and the file that it is in; it is made where there is none.
pub fn token(address: &str) -> io::Result<(String, PathBuf)> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for folder in folders() {
        match in_folder(&folder, address) {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The token of a program that listens at an address, where this user may read it.
pub fn find(address: &str) -> Option<String> {
    folders().iter().find_map(|folder| read(&folder.join(name(address))).ok())
}

fn in_folder(folder: &Path, address: &str) -> io::Result<(String, PathBuf)> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let about = fs::symlink_metadata(folder)?;
    if !about.is_dir() || about.uid() != geteuid().as_raw() || about.mode() & 0o022 != 0 {
        let message = format!("others than this user can write to {}", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let path = folder.join(name(address));
    if let Ok(token) = read(&path) {
        whole_file::remove_left(&path);
        return Ok((token, path));
    }
    let token = make(&path)?;
    Ok((token, path))
}

/// Writes a new token into a file that nobody else can read; it is there whole or not at all.
pub fn make(path: &Path) -> io::Result<String> {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // One that is cut off is none, and the next program makes another: this one, which may be about to serve, need not wait.
    whole_file::replace_for_now(path, format!("{token}\n").as_bytes(), 0o600)?;
    Ok(token)
}

/// Reads a token that nobody else could read or have put there.
fn read(path: &Path) -> io::Result<String> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !is_private(&file)? {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others than its owner can access it"));
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text)?;
    let token = text.trim();
    let is_whole = token.len() >= 2 * BYTES && token.bytes().all(|byte| byte.is_ascii_graphic());
    is_whole.then(|| token.to_owned()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether a file is this user's, or root reads it, and nobody else may.
fn is_private(file: &File) -> io::Result<bool> {
    let (about, own) = (file.metadata()?, geteuid());
    let is_ours = about.uid() == own.as_raw() || own.is_root();
    Ok(about.is_file() && is_ours && about.mode() & 0o077 == 0)
}

/// Where the file may be, the best first: systemd's `RuntimeDirectory=`, the system's folder, the user's own, and one
/// among the temporary files, whose owner is looked at.
fn folders() -> Vec<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value: &std::ffi::OsString| !value.is_empty());
    let of_service = variable("RUNTIME_DIRECTORY").and_then(|all| env::split_paths(&all).next());
    let of_user = variable("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("pointsman"));
    let temporary = env::temp_dir().join(format!("pointsman-{}", geteuid().as_raw()));
    let all = [of_service, Some("/run/pointsman".into()), of_user, Some(temporary)];
    all.into_iter().flatten().collect()
}

/// What the file for an address is called.
fn name(address: &str) -> String {
    let address = address.replacen("localhost", "127.0.0.1", 1);
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    format!("admin-{}.token", address.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_token_is_made_once_and_its_owners_alone() {
        let folder = env::temp_dir().join(format!("pointsman-own-token-{}", std::process::id()));
        let (token, path) = in_folder(&folder, "127.0.0.1:9900").unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(path.file_name().unwrap(), "admin-127.0.0.1_9900.token");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(in_folder(&folder, "localhost:9900").unwrap(), (token.clone(), path.clone()));
        assert_ne!(in_folder(&folder, "[::1]:9900").unwrap().0, token);
        // What a program left that was killed while it made one is of no use, also where this one has its number.
        let left = |number: u32| folder.join(format!(".admin-127.0.0.1_9900.token.{number}.pointsman-new"));
        let all = [left(2_147_483_647), left(std::process::id())];
        all.iter().for_each(|left| fs::write(left, "").unwrap());
        assert_eq!(in_folder(&folder, "127.0.0.1:9900").unwrap(), (token, path.clone()));
        assert!(all.iter().all(|left| !left.exists()));
        fs::write(&all[1], "").unwrap();
        fs::remove_file(&path).unwrap();
        let (token, _) = in_folder(&folder, "127.0.0.1:9900").unwrap();
        assert!(!all[1].exists());
        // What others could read is not one any more, nor what is cut off, nor what leads elsewhere.
        mode(&path, 0o640);
        assert!(read(&path).is_err());
        let (second, _) = in_folder(&folder, "127.0.0.1:9900").unwrap();
        assert_ne!(second, token);
        // As a power failure may leave them: cut off, empty, or without what was in them.
        for left in [&b"short"[..], b"", &[0; 2 * BYTES + 1]] {
            fs::write(&path, left).unwrap();
            assert!(read(&path).is_err());
        }
        let (third, _) = in_folder(&folder, "127.0.0.1:9900").unwrap();
        assert_eq!(read(&path).unwrap(), third);
        let link = folder.join("link");
        symlink(folder.join("admin-___1__9900.token"), &link).unwrap();
        assert!(read(&link).is_err());
        mode(&folder, 0o777);
        assert!(in_folder(&folder, "127.0.0.1:1").is_err(), "others could put a token there");
        fs::remove_dir_all(folder).unwrap();
    }
}
