//! Syntax errors: the TOML crate's findings in words for people, without what only follows from others.

use super::{Place, Source};

/// What is wrong with the syntax of a text.
#[derive(Debug)]
pub struct SyntaxErrors {
    /// Where, what, and what to do about it.
    pub errors: Vec<(Place, String, Option<String>)>,
    /// Lines about which nothing else should be said, of all files.
    lines: Vec<usize>,
    /// What is not understood: from where something is not closed to the end of its file.
    lost: std::ops::Range<usize>,
}

impl SyntaxErrors {
    /// Sorts out what the TOML crate found in a text that ends at `end`: one error a line, and none within what is not
    /// closed.
    pub fn new(mut found: Vec<(Place, String)>, end: usize, source: &Source) -> Self {
        found.sort_by_key(|(place, _)| place.start);
        let unclosed = found.iter().any(|(_, message)| message.starts_with("unclosed array,"));
        let mut this = Self { errors: Vec::new(), lines: Vec::new(), lost: end..end };
        for (place, message) in found {
            let line = source.row(place.start);
            if place.start > this.lost.start || this.lines.contains(&line) {
                continue;
            }
            this.lines.push(line);
            // Within an array that is not closed, whole tables are taken for elements.
            if unclosed && message.contains("array") {
                this.lost = place.start..end.saturating_add(1);
                let hint = "add the missing `]` before this".to_owned();
                let message = "an array is not closed".to_owned();
                this.errors.push((place, message, Some(hint)));
            } else {
                let (message, hint) = reword(&message, source, place);
                this.errors.push((place, message, hint));
            }
        }
        this
    }

    /// Whether a problem at `place` is only what a syntax error led to.
    pub fn explain(&self, place: Place, source: &Source) -> bool {
        self.lost.contains(&place.start) || self.lines.contains(&source.row(place.start))
    }
}

/// The TOML crate's message in plain words, where its own would mislead.
fn reword(message: &str, source: &Source, place: Place) -> (String, Option<String>) {
    let rest = source.text().get(place.start..).unwrap_or_default();
    let rest_of_line = rest.lines().next().unwrap_or_default().trim();
    let at_end = rest_of_line.is_empty() || rest_of_line.starts_with('#');
    let bare = rest_of_line.split([' ', ',', '#', ']', '}']).next().unwrap_or_default();
    let with = |message: &str, hint: &str| (message.to_owned(), Some(hint.to_owned()));
    let unquoted = ["string values must be quoted", "invalid float", "invalid boolean", "invalid integer"];
    if message.starts_with("string values must be quoted") && at_end {
        with("the value is missing", "write it after the `=`, or remove the key")
    } else if ["true", "false"].iter().any(|word| bare.eq_ignore_ascii_case(word)) {
        with("this is not a value", "write `true` or `false`, in lower case")
    } else if unquoted.iter().any(|start| message.starts_with(start)) {
        with("this is not a value", "put strings in quotes: \"text\"")
    } else if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") {
        with("this string is not closed", "add the quote that closes it")
    } else if message.starts_with("duplicate key") {
        with(
            "this is already defined above",
            "a key or table may be defined once; remove one, or write `[[…]]` for a list of tables",
        )
    } else if message.starts_with("missing escaped value") {
        with("this backslash does not begin a valid escape", "in 'single quotes' backslashes are literal")
    } else if message.starts_with("unclosed array table") || message.starts_with("unclosed table") {
        with("the header is not closed", "`[table]` has one bracket on each side, `[[table]]` two")
    } else {
        (message.to_owned(), None)
    }
}
