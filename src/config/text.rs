//! The text of a configuration file, as it is on the disk.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use crate::schema::{Place, Problem, Problems, Source, regular_file, unreadable};

/// The text of a configuration file, by a program that has other things to do: of a pipe nobody knows when something comes.
pub fn read_text(path: &Path) -> Result<String, Problems> {
    read(path, |most| {
        let file = regular_file::open(path)?;
        let file = file.ok_or_else(|| match path.is_dir() {
            true => io::ErrorKind::IsADirectory.into(),
            false => io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe, a socket or a device"),
        })?;
        all_of(file, most)
    })
}

/// The same, of a pipe too, which is waited for: at a start, and to check what another program writes.
pub fn read_text_or_pipe(path: &Path) -> Result<String, Problems> {
    read(path, |most| all_of(File::open(path)?, most))
}

fn all_of(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map(|_| bytes)
}

fn read(path: &Path, all: impl FnOnce(u64) -> io::Result<Vec<u8>>) -> Result<String, Problems> {
    let whole = |message: String, hint: &str| {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Problems(vec![Problem::with_file(path.to_owned(), message, hint)])
    };
    // One more, since a pipe does not say how much comes.
    let bytes = all(MOST + 1).map_err(|error| {
        whole(unreadable(path, &error), "name the configuration file with `--config FILE`")
    })?;
    if bytes.len() as u64 > MOST {
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
    use crate::sync::children;

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

    #[test]
    fn pipe_is_waited_for_only_where_that_was_asked_for() {
        let path = std::env::temp_dir().join(format!("pointsman-text-pipe-{}", std::process::id()));
        let made = children::begin(|| std::process::Command::new("mkfifo").arg(&path).status());
        assert!(made.unwrap().success());
        let problems = read_text(&path).unwrap_err();
        assert!(problems.to_string().contains("it is a pipe"), "{problems}");
        let writes = {
            let path = path.clone();
            std::thread::spawn(move || fs::write(path, "# café"))
        };
        assert_eq!(read_text_or_pipe(&path).unwrap(), "# café");
        writes.join().unwrap().unwrap();
        fs::remove_file(&path).unwrap();
    }
}
