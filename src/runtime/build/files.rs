//! Files that a configuration names.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

use crate::{schema::regular_file, tls::conf::CertificateConf};

/// Hashes of files, each read once: a thousand upstreams may name one authority.
#[derive(Debug, Default)]
pub(super) struct Files(HashMap<PathBuf, u64>);

impl Files {
    /// A hash of what is in all of these.
    pub(super) fn hash<'a>(&mut self, paths: impl Iterator<Item = &'a Path>) -> u64 {
        let mut sum = Vec::new();
        for path in paths {
            let hash = match self.0.get(path) {
                Some(hash) => *hash,
                None => {
                    // What cannot be read is reported by who needs it.
                    let hash =
                        regular_file::read(path, regular_file::MOST).map_or(0, |bytes| xxh3_64(&bytes));
                    self.0.insert(path.to_owned(), hash);
                    hash
                }
            };
            sum.extend_from_slice(&hash.to_le_bytes());
        }
        xxh3_64(&sum)
    }
}

/// The files of a certificate.
pub(super) fn pair(conf: &CertificateConf) -> [&Path; 2] {
    [&conf.chain, &conf.key]
}
