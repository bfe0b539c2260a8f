//! The files under `src/`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One file under `src/`.
pub(crate) struct Source {
    /// Relative to `src/`.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// The folder that the program is in.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file below `root`.
pub(crate) fn sources(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(root).unwrap().to_path_buf(), text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// A file that is compiled for tests only (`tests.rs`, `*_tests.rs`, `tests/`); it may look into any room.
pub(crate) fn holds_only_tests(path: &Path) -> bool {
    path.iter().any(|part| part == "tests")
        || path
            .file_stem()
            .is_some_and(|stem| stem == "tests" || stem.to_str().is_some_and(|s| s.ends_with("_tests")))
}
