//! The text of a configuration file, as it is on the disk.

use std::{fs, path::Path};

use crate::schema::{Place, Problem, Problems, Source, unreadable};

/// The text of a configuration file.
pub fn read_text(path: &Path) -> Result<String, Problems> {
    let whole = |message: String, hint: &str| {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Problems(vec![Problem::with_file(path.to_owned(), message, hint)])
    };
    let bytes = fs::read(path).map_err(|error| {
        whole(unreadable(path, &error), "name the configuration file with `--config FILE`")
    })?;
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
