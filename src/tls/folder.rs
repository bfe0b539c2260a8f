//! Certificates that lie in one folder, with a file more or less whenever somebody says so.
//!
//! Pairs are `NAME.crt` or `NAME.pem` with `NAME.key`, and in folders within it `fullchain.pem` with `privkey.pem`, as
//! ACME clients leave them (`/etc/letsencrypt/live`). What has no other half is no pair, and left alone: authorities lie
//! there too, and one half may come a moment before the other. But where it cannot be said whether the other half is there,
//! the folder is an error, so that a certificate that is served stays.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::conf::CertificateConf;
use crate::{
    error::BuildError,
    schema::{self, Node, Reader, Value},
};

/// A folder with certificates and their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFolder(pub PathBuf);

/// A folder of the file system's own, which root alone may look into.
const LOST: &str = "lost+found";
/// More than anyone has names.
const MOST: usize = 10_000;

impl CertificateFolder {
    /// The pairs in the folder, by name.
    pub fn pairs(&self) -> Result<Vec<CertificateConf>, BuildError> {
        let Self(folder) = self;
        let mut pairs = Vec::new();
        for path in entries(folder)? {
            // A folder of a pair may be a link, too.
            is_there(&path)?;
            let pair = match path.extension().and_then(|ending| ending.to_str()) {
                Some("crt") => (path.clone(), path.with_extension("key")),
                // With both, `crt` is the one.
                Some("pem") if !is_there(&path.with_extension("crt"))? => {
                    (path.clone(), path.with_extension("key"))
                }
                _ => (path.join("fullchain.pem"), path.join("privkey.pem")),
            };
            let (chain, key) = (is_there(&pair.0)?, is_there(&pair.1)?);
            if chain && key {
                pairs.push(CertificateConf { chain: pair.0, key: pair.1 });
            }
        }
        if pairs.is_empty() || pairs.len() > MOST {
            let message = match pairs.len() {
                0 => format!("there is no certificate with a key file in {}", folder.display()),
                count => format!("{} has {count} certificates; at most {MOST} are allowed", folder.display()),
            };
            let hint = "pairs are `NAME.crt` or `NAME.pem` with `NAME.key`, or `NAME/fullchain.pem` with \
                        `NAME/privkey.pem`";
            return Err(BuildError::new(message, hint));
        }
        Ok(pairs)
    }
}

/// Whether there is a file of that name; an error where that cannot be said, and where it is a link to nothing.
fn is_there(path: &Path) -> Result<bool, BuildError> {
    let error = match fs::metadata(path) {
        Ok(found) => return Ok(found.is_file()),
        Err(error) => error,
    };
    match error.kind() {
        // It is looked for in what is no folder.
        io::ErrorKind::NotADirectory => Ok(false),
        io::ErrorKind::NotFound if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) => {
            let message = format!("{} is a link to what is not there", path.display());
            Err(BuildError::new(message, "make it lead to a file, or remove it"))
        }
        io::ErrorKind::NotFound => Ok(false),
        _ => Err(BuildError::new(schema::unreadable(path, &error), schema::unreadable_hint(&error))),
    }
}

/// What is in a folder, in order; hidden names are left out, and where a file system keeps what it found.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let read = |folder: &Path| -> std::io::Result<Vec<PathBuf>> {
        let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>()?;
        paths.retain(|path| {
            path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".") && name != LOST)
        });
        paths.sort();
        Ok(paths)
    };
    read(folder).map_err(|error| {
        let hint =
            "`certificates` must be a folder; relative paths start from the folder of the configuration file";
        BuildError::new(schema::unreadable(folder, &error), hint)
    })
}

impl Value for CertificateFolder {
    fn kind() -> String {
        "a folder".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "minLength": 1})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        PathBuf::read(node, reader).map(Self)
    }

    fn files(&self, files: &mut Vec<PathBuf>) {
        // A folder is watched for its names; the pairs themselves are listed where they are used.
        files.push(self.0.clone());
        let within = entries(&self.0).unwrap_or_default();
        files.extend(within.into_iter().filter(|path| path.is_dir()).take(MOST));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn pairs_are_found_by_name_and_halves_left_out() {
        let folder = std::env::temp_dir().join(format!("pointsman-pairs-{}", std::process::id()));
        let of = CertificateFolder(folder.clone());
        assert!(of.pairs().unwrap_err().message.contains("pairs"));
        for folder in ["live/a.example", "live/half", "live/.hidden"] {
            fs::create_dir_all(folder.strip_prefix("live/").map(|it| of.0.join(it)).unwrap()).unwrap();
        }
        assert!(of.pairs().unwrap_err().message.contains("no certificate"));
        for file in [
            "b.pem",
            "b.key",
            "c.crt",
            "c.pem",
            "c.key",
            "ca.pem",
            "d.key",
            ".e.crt",
            ".e.key",
            "a.example/fullchain.pem",
            "a.example/privkey.pem",
            "a.example/cert.pem",
            "half/fullchain.pem",
            ".hidden/fullchain.pem",
            ".hidden/privkey.pem",
        ] {
            fs::write(folder.join(file), "").unwrap();
        }
        let found: Vec<(PathBuf, PathBuf)> =
            of.pairs().unwrap().into_iter().map(|pair| (pair.chain, pair.key)).collect();
        let expected =
            [("a.example/fullchain.pem", "a.example/privkey.pem"), ("b.pem", "b.key"), ("c.crt", "c.key")];
        assert_eq!(found, expected.map(|(chain, key)| (folder.join(chain), folder.join(key))));
        let mut watched = Vec::new();
        of.files(&mut watched);
        assert_eq!(watched, [folder.clone(), folder.join("a.example"), folder.join("half")]);
        fs::remove_dir_all(folder).unwrap();
    }

    /// The other half was there and could not be looked at, and the certificate went out of force without a word.
    #[test]
    fn half_of_which_nothing_can_be_said_is_an_error() {
        let folder = std::env::temp_dir().join(format!("pointsman-halves-{}", std::process::id()));
        let of = CertificateFolder(folder.clone());
        fs::create_dir_all(folder.join("live")).unwrap();
        for file in ["a.crt", "a.key", "b.crt", "b.key", "live/fullchain.pem", "live/privkey.pem"] {
            fs::write(folder.join(file), "").unwrap();
        }
        let nowhere = Path::new("nowhere");
        let is_there = || of.pairs().map(|pairs| pairs.len()).map_err(|error| error.message);
        assert_eq!(is_there(), Ok(3));
        for (name, target) in [
            ("b.key", nowhere),
            ("b.crt", nowhere),
            ("live/privkey.pem", nowhere),
            ("b.key", Path::new("b.key")),
        ] {
            let path = folder.join(name);
            fs::remove_file(&path).unwrap();
            // What is away for good is no half of a pair.
            assert_eq!(is_there(), Ok(2), "{name}");
            symlink(target, &path).unwrap();
            let message = is_there().unwrap_err();
            assert!(message.contains(name), "{message}");
            fs::remove_file(&path).unwrap();
            fs::write(&path, "").unwrap();
        }
        // The folder of a pair.
        fs::rename(folder.join("live"), folder.join(".away")).unwrap();
        symlink(nowhere, folder.join("live")).unwrap();
        assert!(is_there().unwrap_err().contains("live"));
        fs::remove_dir_all(folder).unwrap();
    }
}
