//! Certificates that lie in one folder, with a file more or less whenever somebody says so.
//!
//! Pairs are `NAME.crt` or `NAME.pem` with `NAME.key`, and in folders within it `fullchain.pem` with `privkey.pem`, as
//! ACME clients leave them (`/etc/letsencrypt/live`). What has no other half is no pair, and left alone: authorities lie
//! there too, and one half may come a moment before the other.

use std::{
    fs,
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

/// More than anyone has names.
const MOST: usize = 10_000;

impl CertificateFolder {
    /// The pairs in the folder, by name.
    pub fn pairs(&self) -> Result<Vec<CertificateConf>, BuildError> {
        let Self(folder) = self;
        let mut pairs = Vec::new();
        for path in entries(folder)? {
            let pair = match path.extension().and_then(|ending| ending.to_str()) {
                Some("crt") => (path.clone(), path.with_extension("key")),
                // With both, `crt` is the one.
                Some("pem") if !path.with_extension("crt").is_file() => {
                    (path.clone(), path.with_extension("key"))
                }
                _ => (path.join("fullchain.pem"), path.join("privkey.pem")),
            };
            if pair.0.is_file() && pair.1.is_file() {
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

/// What is in a folder, in order; hidden names are left out.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let read = |folder: &Path| -> std::io::Result<Vec<PathBuf>> {
        let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>()?;
        paths.retain(|path| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")));
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
}
