//! The text of a configuration file, as it is on the disk.

use std::{fs::File, io::Read, path::Path};

use crate::schema::{Place, Problem, Problems, Source, unreadable};

/// The text of a configuration file.
pub fn read_text(path: &Path) -> Result<String, Problems> {
    let whole = |message: String, hint: &str| {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Problems(vec![Problem::with_file(path.to_owned(), message, hint)])
    };
    let mut bytes = Vec::new();
    // One more, since a pipe does not say how much comes.
    let read = File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes));
    let length = read.map_err(|error| {
        whole(unreadable(path, &error), "name the configuration file with `--config FILE`")
    })?;
    if length as u64 > MOST {
        let message = format!("{} is too large: it may have at most 64 MiB", path.display());
        return Err(whole(message, ""));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let place = Place { start: good, end: good + 1 };
            let hint = "save the file as UTF-8".to_owned();
            let source = Source::new(&text, path);
            let message = "this is not UTF-8, which TOML requires".to_owned();
            Err(Problems(vec![Problem::at(&source, place, message, Some(hint))]))
        }
    }
}

/// Most bytes of it: far more than 100,000 routes have. What is larger is no configuration, and would fill the memory.
const MOST: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn no_more_is_read_than_a_configuration_may_have() {
        let path = std::env::temp_dir().join(format!("pointsman-text-{}.toml", std::process::id()));
        fs::write(&path, "# café").unwrap();
        assert_eq!(read_text(&path).unwrap(), "# café");
        // Without a block on the disk.
        File::options().write(true).open(&path).unwrap().set_len(MOST + 1).unwrap();
        let problems = read_text(&path).unwrap_err();
        assert!(format!("{problems:?}").contains("at most 64 MiB"), "{problems:?}");
        fs::remove_file(&path).unwrap();
    }
}
