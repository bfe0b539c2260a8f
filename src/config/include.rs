//! `include`: files that a configuration is made of beside its own.
//!
//! Which they are is looked up whenever the configuration is read; what is in them is put together with it in
//! `config::reading`, in one namespace.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use crate::schema::{Data, Node, Place, Reader, Value, regular_file, unreadable};

/// Files that may be included.
pub const MOST_FILES: usize = 256;
/// Bytes of all files that are included.
pub const MOST_BYTES: usize = 16 * 1024 * 1024;

/// What is included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Include {
    /// As it is written.
    pub patterns: Vec<Pattern>,
    /// The files that it led to, in their order.
    pub files: Vec<PathBuf>,
}

/// One path of `include`, whose last part may have wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// As it is written.
    pub written: String,
    /// From the folder of the file that says it.
    pub path: PathBuf,
    /// Where it is written.
    place: Place,
}

/// A file that is included, with what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: Arc<str>,
}

impl Value for Include {
    fn kind() -> String {
        "an array, each a file".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "array", "items": {"type": "string", "minLength": 1}})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if !matches!(node.data, Data::Array(_)) {
            reader.wrong_type(node, "an array of files, such as `[\"conf.d/*.toml\"]`");
            return None;
        }
        let patterns = node.items().iter().filter_map(|item| Pattern::read(item, reader)).collect();
        Some(Self { patterns, files: Vec::new() })
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn files(&self, files: &mut Vec<PathBuf>) {
        for pattern in &self.patterns {
            // The folder too: it may not be there yet.
            files.extend(pattern.folder().filter(|_| is_pattern(&pattern.path)).map(Path::to_owned));
            files.push(pattern.path.clone());
        }
        files.extend(self.files.iter().cloned());
    }
}

impl Pattern {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let written = reader.text(node, "the name of a file")?;
        let folder = Path::new(written).parent().unwrap_or(Path::new(""));
        if written.is_empty() || written.ends_with('/') || Path::new(written).file_name().is_none() {
            let message = format!("`{written}` is not the name of a file");
            reader.problem_with(
                node.place,
                message,
                "use a file name or a pattern, such as \"conf.d/*.toml\"",
            );
            return None;
        }
        if has_wildcard(folder.as_os_str().as_encoded_bytes()) {
            let message = format!("`{written}` has a wildcard in the name of a folder");
            reader.problem_with(
                node.place,
                message,
                "only file names can contain `*` and `?`; list each folder",
            );
            return None;
        }
        Some(Self { written: written.to_owned(), path: reader.resolve(node, written), place: node.place })
    }

    /// Whether it leads to a file.
    pub fn leads_to(&self, file: &Path) -> bool {
        let name =
            |path: &Path| path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        match is_pattern(&self.path) {
            true => file.parent() == self.path.parent() && is_match(&name(&self.path), &name(file)),
            false => file == self.path,
        }
    }

    fn folder(&self) -> Option<&Path> {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty())
    }
}

/// What is wrong with what is included: where it is named, what, and what to do about it.
pub type Wrong = (Place, String, &'static str);

impl Include {
    /// Reads the files that it leads to now, each once; `file`, which says it, is not among them.
    pub fn read_files(&self, file: &Path) -> (Vec<Included>, Vec<Wrong>) {
        let (mut found, mut wrong) = (Vec::new(), Vec::new());
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let own = real(file);
        let mut seen = HashSet::from([own.clone()]);
        let mut left = MOST_BYTES;
        for pattern in &self.patterns {
            // Among those of a pattern it is no mistake.
            if !is_pattern(&pattern.path) && real(&pattern.path) == own {
                let message = format!("`{}` is the file that this is in", pattern.written);
                wrong.push((pattern.place, message, "name the other files, or leave it out"));
                continue;
            }
            let files = matching(&pattern.path).map_err(|error| unreadable(&pattern.path, &error));
            let files = files.unwrap_or_else(|message| {
                wrong.push((pattern.place, message, READABLE));
                Vec::new()
            });
            for path in files.into_iter().filter(|path| seen.insert(real(path))) {
                if found.len() == MOST_FILES {
                    let message = format!("more than {MOST_FILES} files are included");
                    wrong.push((pattern.place, message, "put several tables in one file"));
                    return (found, wrong);
                }
                match read_text(&path, left) {
                    Ok(text) => {
                        left -= text.len();
                        found.push(Included { path, text });
                    }
                    Err(message) => wrong.push((pattern.place, message, READABLE)),
                }
            }
        }
        (found, wrong)
    }
}

const READABLE: &str = "this user must be able to read each included file; paths start from the folder of \
    this file";

/// Whether a path stands for several: whether its last part has a wildcard.
pub fn is_pattern(path: &Path) -> bool {
    path.file_name().is_some_and(|name| has_wildcard(name.as_encoded_bytes()))
}

/// The files that a path leads to, by name. One without wildcards leads to itself, whether it is there or not. Hidden
/// files are left out unless the path begins their name with a dot.
pub fn matching(path: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(pattern) = path.file_name().filter(|_| is_pattern(path)) else {
        return Ok(vec![path.to_owned()]);
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = match fs::read_dir(listed) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let pattern = pattern.as_encoded_bytes();
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        let is_hidden = bytes.starts_with(b".") && !pattern.starts_with(b".");
        if !is_hidden && is_match(pattern, bytes) && !folder.join(&name).is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The text of a file that is included, of at most so many bytes. The error is for people.
fn read_text(path: &Path, most: usize) -> Result<Arc<str>, String> {
    let file = match regular_file::open(path) {
        Ok(Some(file)) => file,
        Ok(None) => return Err(format!("{} is not a file", path.display())),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() > most {
        return Err(format!(
            "{} is too large: all included files together may have at most 16 MiB",
            path.display()
        ));
    }
    let text = String::from_utf8(bytes);
    text.map(Arc::from).map_err(|_| format!("{} is not UTF-8, which TOML requires", path.display()))
}

fn has_wildcard(name: &[u8]) -> bool {
    name.iter().any(|byte| b"*?".contains(byte))
}

/// Whether `name` is what `pattern` says: `*` is any number of bytes, `?` one.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    // The last star, and how much of the name was left to it.
    let mut star: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(byte) if *byte == b'?' || name.get(of) == Some(byte) => {
                at += 1;
                of += 1;
            }
            _ => {
                let Some((stars, taken)) = star else { return false };
                (at, of) = (stars + 1, taken + 1);
                star = Some((stars, taken + 1));
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_any_bytes_and_for_one() {
        for (pattern, name) in
            [("*.toml", "a.toml"), ("*", "a"), ("a*b*c", "aXbYbZc"), ("?.toml", "x.toml"), ("**", "")]
        {
            assert!(is_match(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*.toml", "a.toml~"), ("?", ""), ("?", "ab"), ("a*b", "ac"), ("a", "aa"), ("*.toml", "toml")]
        {
            assert!(!is_match(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }

    #[test]
    fn pipe_is_no_file_and_is_not_waited_for() {
        let pipe = std::env::temp_dir().join(format!("pointsman-include-{}.toml", std::process::id()));
        let made = crate::sync::children::begin(|| std::process::Command::new("mkfifo").arg(&pipe).status());
        assert!(made.is_ok_and(|made| made.success()));
        let text = read_text(&pipe, 10);
        assert!(text.is_err_and(|message| message.ends_with("is not a file")));
        let _ = fs::remove_file(&pipe);
    }
}
