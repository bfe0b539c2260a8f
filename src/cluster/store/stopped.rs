//! A write of the configuration that all share which this node was not to take, kept beside the copy: a program that begins
//! anew has not seen how it went on the nodes that tried it.

use std::{fs, io, path::Path};

use super::{
    document::{Document, Mark},
    kept,
};

/// Notes that it is not to be taken, and why.
pub fn note(copy: &Path, document: &Document, why: &str) -> io::Result<()> {
    kept::write(&copy.with_extension("stopped"), format!("{}\n{why}", mark(document)).as_bytes())
}

/// Why it is not to be taken, where that was noted.
pub fn find(copy: &Path, document: &Document) -> Option<String> {
    let text = fs::read_to_string(copy.with_extension("stopped")).ok()?;
    let (of, why) = text.split_once('\n')?;
    (of == mark(document)).then(|| why.to_owned())
}

fn mark(document: &Document) -> String {
    let Mark { revision, text } = document.mark();
    format!("{revision} {text:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_write_that_was_stopped_is() {
        let copy = std::env::temp_dir().join(format!("pointsman-stopped-{}.toml", std::process::id()));
        let write = |revision, text: &str| Document { text: text.into(), revision };
        assert_eq!(find(&copy, &write(8, "a")), None);
        note(&copy, &write(8, "a"), "50.0 % fail\nof all").unwrap();
        assert_eq!(find(&copy, &write(8, "a")).as_deref(), Some("50.0 % fail\nof all"));
        for other in [write(9, "a"), write(8, "b")] {
            assert_eq!(find(&copy, &other), None);
        }
        fs::remove_file(copy.with_extension("stopped")).unwrap();
    }
}
